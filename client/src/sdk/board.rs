//! Where every federation stands, gathered from what is reported: for the summary at the end and
//! the status of a running daemon.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use roundelay_protocol::ids::FederationId;
use roundelay_protocol::lineage::State;

use super::event::{ClientEvent, Evaluation, FederationEvent};

/// The stage of a federation that its operator has stopped.
const STOPPED: &str = "stopped";
const STALLED: &str = "stalled";

/// Where one federation stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FederationStanding {
    /// Its name, once known.
    pub name: String,
    /// A few words: `waiting`, `ready`, `round 7`, `over`, …
    pub stage: String,
    /// The model version that this client holds.
    pub version: u64,
    /// Rounds that this client saw published.
    pub rounds: u64,
    /// The newest federated evaluation, with the version that it is of.
    pub evaluation: Option<(u64, Evaluation)>,
    /// Why it ended, once it has.
    pub over: Option<String>,
    /// The newest model state that this client derived in this run.
    pub state: Option<Arc<State>>,
}

/// All federations of a client.
#[derive(Debug, Clone, Default)]
pub struct Board {
    /// By id.
    pub federations: BTreeMap<FederationId, FederationStanding>,
    /// Whether there is a connection.
    pub connected: bool,
    /// The last trouble with the connection, while there is one.
    pub trouble: Option<String>,
    /// `host:port` that was dialled last.
    pub coordinator: String,
}

impl Board {
    /// Takes an event in.
    pub fn take(&mut self, event: &ClientEvent) {
        match event {
            ClientEvent::Connecting { coordinator } => self.coordinator.clone_from(coordinator),
            ClientEvent::Connected => (self.connected, self.trouble) = (true, None),
            ClientEvent::Disconnected { reason, .. } => {
                (self.connected, self.trouble) = (false, Some(reason.clone()));
            }
            ClientEvent::Moved { .. } => self.connected = false,
            ClientEvent::Federation { federation, news } => {
                self.federations.entry(*federation).or_default().take(news);
            }
            _ => {}
        }
    }
}

/// A few words: where the connection stands, else where each federation does.
impl fmt::Display for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.trouble {
            Some(trouble) => return f.write_str(trouble),
            None if !self.connected => {
                return write!(f, "the coordinator at {} has not answered", self.coordinator);
            }
            None if self.federations.is_empty() => {
                return f.write_str("no manifest is signed; see `roundelay-client manifest show`");
            }
            None => {}
        }
        for (place, standing) in self.federations.values().enumerate() {
            let comma = if place > 0 { ", " } else { "" };
            write!(f, "{comma}{}: {}", standing.name, standing.stage)?;
        }
        Ok(())
    }
}

impl FederationStanding {
    fn take(&mut self, news: &FederationEvent) {
        match news {
            FederationEvent::Preparing { name } => self.set(name, "preparing"),
            FederationEvent::Ready { name, version, .. } => {
                self.set(name, "ready");
                self.version = *version;
            }
            FederationEvent::Waiting { name, .. } => self.set(name, "waiting for signatures"),
            FederationEvent::Unsigned { name } => self.set(name, "not signed"),
            FederationEvent::NotTaken { .. } => "not taken in".clone_into(&mut self.stage),
            FederationEvent::Working { round, .. } => self.stage = format!("round {round}"),
            FederationEvent::CaughtUp { version } => self.version = *version,
            FederationEvent::Published { round, kind, version, evaluation, .. } => {
                // A result that was under way when the federation was stopped is applied after that.
                if ![STOPPED, STALLED].contains(&self.stage.as_str()) {
                    self.stage = format!("round {round} published");
                }
                let before = if *kind == "train" { version.saturating_sub(1) } else { *version };
                self.evaluation = evaluation.map(|it| (before, it)).or(self.evaluation);
                self.version = *version;
                self.rounds += 1;
            }
            FederationEvent::LineageBroken { .. } => {
                "lineage broken".clone_into(&mut self.stage);
            }
            FederationEvent::Failed { reason } => {
                "failed".clone_into(&mut self.stage);
                self.over = Some(reason.clone());
            }
            FederationEvent::Stopped { .. } => STOPPED.clone_into(&mut self.stage),
            FederationEvent::Stalled { .. } => STALLED.clone_into(&mut self.stage),
            FederationEvent::Over { name, reason } => {
                self.set(name, "over");
                self.over = Some(reason.clone());
            }
            _ => {}
        }
    }

    fn set(&mut self, name: &str, stage: &str) {
        name.clone_into(&mut self.name);
        stage.clone_into(&mut self.stage);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_that_comes_after_the_stop_does_not_hide_it_and_a_new_round_does() {
        let mut standing = FederationStanding::default();
        standing.take(&FederationEvent::Stopped { reason: "so it is".to_owned() });
        let published = FederationEvent::Published {
            round: 2,
            kind: "train",
            version: 2,
            survivors: 3,
            evaluation: None,
        };
        standing.take(&published);
        assert_eq!((standing.stage.as_str(), standing.version), (STOPPED, 2));
        standing.take(&FederationEvent::Working { round: 3, kind: "train", version: 2 });
        standing.take(&published);
        assert_eq!(standing.stage, "round 2 published");
    }
}
