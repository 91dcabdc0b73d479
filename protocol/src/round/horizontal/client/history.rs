//! What a client must remember for ever, so that neither a restart nor a lying coordinator makes
//! it sign twice or open a second set.
//!
//! Every [`Record`] is made by the machine of a round, taken into the [`History`] at once, and
//! handed to the driver to be made durable before the message that it is about leaves. After a
//! restart [`History::replay`] rebuilds the same history from the records.

use std::collections::{BTreeMap, BTreeSet};

use roundelay_crypto::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::error::{Refusal, Stage};
use crate::ids::{ClientId, FederationId, ModelVersion, RoundNumber};
use crate::lineage::Standing;
use crate::plan::PlanKind;
use crate::transcript::NO_TRANSCRIPT;

mod opened;

pub use opened::Cohort;
pub(super) use opened::{Intent, set_digest};
use opened::{Opened, Release};

/// One thing to remember.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The federation.
    pub federation: FederationId,
    /// The round.
    pub round: RoundNumber,
    /// What the client is about to do, or has seen.
    pub event: Event,
}

/// What a client is about to do in a stage, or where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// Sends its advert.
    Advertised,
    /// Sends shares.
    Shared,
    /// Sends the first byte of a masked vector: from here the round counts as opened.
    Uploading {
        /// The kind of the plan.
        kind: PlanKind,
        /// The model (or data version) of the plan.
        model: Digest,
        /// The planned cohort.
        cohort: Cohort,
        /// Digest of what was masked.
        contribution: Digest,
    },
    /// Signs a survivor set.
    Signed {
        /// Digest of the clients in it.
        set: Digest,
    },
    /// Reveals shares.
    Revealed,
    /// Saw a result published and derived it.
    Stands(Standing),
    /// Took a state over: the initial one, or one that enough peers have signed.
    Adopted(Standing),
    /// Signs a survivor set with these clients in it.
    Met {
        /// Some of the set.
        clients: Vec<ClientId>,
    },
    /// Learnt from its peers that it has forgotten what it did up to this round: it was restored
    /// from an old snapshot.
    RolledBack {
        /// The last round that is forgotten.
        seen: RoundNumber,
    },
}

/// Clients in one record, which fits an entry of a client's journal (4 KiB).
const MET_CLIENTS_MAX: usize = 100;

impl Event {
    /// Signs a survivor set with these clients.
    pub(super) fn met(clients: impl Iterator<Item = ClientId>) -> Vec<Self> {
        let clients: Vec<ClientId> = clients.collect();
        clients.chunks(MET_CLIENTS_MAX).map(|some| Self::Met { clients: some.to_vec() }).collect()
    }
}

/// A state that would take a client back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this client stands at version {} of round {} and does not step back to version {} of round {}",
    .stands.0, .stands.1, .offered.0, .offered.1
)]
pub struct StepsBack {
    /// Where the client stands.
    pub stands: (ModelVersion, RoundNumber),
    /// The state that was offered.
    pub offered: (ModelVersion, RoundNumber),
}

/// The memory of one client in one federation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    federation: FederationId,
    /// The highest round in which this client did what each stage asks for.
    highest: BTreeMap<Stage, RoundNumber>,
    /// One entry for each release over which a set may have been opened and another one could be:
    /// those over models of earlier versions are forgotten.
    opened: BTreeMap<Release, Opened>,
    /// The last round in which a survivor set with this client was signed.
    met: BTreeMap<ClientId, RoundNumber>,
    /// The last round that is forgotten, where peers told of one.
    lost: Option<RoundNumber>,
    standing: Option<Standing>,
    /// Whether this client derived it itself.
    derived: bool,
    /// Rounds whose published results are being applied: the standing is about to change. Not
    /// durable.
    applying: BTreeSet<RoundNumber>,
}

impl History {
    /// The history of a client that has done nothing in a federation.
    #[must_use]
    pub fn new(federation: FederationId) -> Self {
        Self {
            federation,
            highest: BTreeMap::new(),
            opened: BTreeMap::new(),
            met: BTreeMap::new(),
            lost: None,
            standing: None,
            derived: false,
            applying: BTreeSet::new(),
        }
    }

    /// The history that these records, in their order, left behind. Records of other federations
    /// are passed over.
    #[must_use]
    pub fn replay<'a>(
        federation: FederationId,
        records: impl IntoIterator<Item = &'a Record>,
    ) -> Self {
        let mut history = Self::new(federation);
        let own = records.into_iter().filter(|record| record.federation == federation);
        own.for_each(|record| history.take(record));
        history
    }

    /// The fewest records from which [`replay`](Self::replay) rebuilds this history: what a
    /// compacted file has to hold.
    #[must_use]
    pub fn export(&self) -> Vec<Record> {
        let mut records = Vec::new();
        let mut push = |round: RoundNumber, event| {
            records.push(Record { federation: self.federation, round, event });
        };
        for (stage, event) in [
            (Stage::AdvertiseKeys, Event::Advertised),
            (Stage::ShareKeys, Event::Shared),
            (Stage::Unmasking, Event::Revealed),
        ] {
            if let Some(round) = self.highest.get(&stage) {
                push(*round, event);
            }
        }
        for (release, opened) in &self.opened {
            opened.export(release.model).into_iter().for_each(|(round, event)| push(round, event));
        }
        let rounds: BTreeSet<RoundNumber> = self.met.values().copied().collect();
        for round in rounds {
            let met = self.met.iter().filter(|(_, met)| **met == round);
            Event::met(met.map(|(client, _)| *client)).into_iter().for_each(|e| push(round, e));
        }
        if let Some(seen) = self.lost {
            push(seen, Event::RolledBack { seen });
        }
        if let Some(standing) = self.standing {
            let event = if self.derived { Event::Stands } else { Event::Adopted };
            push(standing.round, event(standing));
        }
        records
    }

    /// The highest round in which this client has advertised, shared, uploaded, signed or
    /// revealed; 0 for none.
    #[must_use]
    pub fn highest_round(&self) -> RoundNumber {
        self.highest.values().copied().max().unwrap_or_default()
    }

    /// The last round in which this client signed a survivor set with a peer, 0 for none.
    pub(super) fn met(&self, peer: ClientId) -> RoundNumber {
        self.met.get(&peer).copied().unwrap_or_default()
    }

    /// The last round in which a survivor set with this client in it can have been shown, as far
    /// as it knows.
    pub(super) fn remembered(&self) -> RoundNumber {
        let uploaded = self.highest.get(&Stage::MaskedInput).copied().unwrap_or_default();
        uploaded.max(self.lost.unwrap_or_default())
    }

    /// Where this client stands; none before it holds a model.
    #[must_use]
    pub fn standing(&self) -> Option<&Standing> {
        self.standing.as_ref()
    }

    /// Where this client stands, if it derived that state itself: what it may attest to.
    #[must_use]
    pub fn derived(&self) -> Option<&Standing> {
        self.standing.as_ref().filter(|_| self.derived)
    }

    /// The round above its standing in which this client signed a survivor set, unless its result is
    /// being applied: until then a result of another round is no base for what follows.
    #[must_use]
    pub fn awaits(&self) -> Option<RoundNumber> {
        let signed = *self.highest.get(&Stage::ConsistencyCheck)?;
        let open = !self.stands_at(signed) && !self.applying.contains(&signed);
        open.then_some(signed)
    }

    /// Takes over a state: the initial model, or one that enough peers have signed. The record
    /// has to be durable before the client joins with it.
    pub fn adopt(&mut self, standing: Standing) -> Result<Record, StepsBack> {
        if let Some(stands) = self.standing
            && (standing.round < stands.round || standing.model_version < stands.model_version)
        {
            let place = |standing: Standing| (standing.model_version, standing.round);
            return Err(StepsBack { stands: place(stands), offered: place(standing) });
        }
        Ok(self.record(standing.round, Event::Adopted(standing)))
    }

    /// The last transcript that this client has seen published.
    pub(super) fn transcript(&self) -> Digest {
        self.standing.map_or(NO_TRANSCRIPT, |standing| standing.transcript)
    }

    /// Whether this client stands at a round or beyond it.
    pub(super) fn stands_at(&self, round: RoundNumber) -> bool {
        self.standing.is_some_and(|standing| standing.round >= round)
    }

    /// Whether the standing is about to change.
    pub(super) fn is_applying(&self) -> bool {
        !self.applying.is_empty()
    }

    /// The result of a round is being applied from now on.
    pub(super) fn begin_applying(&mut self, round: RoundNumber) {
        self.applying.insert(round);
    }

    /// The result of a round was applied, or can't be.
    pub(super) fn end_applying(&mut self, round: RoundNumber) {
        self.applying.remove(&round);
    }

    /// Takes an event in and gives the record that has to be durable.
    pub(super) fn record(&mut self, round: RoundNumber, event: Event) -> Record {
        let record = Record { federation: self.federation, round, event };
        self.take(&record);
        record
    }

    /// Whether this client may do in `round` what a stage asks for: rounds rise strictly.
    pub(super) fn rises(&self, stage: Stage, round: RoundNumber) -> Result<(), Refusal> {
        match self.highest.get(&stage) {
            Some(seen) if round <= *seen => Err(match stage {
                Stage::AdvertiseKeys if round == *seen => Refusal::Restarted,
                Stage::ConsistencyCheck => Refusal::AlreadySigned,
                Stage::Unmasking => Refusal::AlreadyRevealed,
                _ => Refusal::RoundNotRising { planned: round.0, seen: seen.0 },
            }),
            _ => Ok(()),
        }
    }

    /// The set rule, as far as a plan tells: for one release at most one opened set, ever. A retry
    /// plans the same cohort, or, under an amended manifest and where no set was signed yet, one that
    /// can show that no set of the cohorts before it is opened. What was forgotten may have been over
    /// any model up to the one that the last forgotten round started from.
    pub(super) fn may_open(&self, intent: &Intent) -> Result<(), Refusal> {
        let stands = self.standing.map_or(RoundNumber(0), |standing| standing.round);
        if let Some(seen) = self.lost
            && (stands < seen || intent.kind == PlanKind::Statistics)
        {
            let (seen, remembered) = (seen.0, stands.0);
            return Err(Refusal::RolledBack { seen, remembered });
        }
        let opened = self.opened.get(&Release::of(intent.kind, intent.model));
        let allowed = opened.is_none_or(|opened| opened.allows(intent, stands));
        if allowed { Ok(()) } else { Err(Refusal::SetRule) }
    }

    /// The set rule, before the first byte of a masked contribution leaves: whoever has uploaded to a
    /// cohort gives it the same contribution again or none. A set that this client is in may have been
    /// opened, whether or not it was shown to it: the sum over it comes out the same again or not at
    /// all. `fresh` noise is in a contribution that is charged as a release of its own.
    pub(super) fn may_upload(
        &self,
        intent: &Intent,
        contribution: Digest,
        fresh: bool,
    ) -> Result<(), Refusal> {
        self.may_open(intent)?;
        let opened = self.opened.get(&Release::of(intent.kind, intent.model));
        let same = opened.is_none_or(|opened| fresh || opened.takes(&intent.cohort, contribution));
        if same { Ok(()) } else { Err(Refusal::OtherContribution) }
    }

    /// The other half of the set rule: once a retry was uploaded, the round before it is dead, or
    /// a coordinator could open both; the set shows that those of earlier manifests are too, and is
    /// the one that was signed before, if one was.
    pub(super) fn may_sign(
        &self,
        kind: PlanKind,
        model: Digest,
        round: RoundNumber,
        survivors: &[ClientId],
    ) -> Result<(), Refusal> {
        let opened = self.opened.get(&Release::of(kind, model));
        let allowed = opened.is_some_and(|opened| opened.allows_set(round, survivors));
        if allowed { Ok(()) } else { Err(Refusal::SetRule) }
    }

    fn take(&mut self, record: &Record) {
        let round = record.round;
        match &record.event {
            Event::Advertised => self.raise(Stage::AdvertiseKeys, round),
            Event::Shared => self.raise(Stage::ShareKeys, round),
            Event::Revealed => self.raise(Stage::Unmasking, round),
            Event::Uploading { kind, model, cohort, contribution } => {
                self.raise(Stage::MaskedInput, round);
                let release = Release::of(*kind, *model);
                let before = self.opened.remove(&release);
                let opened = Opened::after(before, *kind, round, cohort.clone(), *contribution);
                self.opened.insert(release, opened);
            }
            Event::Signed { set } => {
                self.raise(Stage::ConsistencyCheck, round);
                let mut opened = self.opened.values_mut();
                if let Some(opened) = opened.find(|opened| opened.round == round) {
                    opened.sign(*set);
                }
            }
            Event::Stands(standing) | Event::Adopted(standing) => {
                self.derived = matches!(record.event, Event::Stands(_));
                // A later result may still be on its way.
                self.applying.retain(|applying| *applying > standing.round);
                let before = self.standing.replace(*standing);
                if before.is_some_and(|before| before.model_version < standing.model_version) {
                    self.forget_superseded();
                }
            }
            Event::Met { clients } => {
                for client in clients {
                    let met = self.met.entry(*client).or_default();
                    *met = round.max(*met);
                }
            }
            Event::RolledBack { seen } => self.lost = self.lost.max(Some(*seen)),
        }
    }

    /// A version is behind this client for ever: it uploads for the state that it stands at alone, a
    /// version never steps back, and the hash of a state binds its version. So whatever was opened over
    /// models of earlier versions decides nothing any more but how far this client has gone, which the
    /// last upload and the last signature say.
    fn forget_superseded(&mut self) {
        let stands = self.standing.map(|standing| standing.state);
        let uploaded = self.highest.get(&Stage::MaskedInput).copied();
        let signed = self.highest.get(&Stage::ConsistencyCheck).copied();
        self.opened.retain(|release, opened| {
            release.is_statistics
                || Some(release.model) == stands
                || Some(opened.round) == uploaded
                || (Some(opened.round) == signed && opened.signed().is_some())
        });
    }

    fn raise(&mut self, stage: Stage, round: RoundNumber) {
        let highest = self.highest.entry(stage).or_insert(round);
        *highest = round.max(*highest);
    }
}

#[cfg(test)]
mod tests;
