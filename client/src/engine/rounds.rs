//! The rounds that are not over: at most one that trains and one that prepares, and perhaps one
//! whose result is still being applied.

use std::collections::BTreeMap;

use roundelay_protocol::error::Stage;
use roundelay_protocol::ids::{ClientId, RoundNumber};
use roundelay_protocol::layout::Layout;
use roundelay_protocol::message::Published;
use roundelay_protocol::plan::TrainingPlan;
use roundelay_protocol::round::horizontal::client::Round;
use roundelay_protocol::time::Time;

use super::work::{Contribution, Noise};

/// Rounds of one federation that may be alive at once.
pub(super) const ALIVE_MAX: usize = 3;
/// Results that may wait to be applied beside them.
const APPLYING_MAX: usize = 4;

/// A round that is not over, with what its machine waits for.
pub(super) struct Alive {
    pub(super) machine: Round,
    /// U1, once its plan is known.
    pub(super) cohort: Option<Vec<ClientId>>,
    pub(super) deadline: Option<Time>,
    /// A training plan that waits until this client has caught up with its model.
    pub(super) held: Option<Box<TrainingPlan>>,
    /// Local work that waits for earlier results, or is under way.
    pub(super) work: Option<Work>,
    /// Laid out and not yet masked.
    pub(super) contribution: Option<Contribution>,
    /// Where privacy is promised: for the one vector of this round.
    pub(super) noise: Option<Noise>,
    /// An aggregate that came before its announcement.
    pub(super) early: Option<Vec<u8>>,
    pub(super) applying: Option<Applying>,
}

/// The local work of a round.
pub(super) struct Work {
    pub(super) plan: Box<TrainingPlan>,
    pub(super) under_way: bool,
}

/// A published result that is being applied.
pub(super) struct Applying {
    pub(super) published: Box<Published>,
    pub(super) layout: Option<Layout>,
    pub(super) aggregate: Option<Vec<u8>>,
    /// When to ask for the aggregate, if it has not come by itself.
    pub(super) ask_at: Option<Time>,
    pub(super) under_way: bool,
}

impl Alive {
    pub(super) fn new(machine: Round, noise: Option<Noise>) -> Self {
        Self {
            machine,
            cohort: None,
            deadline: None,
            held: None,
            work: None,
            contribution: None,
            noise,
            early: None,
            applying: None,
        }
    }

    /// Whether the machine still holds the round's keys.
    pub(super) fn is_resumable(&self) -> bool {
        self.machine.stage().is_some()
    }

    /// Whether others have reason to wait for this client: its vector may be in the sum, or it has a
    /// result to apply. Whoever leaves then may cost everybody the round.
    pub(super) fn is_counted_on(&self) -> bool {
        let stage = self.machine.stage();
        let uploaded = matches!(stage, Some(Stage::ConsistencyCheck | Stage::Unmasking));
        uploaded || self.applying.is_some()
    }

    /// The next moment at which something is to be done.
    pub(super) fn wakes_at(&self) -> Option<Time> {
        let ask_at = self.applying.as_ref().and_then(|applying| applying.ask_at);
        [self.deadline, ask_at].into_iter().flatten().min()
    }
}

/// All of them, by number.
pub(super) type Rounds = BTreeMap<RoundNumber, Alive>;

/// Whether there is room for a round, and which one has to go for it: the oldest, whose keys are
/// then burned. An honest coordinator never has so many under way: the oldest are those whose end
/// this client missed. A result that is being applied does not go, since what follows starts from
/// it; should even those be too many, nothing new begins.
pub(super) fn room_for(rounds: &Rounds, round: RoundNumber) -> Room {
    let mut others = rounds.iter().filter(|(_, alive)| alive.applying.is_none());
    let oldest = others.next().map(|(oldest, _)| *oldest);
    let is_full = oldest.is_some() && 1 + others.count() >= ALIVE_MAX;
    match oldest {
        _ if rounds.len() >= ALIVE_MAX + APPLYING_MAX => Room::None,
        Some(oldest) if is_full && round < oldest => Room::None,
        Some(oldest) if is_full => Room::Instead(oldest),
        _ => Room::Free,
    }
}

/// Whether a round may begin.
pub(super) enum Room {
    Free,
    Instead(RoundNumber),
    None,
}
