//! The facts of a batch as writes of one transaction.

use std::collections::{BTreeMap, BTreeSet};

use roundelay_crypto::digest::Digest;
use roundelay_protocol::codec;
use roundelay_protocol::ids::{FederationId, ModelVersion, RoundNumber, TenantId};
use roundelay_protocol::lineage::Standing;
use roundelay_protocol::metrics::Metrics as Sums;
use roundelay_protocol::round::horizontal::coordinator::Record;
use roundelay_protocol::time::Time;

use crate::engine::audit::{Entry, RoundSummary, State};
use crate::engine::rounds::RoundState;
use crate::engine::{Fact, NewModel};
use crate::store::{
    self, AuditEvent, AuditRecord, Federation, FederationState, Metrics, Model, Write,
};

use super::jobs::Stored;
use super::past::{Past, Pruned};

/// Writes that wait for their transaction.
pub(super) struct Batch {
    federation: FederationId,
    /// The row, to change its state.
    row: Federation,
    /// The members under the manifest that is driven: whose logs audit entries go to.
    members: BTreeSet<TenantId>,
    /// The members under manifests that are not driven yet: they reach the federation to sign.
    invited: BTreeSet<TenantId>,
    /// Rows of earlier rounds and versions.
    past: Past,
    /// A state that a client gave back, and its blob.
    given: Option<(Digest, Digest)>,
    /// Blobs of the results that are being published.
    results: BTreeMap<RoundNumber, Blobs>,
    writes: Vec<Write>,
    /// Blobs that no row names any more once this is durable.
    freed: Vec<Digest>,
    records: BTreeMap<RoundNumber, Vec<Record>>,
    /// The stages that records were made in since the last transaction, of rounds too that have
    /// ended meanwhile and need none of them any more.
    stages: BTreeSet<&'static str>,
}

/// The stage that a record is made in; `None` where that may be any.
fn stage_of(record: &Record) -> Option<&'static str> {
    match record {
        Record::Planned(_) | Record::Advert(..) | Record::AdvertsClosed | Record::Drawn(_) => {
            Some("advertise_keys")
        }
        Record::Shares(..) | Record::SharesClosed => Some("share_keys"),
        Record::Training(_) | Record::Survivors { .. } => Some("masked_input"),
        Record::Quorum(_) => Some("consistency_check"),
        Record::Revealed(..) => Some("unmasking"),
        Record::Left(..) | Record::Finished(_) => None,
    }
}

/// What a result is stored as, until rows name it.
struct Blobs {
    state: Option<Digest>,
    aggregate: Option<Digest>,
}

impl Batch {
    pub(super) fn new(
        row: Federation,
        members: BTreeSet<TenantId>,
        invited: BTreeSet<TenantId>,
        past: Past,
    ) -> Self {
        Self {
            federation: row.federation,
            row,
            members,
            invited,
            past,
            given: None,
            results: BTreeMap::new(),
            writes: Vec::new(),
            freed: Vec::new(),
            records: BTreeMap::new(),
            stages: BTreeSet::new(),
        }
    }

    /// Where a state is stored that a client gave back.
    pub(super) fn given(&mut self, state: Digest, blob: Digest) {
        let unused = self.given.replace((state, blob));
        self.freed.extend(unused.map(|(_, blob)| blob));
    }

    /// A newer manifest is in force: from here on its members are told, and whoever has left with
    /// it is no member any more.
    pub(super) fn set_members(&mut self, members: BTreeSet<TenantId>) {
        self.members = members;
        self.put_members();
    }

    /// Nobody whom a round still tells something loses its membership by the writes of others.
    /// Returns whom they name as members.
    pub(super) fn keep_members(&self, writes: &mut [Write]) -> Option<BTreeSet<TenantId>> {
        let mut invited = None;
        for write in writes {
            if let Write::PutMembers { members, .. } = write {
                let named: BTreeSet<_> = members.iter().cloned().collect();
                *members = self.members.union(&named).cloned().collect();
                invited = Some(named);
            }
        }
        invited
    }

    /// The members under manifests that are newer than the driven one.
    pub(super) fn invite(&mut self, invited: BTreeSet<TenantId>) {
        self.invited = invited;
    }

    /// Stores who may reach the federation.
    pub(super) fn put_members(&mut self) {
        let (federation, members) = (self.federation, self.reached_by());
        self.writes.push(Write::PutMembers { federation, members });
    }

    /// Who may reach the federation: the members under the manifest that is driven and those under
    /// newer ones. A round may still tell the former what they have to know.
    pub(super) fn reached_by(&self) -> Vec<TenantId> {
        self.members.union(&self.invited).cloned().collect()
    }

    /// Where the result of a round is stored, for the rows that will name it.
    pub(super) fn result(&mut self, round: RoundNumber, stored: &Stored) {
        let blobs = Blobs { state: stored.next.blob, aggregate: Some(stored.aggregate_blob) };
        self.results.insert(round, blobs);
    }

    /// A round is over: its masked sum goes, and so does a result that was not published.
    pub(super) fn close(&mut self, round: RoundNumber, sum: Option<Digest>) {
        self.freed.extend(sum);
        if let Some(Blobs { state, aggregate }) = self.results.remove(&round) {
            self.freed.extend(state.into_iter().chain(aggregate));
        }
    }

    /// Lets go of what is beyond the limits of what is kept.
    pub(super) fn prune(&mut self) {
        let Pruned { writes, blobs } = self.past.prune();
        self.writes.extend(writes);
        self.freed.extend(blobs);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.records.is_empty() && self.freed.is_empty()
    }

    /// Blobs to delete once everything taken so far is durable.
    pub(super) fn take_freed(&mut self) -> Vec<Digest> {
        std::mem::take(&mut self.freed)
    }

    /// The stages of rounds that the next transaction closes.
    pub(super) fn take_stages(&mut self) -> BTreeSet<&'static str> {
        std::mem::take(&mut self.stages)
    }

    /// Everything, as one transaction. Records come first: whatever names a round in the same
    /// transaction holds for all of its records.
    pub(super) fn take(&mut self) -> Vec<Write> {
        let federation = self.federation;
        let records = std::mem::take(&mut self.records).into_iter();
        let mut writes: Vec<_> = records
            .map(|(round, records)| Write::AppendRound { federation, round, records })
            .collect();
        writes.append(&mut self.writes);
        writes
    }

    pub(super) fn fact(&mut self, fact: Fact, now: Time) {
        let federation = self.federation;
        match fact {
            Fact::Record(round, record) => {
                self.stages.extend(stage_of(&record));
                self.records.entry(round).or_default().push(*record);
            }
            Fact::Round(summary) => self.round(&summary),
            Fact::Forget(round) => {
                self.records.remove(&round);
                self.writes.push(Write::DeleteRecords { federation, round });
            }
            Fact::Progress(progress) => {
                let progress = codec::encode(&*progress);
                // The last of a transaction is the one that stays.
                self.writes.retain(|write| !matches!(write, Write::PutProgress { .. }));
                self.writes.push(Write::PutProgress { federation, progress });
            }
            Fact::Model(model) => self.model(&model, now),
            Fact::Recovered(standing) => self.recovered(&standing, now),
            Fact::Evaluated(version, metrics) => self.evaluated(version, &metrics),
            Fact::State(state) => self.state(state),
        }
    }

    fn round(&mut self, summary: &RoundSummary) {
        let state = match &summary.state {
            RoundState::Running => store::RoundState::Running,
            RoundState::Published => store::RoundState::Published,
            RoundState::Aborted(reason) => store::RoundState::Aborted(reason.clone()),
        };
        let result = self.results.get_mut(&summary.round);
        let published = result.filter(|_| state == store::RoundState::Published);
        let aggregate = published.and_then(|blobs| blobs.aggregate.take());
        let left = summary.left.iter().map(|left| (left.client, left.departure.clone())).collect();
        let round = store::Round {
            round: summary.round,
            kind: summary.kind,
            model_version: summary.model_version,
            state,
            began_unix_ms: summary.began_ms,
            ended_unix_ms: summary.ended_ms,
            cohort: summary.cohort,
            survivors: summary.survivors,
            dropouts: summary.dropouts,
            aggregate,
            left,
        };
        let federation = self.federation;
        self.past.round(round.clone());
        self.writes.push(Write::PutRound { federation, round: Box::new(round) });
    }

    fn model(&mut self, new: &NewModel, now: Time) {
        let blobs = self.results.get_mut(&new.round);
        let Some(blob) = blobs.and_then(|blobs| blobs.state.take()) else { return };
        let model = Model {
            version: new.version,
            parent: new.parent,
            round: Some(new.round),
            state: new.state,
            blob: Some(blob),
            transcript: Some(new.transcript),
            survivors: new.survivors,
            created_unix_ms: now.0,
            metrics: None,
        };
        self.put(model);
    }

    /// Its aggregate and where it came from are lost.
    fn recovered(&mut self, standing: &Standing, now: Time) {
        let Some((_, blob)) = self.given.take_if(|(state, _)| *state == standing.state) else {
            return;
        };
        self.put(Model {
            version: standing.model_version,
            parent: None,
            round: Some(standing.round),
            state: standing.state,
            blob: Some(blob),
            transcript: Some(standing.transcript),
            survivors: 0,
            created_unix_ms: now.0,
            metrics: None,
        });
    }

    fn evaluated(&mut self, version: ModelVersion, sums: &Sums) {
        if let Some(model) = self.past.find(version) {
            let (rows, loss, accuracy) = (sums.rows, sums.loss(), sums.accuracy());
            self.put(Model { metrics: Some(Metrics { rows, loss, accuracy }), ..model.clone() });
        }
    }

    fn put(&mut self, model: Model) {
        let federation = self.federation;
        self.freed.extend(self.past.model(model.clone()));
        self.writes.push(Write::PutModel { federation, model: Box::new(model) });
    }

    fn state(&mut self, state: State) {
        self.row.state = match state {
            State::Running | State::Stopping | State::Stalled => FederationState::Running,
            State::Stopped => FederationState::Stopped,
            State::Finished => FederationState::Finished,
        };
        self.writes.push(Write::PutFederation(Box::new(self.row.clone())));
    }

    pub(super) fn audit(&mut self, entry: Entry, now: Time) {
        let (round, event) = match entry {
            Entry::Round(round, entry) => (Some(round), AuditEvent::Round(entry)),
            Entry::Started => (None, AuditEvent::FederationStarted),
            Entry::Stopped => (None, AuditEvent::FederationStopped),
            Entry::Finished(version) => (None, AuditEvent::FederationFinished { version }),
            Entry::Stalled(reason) => {
                tracing::warn!(federation = %self.federation, reason, "a federation does not go on by itself");
                (None, AuditEvent::FederationStalled { reason })
            }
            Entry::Recovered(version) => (None, AuditEvent::FederationRecovered { version }),
        };
        let federation = Some(self.federation);
        let record = Box::new(AuditRecord { unix_ms: now.0, federation, round, event });
        let to = self.members.iter().cloned().collect();
        self.writes.push(Write::Audit { to, record });
    }
}
