//! Puts the messages of a round back into their order: rosters travel on streams of their own and
//! may overtake or be overtaken. A roster is announced on the control stream at the place where it
//! belongs; what comes after the announcement waits for it.

use std::collections::{BTreeMap, VecDeque};

use roundelay_protocol::ids::{FederationId, RoundNumber};
use roundelay_protocol::message::ToClient;
use roundelay_protocol::session::RosterKind;

/// Rounds of one connection that may wait for something at once.
const ROUNDS_MAX: usize = 64;
/// Messages and rosters of one round that may wait: a round has seven.
const WAITING_MAX: usize = 16;
/// Rosters that came before their announcement, of all rounds: at most 2 MiB each.
const EARLY_MAX: usize = 16;

/// A round on this connection.
pub(crate) type RoundKey = (FederationId, RoundNumber);

/// More waits than an honest coordinator ever has under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the coordinator has more messages of rounds under way than there can be")]
pub(crate) struct TooManyWaiting;

/// The messages that wait, by round.
#[derive(Debug, Default)]
pub(crate) struct Order {
    rounds: BTreeMap<RoundKey, Waiting>,
    /// Rosters in [`Waiting::early`] of all rounds.
    early: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    /// In the order of the control stream.
    queue: VecDeque<Item>,
    /// Rosters that came before their announcement.
    early: Vec<(RosterKind, ToClient)>,
}

#[derive(Debug)]
enum Item {
    Message(ToClient),
    Roster(RosterKind),
}

impl Order {
    /// The next message of the control stream; gives what may be handled now, in order.
    pub(crate) fn message(
        &mut self,
        round: RoundKey,
        message: ToClient,
    ) -> Result<Vec<ToClient>, TooManyWaiting> {
        self.push(round, Item::Message(message))
    }

    /// A roster is announced on the control stream.
    pub(crate) fn announced(
        &mut self,
        round: RoundKey,
        kind: RosterKind,
    ) -> Result<Vec<ToClient>, TooManyWaiting> {
        self.push(round, Item::Roster(kind))
    }

    /// A roster is whole.
    pub(crate) fn arrived(
        &mut self,
        round: RoundKey,
        kind: RosterKind,
        roster: ToClient,
    ) -> Result<Vec<ToClient>, TooManyWaiting> {
        if self.early >= EARLY_MAX {
            return Err(TooManyWaiting);
        }
        self.waiting(round)?.early.push((kind, roster));
        self.early += 1;
        Ok(self.release(round))
    }

    fn push(&mut self, round: RoundKey, item: Item) -> Result<Vec<ToClient>, TooManyWaiting> {
        self.waiting(round)?.queue.push_back(item);
        Ok(self.release(round))
    }

    fn waiting(&mut self, round: RoundKey) -> Result<&mut Waiting, TooManyWaiting> {
        let rounds = self.rounds.len();
        let waiting = match self.rounds.entry(round) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(_) if rounds >= ROUNDS_MAX => {
                return Err(TooManyWaiting);
            }
            std::collections::btree_map::Entry::Vacant(entry) => entry.insert(Waiting::default()),
        };
        if waiting.queue.len() + waiting.early.len() >= WAITING_MAX {
            return Err(TooManyWaiting);
        }
        Ok(waiting)
    }

    fn release(&mut self, round: RoundKey) -> Vec<ToClient> {
        let Some(waiting) = self.rounds.get_mut(&round) else { return Vec::new() };
        let mut released = Vec::new();
        while let Some(item) = waiting.queue.pop_front() {
            match item {
                Item::Message(message) => released.push(message),
                Item::Roster(kind) => match waiting.early.iter().position(|(k, _)| *k == kind) {
                    Some(index) => {
                        self.early -= 1;
                        released.push(waiting.early.remove(index).1);
                    }
                    None => {
                        waiting.queue.push_front(Item::Roster(kind));
                        break;
                    }
                },
            }
        }
        if waiting.queue.is_empty() && waiting.early.is_empty() {
            self.rounds.remove(&round);
        }
        released
    }
}

#[cfg(test)]
mod tests {
    use roundelay_protocol::error::AbortReason;
    use roundelay_protocol::message::{BoxRoster, Quorum};

    use super::*;

    const ROUND: RoundKey = (FederationId([1; 16]), RoundNumber(4));
    const OTHER: RoundKey = (FederationId([1; 16]), RoundNumber(5));

    fn boxes() -> ToClient {
        ToClient::Boxes(BoxRoster { boxes: vec![], others: vec![] }.into())
    }

    fn quorum() -> ToClient {
        ToClient::Quorum(Quorum { signatures: vec![] }.into())
    }

    fn aborted() -> ToClient {
        ToClient::Aborted(AbortReason::Stopped)
    }

    #[test]
    fn what_comes_after_an_announced_roster_waits_for_it() {
        let mut order = Order::default();
        assert!(order.announced(ROUND, RosterKind::Boxes).unwrap().is_empty());
        assert!(order.message(ROUND, ToClient::ResendInput).unwrap().is_empty());
        let released = order.arrived(ROUND, RosterKind::Boxes, boxes()).unwrap();
        assert_eq!(released, [boxes(), ToClient::ResendInput]);
        assert!(order.rounds.is_empty());
    }

    #[test]
    fn a_roster_that_is_early_waits_for_its_announcement() {
        let mut order = Order::default();
        assert!(order.arrived(ROUND, RosterKind::Quorum, quorum()).unwrap().is_empty());
        assert!(order.announced(ROUND, RosterKind::Boxes).unwrap().is_empty());
        assert!(order.announced(ROUND, RosterKind::Quorum).unwrap().is_empty());
        let released = order.arrived(ROUND, RosterKind::Boxes, boxes()).unwrap();
        assert_eq!(released, [boxes(), quorum()]);
    }

    #[test]
    fn rounds_do_not_wait_for_each_other() {
        let mut order = Order::default();
        assert!(order.announced(ROUND, RosterKind::Boxes).unwrap().is_empty());
        assert_eq!(order.message(OTHER, aborted()).unwrap(), [aborted()]);
    }

    #[test]
    fn rosters_that_were_never_announced_are_bounded_over_all_rounds() {
        let mut order = Order::default();
        let early = |order: &mut Order, round| {
            order.arrived((ROUND.0, RoundNumber(round)), RosterKind::Boxes, boxes())
        };
        for round in 0..EARLY_MAX as u64 {
            assert!(early(&mut order, round).unwrap().is_empty());
        }
        assert_eq!(early(&mut order, 99), Err(TooManyWaiting));
        order.announced((ROUND.0, RoundNumber(0)), RosterKind::Boxes).unwrap();
        assert!(early(&mut order, 99).is_ok(), "one was released");
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut order = Order::default();
        order.announced(ROUND, RosterKind::Boxes).unwrap();
        for _ in 1..WAITING_MAX {
            order.message(ROUND, aborted()).unwrap();
        }
        assert_eq!(order.message(ROUND, aborted()), Err(TooManyWaiting));
        for round in 0..ROUNDS_MAX as u64 - 1 {
            order.announced((ROUND.0, RoundNumber(100 + round)), RosterKind::Boxes).unwrap();
        }
        let one_more = order.announced((ROUND.0, RoundNumber(7)), RosterKind::Boxes);
        assert_eq!(one_more, Err(TooManyWaiting));
    }
}
