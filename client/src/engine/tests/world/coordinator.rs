//! The coordinator in these tests: the machines of its rounds, the vectors that it takes and gives,
//! and the signatures that it passes on.

use std::collections::BTreeMap;
use std::sync::Arc;

use roundelay_crypto::digest::Digest;
use roundelay_crypto::mask::{add_masks, add_words};
use roundelay_protocol::bounded::List;
use roundelay_protocol::ids::{ClientId, RoundNumber};
use roundelay_protocol::layout::Layout;
use roundelay_protocol::lineage::Attested;
use roundelay_protocol::message::{FromClient, ToClient};
use roundelay_protocol::plan::PlanKind;
use roundelay_protocol::round::horizontal::coordinator::{
    self as machine, Action, Outcome, UnmaskOutcome, stored_boxes,
};
use roundelay_protocol::session::VectorKind;
use roundelay_protocol::transcript::aggregate_digest;

use super::super::super::Input;
use super::{Step, World};

/// What the coordinator keeps of a round.
pub(super) struct Kept {
    pub(super) machine: machine::Round,
    pub(super) layout: Option<Layout>,
    pub(super) uploads: BTreeMap<ClientId, Vec<u8>>,
    pub(super) sum: Vec<u8>,
    pub(super) goal: Option<PlanKind>,
    pub(super) records: Vec<machine::Record>,
}

impl World {
    pub(super) fn said(&mut self, site: usize, round: RoundNumber, message: FromClient) {
        let from = self.sites[site].id;
        if self.sites[site].connected {
            let input = machine::Input::Message { from, message };
            self.queue.push_back(Step::ToCoordinator(round, input));
        }
    }

    pub(super) fn upload(&mut self, round: RoundNumber, from: ClientId, vector: Vec<u8>) {
        let Some(kept) = self.rounds.get_mut(&round) else { return };
        let Some(layout) = &kept.layout else { return };
        let mut root = roundelay_crypto::chunks::ChunkRoot::new();
        layout.chunks().for_each(|chunk| root.push(&vector[chunk.range()]));
        if kept.uploads.insert(from, vector).is_none() {
            let root = root.finish();
            let input = machine::Input::Uploaded { from, root };
            self.queue.push_back(Step::ToCoordinator(round, input));
        }
    }

    /// A vector goes to a client that has said that it expects it.
    pub(super) fn vector(&mut self, site: usize, kind: VectorKind) {
        let mut bytes = match kind {
            VectorKind::Aggregate(round) => match self.aggregates.get(&round) {
                Some(aggregate) => aggregate.clone(),
                None => return,
            },
            VectorKind::State(_) => self.state.to_bytes(),
            _ => return,
        };
        if let Some(change) = &mut self.on_vector {
            change(kind, &mut bytes);
        }
        let allowed = &mut self.sites[site].allowed;
        let Some(at) = allowed.iter().position(|(expected, _)| *expected == kind) else { return };
        let (_, bytes_max) = allowed.swap_remove(at);
        assert!(bytes.len() as u64 <= bytes_max, "{kind:?}");
        let input = match kind {
            VectorKind::Aggregate(round) => Input::Aggregate { round, bytes },
            VectorKind::State(version) => Input::State { version, bytes },
            _ => return,
        };
        self.queue.push_back(Step::ToSite(site, input));
    }

    pub(super) fn coordinator_input(&mut self, round: RoundNumber, input: machine::Input) {
        let Some(kept) = self.rounds.get_mut(&round) else { return };
        let mut actions = Vec::new();
        kept.machine.handle(self.now, input, &mut actions);
        self.coordinator_actions(round, actions);
    }

    pub(super) fn coordinator_actions(&mut self, round: RoundNumber, actions: Vec<Action>) {
        for action in actions {
            if let Some(input) = self.coordinator_action(round, action) {
                self.queue.push_back(Step::ToCoordinator(round, input));
            }
        }
    }

    fn coordinator_action(&mut self, round: RoundNumber, action: Action) -> Option<machine::Input> {
        let kept = self.rounds.get_mut(&round)?;
        match action {
            Action::Send { to, message } => self.tell(round, to, message),
            Action::Broadcast { to, message } => {
                to.into_iter().for_each(|to| self.tell(round, to, message.clone()));
            }
            Action::ResendBoxes(to) => {
                let boxes = stored_boxes(&kept.records, to).unwrap();
                self.tell(round, to, ToClient::Boxes(Arc::new(boxes)));
            }
            Action::Persist(record) => kept.records.push(record),
            Action::OpenUploads { layout, .. } => kept.layout = Some(layout),
            Action::Discard(client) => {
                kept.uploads.remove(&client);
            }
            Action::StoreSum(clients) => {
                let layout = kept.layout.as_ref()?;
                let mut sum = vec![0; usize::try_from(layout.total_bytes()).unwrap()];
                for vector in clients.iter().map(|client| &kept.uploads[client]) {
                    for chunk in layout.chunks() {
                        add_words(&mut sum[chunk.range()], chunk.ring, &vector[chunk.range()]);
                    }
                }
                kept.sum = sum;
                return Some(machine::Input::SumStored(Digest([1; 32])));
            }
            Action::Unmask(plan) => {
                let (layout, survivors) = (plan.layout.clone(), plan.survivors);
                let keys = plan.mask_keys().unwrap();
                for chunk in layout.chunks() {
                    let words = &mut kept.sum[chunk.range()];
                    add_masks(words, chunk.ring, &keys, chunk.offset as u64);
                }
                layout.check_lanes(&kept.sum, survivors.into()).unwrap();
                let aggregate = kept.sum.clone();
                let hash = aggregate_digest(&aggregate);
                self.aggregates.insert(round, aggregate);
                return Some(machine::Input::Unmasked(UnmaskOutcome::Clean(hash)));
            }
            Action::Apply { plan, survivors, .. } => {
                let aggregate = &self.aggregates[&round];
                let task = &self.terms.manifest().task;
                let survivors = survivors.into();
                let advanced =
                    self.state.advance(task, plan.kind, &plan.layout, aggregate, survivors);
                self.state = advanced.unwrap().state;
                return Some(machine::Input::Applied(self.state.hash()));
            }
            Action::Finish(outcome) => {
                if let Outcome::Published(published) = &outcome {
                    self.published = round;
                    self.transcript = published.transcript;
                }
                self.outcomes.insert(round, outcome);
            }
            Action::Audit(_)
            | Action::StageBegan { .. }
            | Action::SetDeadline(_)
            | Action::Settle(_)
            | Action::Expel { .. } => {}
        }
        None
    }

    fn tell(&mut self, round: RoundNumber, to: ClientId, mut message: ToClient) {
        let Some(site) = self.sites.iter().position(|site| site.id == to && site.connected) else {
            return;
        };
        if let Some(change) = &mut self.on_message {
            change(to, &mut message);
        }
        if self.overtaken == Some(site) && matches!(message, ToClient::Published(_)) {
            self.behind = Some((round, message));
            return;
        }
        let plans = matches!(message, ToClient::TrainingPlan(_));
        self.deliver(site, round, message);
        if plans
            && self.overtaken == Some(site)
            && let Some((round, message)) = self.behind.take()
        {
            self.deliver(site, round, message);
        }
    }

    fn deliver(&mut self, site: usize, round: RoundNumber, message: ToClient) {
        let published = matches!(message, ToClient::Published(_));
        self.queue.push_back(Step::ToSite(site, Input::Message { round, message }));
        if published && self.lost_pushes != Some(site) {
            self.vector(site, VectorKind::Aggregate(round));
        }
    }

    /// The signatures under the newest state, once they are enough.
    pub(super) fn give_attested(&mut self, site: usize) {
        let newest = self.newest();
        let signed = self.attestations.iter().filter(|(_, standing, _)| *standing == newest);
        let signed = signed.map(|(client, _, signature)| (*client, *signature));
        let attested = Attested { standing: newest, signatures: List::clipped(signed) };
        let are_enough = attested.verify(&self.terms, self.sites[site].id).is_ok();
        if !are_enough || self.overtaken == Some(site) {
            self.asked.insert(site);
        } else if self.sites[site].connected {
            self.queue.push_back(Step::ToSite(site, Input::Attested(attested)));
        }
    }
}
