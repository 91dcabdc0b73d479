//! Joining, one federation at a time.

use std::collections::VecDeque;
use std::time::Duration;

use roundelay_protocol::ids::FederationId;
use roundelay_protocol::session::{Refused, RoundsEnd};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::failure::PlaceError;
use super::federations::{FederationNews, Note, Place};
use super::{Command, Driver, Finishing, News};

/// A federation that was refused is tried again after this long: it may not have been started yet.
const RETRY_FIRST: Duration = Duration::from_millis(250);
/// The longest wait between two tries.
const RETRY_LONGEST: Duration = Duration::from_secs(5);
/// An answer that takes longer is not waited for.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Who has joined on this connection, and who waits.
#[derive(Debug, Default)]
pub(super) struct Joins {
    joined: Vec<FederationId>,
    asked: Option<(FederationId, Instant)>,
    refused: VecDeque<(FederationId, Instant, Duration)>,
    /// Refused because the coordinator runs them under another manifest.
    outdated: Vec<FederationId>,
}

impl Joins {
    /// A new connection: nobody has joined.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    pub(super) fn answered(&mut self, federation: FederationId) {
        self.asked = None;
        self.refused.retain(|(id, ..)| *id != federation);
        // A refusal of the manifest before may have come behind the one that is in force now.
        self.outdated.retain(|id| *id != federation);
        if !self.joined.contains(&federation) {
            self.joined.push(federation);
        }
    }

    /// The federation has another manifest or task now: it joins anew.
    pub(super) fn forget(&mut self, federation: FederationId) {
        self.joined.retain(|id| *id != federation);
        self.refused.retain(|(id, ..)| *id != federation);
        self.outdated.retain(|id| *id != federation);
    }

    /// Whether the coordinator runs a federation under another manifest than this client joined
    /// with: rounds under that one are over.
    pub(super) fn is_outdated(&self, federation: FederationId) -> bool {
        self.outdated.contains(&federation)
    }

    fn may_ask(&self, federation: FederationId, now: Instant) -> bool {
        let waits = self.refused.iter().any(|(id, until, _)| *id == federation && *until > now);
        !self.joined.contains(&federation) && !waits
    }

    /// The federation whose join is refused, if one was asked for and the refusal is not about
    /// another one.
    fn refused(&mut self, about: Option<FederationId>, now: Instant) -> Option<FederationId> {
        let asked = self.asked.take_if(|(asked, _)| about.is_none_or(|about| about == *asked));
        let (federation, _) = asked?;
        let before = self.refused.iter().position(|(id, ..)| *id == federation);
        let wait = match before.and_then(|at| self.refused.remove(at)) {
            Some((_, _, wait)) => (wait * 2).min(RETRY_LONGEST),
            None => RETRY_FIRST,
        };
        self.refused.push_back((federation, now + wait, wait));
        Some(federation)
    }
}

impl Driver {
    /// Asks for the next federation that has not joined yet, if no answer is waited for.
    pub(super) async fn join_all(&mut self) {
        let now = Instant::now();
        if self.joins.asked.is_some_and(|(_, since)| since.elapsed() < ANSWER_MAX) {
            return;
        }
        let next = self.places.iter().find_map(|(federation, place)| {
            let may = place.may_join() && self.joins.may_ask(*federation, now);
            let inbox = place.inbox().filter(|_| may)?;
            Some((*federation, inbox.clone()))
        });
        if let Some((federation, inbox)) = next {
            self.joins.asked = Some((federation, now));
            let _ = inbox.send(Command::Join).await;
        }
    }

    /// The coordinator refused something: the join that was asked for, or a vector.
    pub(super) async fn refused(&mut self, refused: &Refused) {
        let code = refused.code.as_str();
        let about_vector = matches!(code, "no_such_vector" | "not_joined");
        let federation = if about_vector {
            None
        } else {
            self.joins.refused(refused.federation, Instant::now())
        };
        if code == "other_manifest" {
            self.joins.outdated.extend(federation);
        }
        if let Some(federation) = federation
            && self.is_the_last_word(federation, refused).await
        {
            return self.join_all().await;
        }
        let words = format!("{} ({code})", refused.message);
        (self.on_news)(match federation {
            Some(federation) => News::Federation(federation, self.not_taken(federation, words)),
            None => News::Warning(format!("the coordinator refuses: {words}")),
        });
        self.join_all().await;
    }

    /// Whether the coordinator takes this client in never again: nothing is left to wait for.
    async fn is_the_last_word(&mut self, federation: FederationId, refused: &Refused) -> bool {
        let words = refused.message.to_string();
        match refused.code.as_str() {
            "barred" => self.turned_out(federation, PlaceError::Barred(words)).await,
            "left" => self.ends(federation, words, false).await,
            _ => return false,
        }
        true
    }

    /// Why this client waits: an amendment that its tenant has agreed to comes by itself.
    fn not_taken(&self, federation: FederationId, words: String) -> FederationNews {
        let comes = self.joins.is_outdated(federation)
            && self.places.get(&federation).is_some_and(Place::has_agreed_to_more);
        if comes {
            let why = "it takes force now, and is fetched from the coordinator".to_owned();
            FederationNews::Amending { why }
        } else {
            FederationNews::NotTaken(words)
        }
    }

    /// A federation has no rounds until its operator starts it: this client stays joined, so that it
    /// is planned again then.
    pub(super) async fn paused(&mut self, federation: FederationId, end: RoundsEnd) {
        if let Some(inbox) = self.places.get(&federation).and_then(Place::inbox) {
            // A task that is gone takes part in nothing any more.
            let _ = inbox.send(Command::Pause(end)).await;
        }
    }

    /// The coordinator says that a federation is over. What was published last may still be on its
    /// way: the task applies it, and then ends by itself. Should the connection be lost meanwhile,
    /// it joins again to ask for the rest.
    pub(super) async fn ended(&mut self, federation: FederationId, end: RoundsEnd) {
        self.ends(federation, end.to_string(), end == RoundsEnd::Finished).await;
    }

    async fn ends(&mut self, federation: FederationId, reason: String, finished: bool) {
        let Some(place) = self.places.get_mut(&federation) else { return };
        if matches!(place, Place::Ending { .. } | Place::Over) {
            return;
        }
        let name = place.name().unwrap_or_else(|| federation.to_string());
        let inbox = place.inbox().cloned();
        let (done, over) = oneshot::channel();
        let finishing = match &inbox {
            Some(inbox) => inbox.send(Command::Finish(Finishing { done, finished })).await.is_ok(),
            None => false,
        };
        let Some(inbox) = inbox.filter(|_| finishing) else {
            return self.over(federation, name, reason);
        };
        *place = Place::Ending { inbox };
        let notes = self.notes.0.clone();
        tokio::spawn(async move {
            let _ = over.await;
            let _ = notes.send(Note::Finished { federation, name, reason }).await;
        });
    }

    pub(super) fn over(&mut self, federation: FederationId, name: String, reason: String) {
        self.joins.forget(federation);
        self.places.insert(federation, Place::Over);
        (self.on_news)(News::Federation(federation, FederationNews::Over { name, reason }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_under_the_manifest_before_that_comes_late_is_forgotten_once_joined() {
        let federation = FederationId([1; 16]);
        let mut joins = Joins::default();
        joins.outdated.push(federation);
        assert!(joins.is_outdated(federation));
        joins.answered(federation);
        assert!(!joins.is_outdated(federation), "rounds under this manifest may be under way");
    }
}
