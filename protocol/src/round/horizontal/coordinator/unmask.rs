//! Unmasking: collects shares until every seed that has to go is rebuilt and verified.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use roundelay_crypto::secret::Secret;

use super::consistency::Survivors;
use super::core::{Core, Turn, Waiting};
use super::machine::{Event, Stage};
use super::publish::Removing;
use super::rebuild::{Effort, Rebuilt, is_self_mask, rebuild};
use super::*;
use crate::transcript::quorum_root;

/// Waits for shares.
pub(super) struct Unmasking {
    pub(super) survivors: Survivors,
    quorum: Arc<Quorum>,
    /// A \ U3.
    pub(super) dropouts: Vec<RosterIndex>,
    pub(super) reveals: BTreeMap<RosterIndex, Reveal>,
    /// Dealers whose seeds the first shares did not rebuild; none before the first attempt.
    unbuilt: Option<BTreeSet<RosterIndex>>,
    until: Time,
}

impl Unmasking {
    pub(super) fn begin(
        core: &Core,
        survivors: Survivors,
        quorum: Arc<Quorum>,
        turn: &mut Turn<'_>,
    ) -> Self {
        turn.began(StageName::Unmasking, survivors.set.inputs.len());
        core.broadcast(survivors.indices(), ToClient::Quorum(Arc::clone(&quorum)), turn);
        let active = survivors.work.plan.active.iter();
        let dropouts = active.filter(|index| !survivors.contains(**index)).copied().collect();
        let until = turn.now + core.timing.unmasking;
        Self { survivors, quorum, dropouts, reveals: BTreeMap::new(), unbuilt: None, until }
    }

    pub(super) fn handle(self, core: &mut Core, event: Event, turn: &mut Turn<'_>) -> Stage {
        match event {
            Event::Message(from, FromClient::Reveal(reveal)) => {
                self.reveal(core, from, reveal, turn)
            }
            Event::Returned(index) => {
                self.resend(core, index, turn);
                self.settle(core, turn)
            }
            _ => self.settle(core, turn),
        }
    }

    /// Shares that are new and right may be the last that it takes.
    fn reveal(
        mut self,
        core: &mut Core,
        from: RosterIndex,
        reveal: Reveal,
        turn: &mut Turn<'_>,
    ) -> Stage {
        let fault = match self.reveals.get(&from) {
            Some(known) if *known == reveal => return self.settle(core, turn),
            Some(_) => Fault::Equivocation,
            None if !self.survivors.contains(from) => Fault::OutOfStage,
            None if !self.is_right(core, from, &reveal) => Fault::BadShares,
            None => {
                turn.persist(Record::Revealed(from, reveal.clone()));
                self.reveals.insert(from, reveal);
                return self.attempt(core, turn);
            }
        };
        core.expel(from, fault, turn);
        self.settle(core, turn)
    }

    /// The survivors, or the dropouts, whose shares a client holds, in roster order.
    pub(super) fn held_by<'a>(
        &'a self,
        holder: RosterIndex,
        dealers: impl Iterator<Item = &'a RosterIndex> + 'a,
    ) -> impl Iterator<Item = &'a RosterIndex> + 'a {
        let around = &self.survivors.work.preparation.around;
        dealers.filter(move |dealer| around.has_shares(holder, **dealer))
    }

    /// One share for each client of the set and each dropout whose shares a client holds, every one
    /// of them what its dealer committed to. A client's share of its own seed is under no commitment: only it would be hurt.
    fn is_right(&self, core: &Core, from: RosterIndex, reveal: &Reveal) -> bool {
        let preparation = &self.survivors.work.preparation;
        let agrees = |dealer: RosterIndex, is_key: bool, share: &[u8; 32]| {
            let place = preparation.place(core, dealer, from);
            let committed = preparation.edges.commitments(dealer, from);
            place.zip(committed).is_some_and(|(place, committed)| match is_key {
                true => place.key_commitment(share) == committed.key,
                false => place.self_mask_commitment(share) == committed.self_mask,
            })
        };
        let survivors: Vec<_> = self.held_by(from, self.survivors.indices()).collect();
        let dropouts: Vec<_> = self.held_by(from, self.dropouts.iter()).collect();
        let mut of_dropouts = dropouts.iter().zip(&reveal.key_shares);
        reveal.self_mask_shares.len() == survivors.len()
            && reveal.key_shares.len() == dropouts.len()
            && survivors
                .iter()
                .zip(&reveal.self_mask_shares)
                .all(|(dealer, share)| **dealer == from || agrees(**dealer, false, share))
            && of_dropouts.all(|(dealer, share)| agrees(**dealer, true, share))
            && reveal.own_self_mask.is_none_or(|seed| {
                is_self_mask(core, &self.survivors.work, from, &Secret::new(seed))
            })
    }

    /// Rebuilds all seeds with the first t shares, and again once every dealer whose seed they did
    /// not rebuild has given it away itself. In a sparse graph a quorum's shares are the first, and
    /// t that a dealer's neighbours hold do as well as its own word.
    fn attempt(mut self, core: &mut Core, turn: &mut Turn<'_>) -> Stage {
        let own = |dealer: &RosterIndex| {
            self.reveals.get(dealer).is_some_and(|reveal| reveal.own_self_mask.is_some())
        };
        let is_worth_it = match &self.unbuilt {
            None => self.reveals.len() >= self.first_attempt_at(core),
            Some(dealers) => {
                dealers.iter().all(|dealer| own(dealer) || self.has_gathered(core, *dealer))
            }
        };
        if !is_worth_it {
            return self.settle(core, turn);
        }
        match rebuild(core, &self, Effort::FirstShares) {
            Ok(rebuilt) => self.close(core, rebuilt, turn),
            Err(missing) => {
                self.unbuilt = Some(missing.unbuilt);
                self.settle(core, turn)
            }
        }
    }

    fn first_attempt_at(&self, core: &Core) -> usize {
        let complete = core.plan.is_complete();
        usize::from(if complete { core.plan.threshold } else { core.plan.quorum })
    }

    /// Whether t neighbours of a dealer in a sparse graph have revealed their shares of its seeds.
    fn has_gathered(&self, core: &Core, dealer: RosterIndex) -> bool {
        let around = self.survivors.work.preparation.around.of(dealer).unwrap_or_default();
        let revealed = around.iter().filter(|holder| self.reveals.contains_key(*holder));
        revealed.count() >= usize::from(core.plan.threshold)
    }

    /// Nobody else is waited for: what can be rebuilt from all shares at hand is. Dealers whose
    /// seeds can't be are named.
    fn last_attempt(self, core: &mut Core, turn: &mut Turn<'_>) -> Stage {
        match rebuild(core, &self, Effort::AllShares) {
            Ok(rebuilt) => self.close(core, rebuilt, turn),
            Err(missing) => {
                expel_dealers(core, missing.liars, turn);
                core.abort(AbortReason::SeedNotRebuilt, turn)
            }
        }
    }

    fn close(self, core: &mut Core, rebuilt: Rebuilt, turn: &mut Turn<'_>) -> Stage {
        expel_dealers(core, rebuilt.liars, turn);
        turn.push(Action::Unmask(rebuilt.plan));
        let quorum = quorum_root(&self.survivors.root, &self.quorum);
        Stage::Removing(Box::new(Removing { survivors: self.survivors, quorum }))
    }

    fn resend(&self, core: &Core, index: RosterIndex, turn: &mut Turn<'_>) {
        let missing = self.survivors.contains(index) && !self.reveals.contains_key(&index);
        if missing && !core.is_out(index) {
            self.survivors.show(core, index, turn);
            core.send(index, ToClient::Quorum(Arc::clone(&self.quorum)), turn);
        }
    }

    pub(super) fn settle(self, core: &mut Core, turn: &mut Turn<'_>) -> Stage {
        let revealed = |index: &RosterIndex| self.reveals.contains_key(index);
        let pending = core.pending(self.survivors.indices(), revealed);
        let (answers, needed) = (self.reveals.len(), core.plan.threshold);
        let waiting = Waiting {
            // Shares at hand that do not do are worth the wait for every one that is missing.
            is_enough: false,
            ..Waiting::counting(self.until, &pending, answers, needed)
        };
        if core.waits(&waiting, turn) {
            return Stage::Unmasking(Box::new(self));
        }
        core.dropped(StageName::Unmasking, &pending, turn);
        if answers >= usize::from(needed) {
            self.last_attempt(core, turn)
        } else {
            core.too_few(StageName::Unmasking, answers, needed, turn)
        }
    }

    /// Takes a record instead of a message.
    pub(super) fn replay(mut self, record: Record) -> Option<Stage> {
        match record {
            Record::Revealed(index, reveal) => {
                self.reveals.insert(index, reveal);
                Some(Stage::Unmasking(Box::new(self)))
            }
            Record::Left(..) => Some(Stage::Unmasking(Box::new(self))),
            _ => None,
        }
    }

    /// Goes on after a restart.
    pub(super) fn resume(mut self, core: &mut Core, turn: &mut Turn<'_>) -> Stage {
        self.until = turn.now + core.timing.unmasking;
        core.cohort().for_each(|index| self.resend(core, index, turn));
        self.attempt(core, turn)
    }
}

/// Every share at hand is what its dealer committed to, so that they do not fit is the dealer's
/// fault alone.
fn expel_dealers(core: &mut Core, dealers: BTreeSet<RosterIndex>, turn: &mut Turn<'_>) {
    for dealer in dealers {
        core.expel(dealer, Fault::BadDealing, turn);
    }
}
