//! What happens next in a federation: a decision from what is known, without any effect.
//!
//! ```text
//!                    no round trains                           a round trains
//! nothing prepared   plan one, once enough clients are there   plan the next one ahead
//! one prepared       give it its training plan; burn it where  wait
//!                    the set rule forbids its cohort, or
//!                    where too many rounds have failed
//! ```
//! Without a goal, because everything is done or the privacy budget pays no further round, what is
//! prepared is burned.
//!
//! A retry obeys the set rule (horizontal.md): it plans the same cohort, and clients that were shown a
//! survivor set for the same kind and model for that set alone.

use std::collections::BTreeSet;

use roundelay_crypto::digest::Digest;
use roundelay_protocol::error::AbortReason;
use roundelay_protocol::ids::ClientId;
use roundelay_protocol::round::horizontal::terms::Terms;
use roundelay_protocol::time::{Millis, Time};
use serde::Serialize;

use super::federation::{Goal, Shown, Tries};
use super::selection::{Selection, reaches_floors};

/// When rounds are planned and how often they are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Who is planned.
    pub selection: Selection,
    /// How long a start waits for more clients after the last one came or went, once there are
    /// enough; four times as long at most.
    pub assembly: Millis,
    /// Wait before the first retry; each further one waits twice as long.
    pub retry: Millis,
    /// The longest wait before a retry.
    pub retry_max: Millis,
    /// Rounds that may fail for one goal before the federation stalls.
    pub failures_max: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            selection: Selection::default(),
            assembly: Millis(2_000),
            retry: Millis(500),
            retry_max: Millis(30_000),
            failures_max: 8,
        }
    }
}

/// A round that is not training yet.
#[derive(Debug, Clone, Copy)]
pub struct Ahead<'a> {
    /// Its cohort.
    pub cohort: &'a BTreeSet<ClientId>,
    /// Whether keys and shares are exchanged.
    pub prepared: bool,
    /// Whether it is to show a survivor set again.
    pub repeats: bool,
}

/// All that a decision depends on.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The moment.
    pub now: Time,
    /// When rounds are planned.
    pub pace: &'a Pace,
    /// The manifest's terms.
    pub terms: &'a Terms,
    /// What comes next; none when everything is done.
    pub goal: Option<Goal>,
    /// Whether another round follows the one that reaches the goal.
    pub more_after: bool,
    /// What was tried for it.
    pub tries: &'a Tries,
    /// When the last round failed.
    pub failed_at: Time,
    /// Whether a round trains.
    pub training: bool,
    /// The round that is prepared, if there is one.
    pub ahead: Option<Ahead<'a>>,
    /// Clients that have signed that they stand further than this coordinator.
    pub ahead_of_us: u16,
    /// Members that are there.
    pub ready: &'a BTreeSet<ClientId>,
    /// When a member last came or went.
    pub changed: Time,
    /// Since when there are enough members for a round.
    pub enough_since: Time,
    /// Draws the groups of the next cohort.
    pub seed: Digest,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Give the prepared round its training plan.
    Train,
    /// Plan a round for this cohort.
    Plan(BTreeSet<ClientId>),
    /// Burn the prepared round: the set rule forbids its cohort.
    Burn,
    /// Nothing before something happens, or before this moment.
    Wait(Waiting, Option<Time>),
    /// Nothing before the operator acts.
    Stall(Stalled),
    /// Everything is done.
    Finish,
}

/// What a federation waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "for")]
pub enum Waiting {
    /// A round is under way.
    Round,
    /// More clients, to reach the floors.
    Clients {
        /// Members that are there.
        ready: u16,
        /// Members in all.
        members: u16,
    },
    /// A moment for more clients to come.
    Assembly,
    /// A moment before a retry.
    Retry,
    /// The newest result is to be derived by the clients before an amended manifest takes force.
    Amendment {
        /// How many of the clients that it names have signed to have done so.
        holders: u16,
        /// How many have to, at least.
        required: u16,
    },
    /// Clients stand further than this coordinator: it was restored from an older backup, and waits
    /// until enough of them are there to give it the newest model.
    Restored {
        /// How many have signed that.
        ahead: u16,
    },
}

/// Why a federation does not go on by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stalled {
    /// Too many rounds failed in a row.
    #[error(
        "{failed} rounds in a row ended without a result, the last one so: {reason}; \
         mend the cause, then start the federation again"
    )]
    TriedTooOften {
        /// How many.
        failed: u32,
        /// Why the last one did.
        reason: AbortReason,
    },
    /// The set rule leaves nobody to train this model with.
    #[error(
        "a survivor set was shown for this model and its round ended without a result ({reason}); \
         its clients accept no other set over the same model (set rule), it can't be shown again \
         after an amendment or a loss of records, and the others are too few: the members have to \
         agree on a new federation"
    )]
    SetShown {
        /// Why that round ended.
        reason: AbortReason,
    },
    /// The same, where the sum was opened and its check lanes did not hold.
    #[error(
        "masks did not cancel in the last round over this model: a client's vector breaks its check \
         lanes, or clients were told different things; nothing was published, and the clients of \
         that round accept no second set over the same model (set rule), so that nobody can have \
         them open one after the other: the members have to agree on a new federation, without \
         the client at fault if the audit log names one"
    )]
    MasksDidNotCancel,
    /// An amendment left too few of those who may have uploaded.
    #[error(
        "a round for this model has failed after uploads under the manifest before, and only \
         {stay} of its clients can be in the next one; {required} have to be (the set rule): amend \
         the manifest so that it names more of them again"
    )]
    TooFewStay {
        /// Clients of that round that can be planned.
        stay: u16,
        /// How many have to be.
        required: u16,
    },
}

impl Stalled {
    fn after_a_set(reason: AbortReason) -> Self {
        match reason {
            AbortReason::MasksDidNotCancel => Self::MasksDidNotCancel,
            reason => Self::SetShown { reason },
        }
    }
}

/// The next step.
#[must_use]
pub fn next(view: &View<'_>) -> Step {
    if view.goal.is_none() && view.ahead_of_us == 0 {
        return match (view.training, view.ahead) {
            (true, _) => Step::Wait(Waiting::Round, None),
            (false, Some(_)) => Step::Burn,
            (false, None) => Step::Finish,
        };
    }
    match (view.training, view.ahead) {
        (false, _) if view.ahead_of_us > 0 => {
            Step::Wait(Waiting::Restored { ahead: view.ahead_of_us }, None)
        }
        (false, Some(ahead)) if is_given_up(view) || !ahead.is_allowed(view.tries) => Step::Burn,
        (false, Some(ahead)) if ahead.prepared => Step::Train,
        (false, None) => plan(view),
        (true, None) if view.more_after => plan_ahead(view),
        _ => Step::Wait(Waiting::Round, None),
    }
}

impl Ahead<'_> {
    /// Whether the set rule lets its cohort try for the goal.
    fn is_allowed(&self, tries: &Tries) -> bool {
        let same = tries.pinned.as_ref().is_none_or(|pinned| pinned == self.cohort);
        let free = self.repeats || tries.spent.is_disjoint(self.cohort);
        same && free && tries.bury(self.cohort)
    }
}

/// The set that a cohort was shown and has to be shown again, if it has to.
fn to_repeat<'a>(tries: &'a Tries, cohort: &BTreeSet<ClientId>) -> Option<&'a Shown> {
    tries.shown.as_ref().filter(|shown| shown.cohort == *cohort)
}

/// Whether it was tried often enough.
fn is_given_up(view: &View<'_>) -> bool {
    view.tries.failed >= view.pace.failures_max
}

fn plan(view: &View<'_>) -> Step {
    let reason = || view.tries.reason.clone().unwrap_or(AbortReason::Internal);
    let failed = view.tries.failed;
    if is_given_up(view) {
        return Step::Stall(Stalled::TriedTooOften { failed, reason: reason() });
    }
    match &view.tries.pinned {
        // What would be burned as soon as it is planned is not planned.
        Some(pinned) if !may_try_again(view.tries, pinned) => {
            Step::Stall(Stalled::after_a_set(reason()))
        }
        Some(pinned) if is_there(view, pinned) => once_assembled(view, pinned.clone()),
        Some(_) => wait_for_clients(view),
        None => match cohort(view, view.ready).or_else(|| repeated(view)) {
            Some(cohort) => once_assembled(view, cohort),
            None if view.tries.shown.is_some() => wait_for_clients(view),
            None if nobody_left(view) => Step::Stall(Stalled::after_a_set(reason())),
            None => match too_few_stay(view) {
                Some((stay, required)) => Step::Stall(Stalled::TooFewStay { stay, required }),
                None => wait_for_clients(view),
            },
        },
    }
}

fn may_try_again(tries: &Tries, pinned: &BTreeSet<ClientId>) -> bool {
    let repeats = to_repeat(tries, pinned).is_some();
    Ahead { cohort: pinned, prepared: false, repeats }.is_allowed(tries)
}

/// Whether enough of a cohort is there: all of the set that it has to be shown again, if one was
/// shown.
fn is_there(view: &View<'_>, cohort: &BTreeSet<ClientId>) -> bool {
    match to_repeat(view.tries, cohort) {
        Some(shown) => shown.set.is_subset(view.ready),
        None => reaches_floors(view.terms, cohort, view.ready),
    }
}

/// The cohort of a set that is to be shown again, once all of it are there. Those who were shown
/// none go first: they are bound to nothing.
fn repeated(view: &View<'_>) -> Option<BTreeSet<ClientId>> {
    let shown = view.tries.shown.as_ref()?;
    shown.set.is_subset(view.ready).then(|| shown.cohort.clone())
}

fn plan_ahead(view: &View<'_>) -> Step {
    match cohort(view, view.ready) {
        Some(cohort) => once_assembled(view, cohort),
        None => Step::Wait(Waiting::Round, None),
    }
}

/// A cohort that may try for the goal. One that leaves too many out of those who tried for it under
/// an earlier manifest is not drawn: then everyone who is there is planned.
fn cohort(view: &View<'_>, ready: &BTreeSet<ClientId>) -> Option<BTreeSet<ClientId>> {
    let buries = |cohort: &BTreeSet<ClientId>| {
        view.tries.bury(&cohort.intersection(ready).copied().collect())
    };
    let drawn = drawn(view, &view.pace.selection, ready).filter(buries);
    drawn.or_else(|| drawn_all(view, ready).filter(buries))
}

fn drawn_all(view: &View<'_>, ready: &BTreeSet<ClientId>) -> Option<BTreeSet<ClientId>> {
    drawn(view, &Selection::default(), ready)
}

fn drawn(
    view: &View<'_>,
    selection: &Selection,
    ready: &BTreeSet<ClientId>,
) -> Option<BTreeSet<ClientId>> {
    selection.cohort(view.terms, ready, &view.tries.spent, &view.seed)
}

/// Whether no union of groups could be planned even if every member came.
fn nobody_left(view: &View<'_>) -> bool {
    !view.tries.spent.is_empty() && drawn_all(view, &view.terms.clients().collect()).is_none()
}

/// Of a cohort that tried for the goal under an earlier manifest, how many the manifest still
/// names, and how many it would have to, where those are too few even if every member came.
fn too_few_stay(view: &View<'_>) -> Option<(u16, u16)> {
    let planned = drawn_all(view, &view.terms.clients().collect())?;
    let mut earlier = view.tries.earlier.iter();
    let alive = earlier.find(|earlier| !earlier.is_dead_with(&planned))?;
    Some((alive.among(&planned), alive.witnesses))
}

fn wait_for_clients(view: &View<'_>) -> Step {
    let count = |clients: usize| u16::try_from(clients).unwrap_or(u16::MAX);
    let (ready, members) = (count(view.ready.len()), count(view.terms.clients().count()));
    Step::Wait(Waiting::Clients { ready, members }, None)
}

/// Plans at once where everyone is there; else gives latecomers a moment. A retry waits longer.
fn once_assembled(view: &View<'_>, cohort: BTreeSet<ClientId>) -> Step {
    let retry_at = view.failed_at + backoff(view.pace, view.tries.failed);
    if view.now < retry_at && view.tries.failed > 0 {
        return Step::Wait(Waiting::Retry, Some(retry_at));
    }
    let longest = Millis(view.pace.assembly.0.saturating_mul(4));
    let assembled_at = (view.changed + view.pace.assembly).min(view.enough_since + longest);
    let complete = view.terms.clients().all(|client| view.ready.contains(&client));
    let chosen = view.pace.selection.clients_wanted.is_some() && cohort.is_subset(view.ready);
    if complete || chosen || view.now >= assembled_at {
        Step::Plan(cohort)
    } else {
        Step::Wait(Waiting::Assembly, Some(assembled_at))
    }
}

fn backoff(pace: &Pace, failed: u32) -> Millis {
    let doublings = failed.saturating_sub(1).min(32);
    Millis(pace.retry.0.saturating_mul(1 << doublings).min(pace.retry_max.0))
}

#[cfg(test)]
mod tests;
