//! The coordinator of a federation in this process.

use std::collections::BTreeMap;
use std::sync::Arc;

use roundelay_coordinator::accumulator::{Accumulator, Chunks, Shape, Undo, unmask};
use roundelay_crypto::digest::Digest;
use roundelay_protocol::codec;
use roundelay_protocol::ids::{ClientId, RoundNumber};
use roundelay_protocol::lineage::{Standing, State};
use roundelay_protocol::message;
use roundelay_protocol::plan::{PlanKind, RosterPlan, TrainingPlan};
use roundelay_protocol::round::horizontal::coordinator::{
    Action, Input, Outcome, Round, Timing, UnmaskOutcome, UnmaskPlan,
};
use roundelay_protocol::round::horizontal::terms::Terms;
use roundelay_protocol::session::{ToClient, ToCoordinator};
use roundelay_protocol::time::{Millis, Time};
use roundelay_protocol::transcript::aggregate_digest;
use roundelay_simulations::packet::Frames;

use super::{Client, Cost, Failed, Mail, Post, setup, timed};

/// A vector comes in pieces of this size, as from a stream.
const PIECE_BYTES: usize = 64 << 10;
/// Long: only who has vanished is late.
const STAGE: Millis = Millis(1_000_000);

/// The coordinator.
pub(super) struct Coordinator {
    terms: Arc<Terms>,
    cost: Cost,
    unmasking_seconds: f64,
    /// Where the clients are that have these ids.
    places: BTreeMap<ClientId, usize>,
    ids: Vec<ClientId>,
    machine: Option<Round>,
    deadline: Time,
    accumulator: Option<Arc<Accumulator>>,
    sum: Vec<u8>,
    aggregate: Vec<u8>,
    state: Arc<State>,
    standing: Standing,
    outcome: Option<Outcome>,
}

impl Coordinator {
    pub(super) fn new(terms: Arc<Terms>, state: Arc<State>, standing: Standing) -> Self {
        Self {
            terms,
            cost: Cost::default(),
            unmasking_seconds: 0.0,
            places: BTreeMap::new(),
            ids: Vec::new(),
            machine: None,
            deadline: Time(0),
            accumulator: None,
            sum: Vec::new(),
            aggregate: Vec::new(),
            state,
            standing,
            outcome: None,
        }
    }

    /// The newest state, and where it stands.
    pub(super) fn head(&self) -> (&Arc<State>, &Standing) {
        (&self.state, &self.standing)
    }

    /// What was published last.
    pub(super) fn aggregate(&self) -> &[u8] {
        &self.aggregate
    }

    pub(super) fn is_over(&self) -> bool {
        self.outcome.is_some()
    }

    /// What this round cost, and the seconds of it that masks took.
    pub(super) fn costs(&self) -> (Cost, f64) {
        (self.cost, self.unmasking_seconds)
    }

    /// Starts a round of everyone and trains as soon as it is prepared.
    pub(super) fn begin(&mut self, round: RoundNumber, post: &mut Post<'_>) -> Result<(), Failed> {
        (self.cost, self.unmasking_seconds, self.outcome) = (Cost::default(), 0.0, None);
        self.ids = post.clients.iter().map(Client::id).collect();
        self.places = self.ids.iter().enumerate().map(|(at, id)| (*id, at)).collect();
        let cohort = self.ids.iter().copied().collect();
        let plan = self.terms.roster_plan(round, &cohort).map_err(setup)?;
        let training = self.training_plan(&plan)?;
        let timing = Timing {
            advertise_keys: STAGE,
            share_keys: STAGE,
            masked_input: STAGE,
            consistency_check: STAGE,
            unmasking: STAGE,
            grace: Millis(1),
        };
        let (began, seconds) = timed(|| {
            let (terms, mut actions) = (Arc::clone(&self.terms), Vec::new());
            let machine = Round::start(terms, plan, timing, &[], Time(0), &mut actions);
            self.machine = Some(machine.map_err(setup)?);
            self.carry_out(actions, post, Time(0))?;
            self.hear(Input::Train(Box::new(training)), post, Time(0))
        });
        self.cost.seconds += seconds;
        began
    }

    fn training_plan(&self, roster: &RosterPlan) -> Result<TrainingPlan, Failed> {
        let kind = PlanKind::Train;
        Ok(TrainingPlan {
            kind,
            model_version: self.standing.model_version,
            model: self.standing.state,
            hyperparameters: *self.terms.hyperparameters(),
            layout: self.terms.layout(kind, &roster.cohort).ok_or_else(|| setup("no such plan"))?,
            active: Vec::new(),
            opened: Vec::new(),
            previous_transcript: self.standing.transcript,
        })
    }

    pub(super) fn read(
        &mut self,
        from: usize,
        frames: &Frames,
        post: &mut Post<'_>,
        now: Time,
    ) -> Result<(), Failed> {
        self.cost.received += frames.bytes();
        let from = self.ids[from];
        self.at_cost(post, now, |_| {
            let read = frames.read_by_coordinator()?;
            let ToCoordinator::Round { message, .. } = read else { return Ok(None) };
            Ok(Some(Input::Message { from, message }))
        })
    }

    /// Takes a masked vector.
    pub(super) fn take(
        &mut self,
        from: usize,
        vector: &[u8],
        post: &mut Post<'_>,
        now: Time,
    ) -> Result<(), Failed> {
        self.cost.received += vector.len() as u64;
        let from = self.ids[from];
        self.at_cost(post, now, |this| {
            let Some(accumulator) = &this.accumulator else { return Ok(None) };
            let undo = Undo::in_memory(&Chunks::default(), ());
            let mut upload = accumulator.begin(from, vector.len() as u64, undo).map_err(setup)?;
            for piece in vector.chunks(PIECE_BYTES) {
                upload.write(piece).map_err(setup)?;
            }
            let root = upload.finish().map_err(setup)?;
            Ok(Some(Input::Uploaded { from, root }))
        })
    }

    pub(super) fn lost(
        &mut self,
        from: usize,
        post: &mut Post<'_>,
        now: Time,
    ) -> Result<(), Failed> {
        let from = self.ids[from];
        self.at_cost(post, now, |_| Ok(Some(Input::Lost(from))))
    }

    /// Time passes until the stage ends; gives what time it is then.
    pub(super) fn late(&mut self, post: &mut Post<'_>) -> Result<Time, Failed> {
        let now = self.deadline;
        self.at_cost(post, now, |_| Ok(Some(Input::Deadline)))?;
        if post.waiting.is_empty() && self.deadline <= now && self.outcome.is_none() {
            return Err(Failed::Round("nothing moves any more".to_owned()));
        }
        Ok(now)
    }

    fn at_cost(
        &mut self,
        post: &mut Post<'_>,
        now: Time,
        work: impl FnOnce(&mut Self) -> Result<Option<Input>, Failed>,
    ) -> Result<(), Failed> {
        let (done, seconds) = timed(|| match work(self)? {
            Some(input) => self.hear(input, post, now),
            None => Ok(()),
        });
        self.cost.seconds += seconds;
        done
    }

    fn hear(&mut self, input: Input, post: &mut Post<'_>, now: Time) -> Result<(), Failed> {
        let mut actions = Vec::new();
        if let Some(machine) = &mut self.machine {
            machine.handle(now, input, &mut actions);
        }
        self.carry_out(actions, post, now)
    }

    fn carry_out(
        &mut self,
        actions: Vec<Action>,
        post: &mut Post<'_>,
        now: Time,
    ) -> Result<(), Failed> {
        for action in actions {
            if let Some(input) = self.do_one(action, post)? {
                self.hear(input, post, now)?;
            }
        }
        Ok(())
    }

    fn do_one(&mut self, action: Action, post: &mut Post<'_>) -> Result<Option<Input>, Failed> {
        match action {
            Action::Persist(record) => drop(codec::encode(&record)),
            Action::Audit(entry) => drop(codec::encode(&entry)),
            Action::Send { to, message } => self.send(to, message, post)?,
            Action::Broadcast { to, message } => {
                to.into_iter().try_for_each(|to| self.send(to, message.clone(), post))?;
            }
            Action::OpenUploads { layout, active } => {
                self.accumulator = Some(Accumulator::new(Shape::all(&layout), active));
            }
            Action::Settle(client) => self.uploads(|uploads| uploads.settle(client)),
            Action::Discard(client) => self.uploads(|uploads| uploads.discard(client)),
            Action::StoreSum(clients) => return self.store(&clients).map(Some),
            Action::Unmask(plan) => return self.unmask(plan).map(Some),
            Action::Apply { plan, survivors, .. } => return self.apply(&plan, survivors).map(Some),
            Action::SetDeadline(at) => self.deadline = at,
            Action::Finish(outcome) => self.finish(outcome)?,
            Action::Expel { client, fault } => {
                return Err(Failed::Round(format!("client {client} is expelled: {fault}")));
            }
            Action::ResendBoxes(_) | Action::StageBegan { .. } => {}
        }
        Ok(None)
    }

    fn send(
        &mut self,
        to: ClientId,
        message: message::ToClient,
        post: &mut Post<'_>,
    ) -> Result<(), Failed> {
        let Some(machine) = &self.machine else { return Ok(()) };
        let (federation, round) = (self.terms.federation(), machine.number());
        let frames = Frames::of_coordinator(ToClient::Round { federation, round, message })?;
        self.cost.sent += frames.bytes();
        post.waiting.push_back(Mail::ToClient(self.places[&to], frames));
        Ok(())
    }

    fn uploads(&self, tell: impl FnOnce(&Accumulator)) {
        if let Some(accumulator) = &self.accumulator {
            tell(accumulator);
        }
    }

    fn store(&mut self, clients: &[ClientId]) -> Result<Input, Failed> {
        let accumulator = self.accumulator.take().ok_or_else(|| setup("no uploads"))?;
        self.sum = accumulator.seal(clients).map_err(setup)?.to_vec();
        Ok(Input::SumStored(Digest::of("roundelay/bench/sum", &[&self.sum])))
    }

    fn unmask(&mut self, plan: UnmaskPlan) -> Result<Input, Failed> {
        let (layout, survivors) = (plan.layout.clone(), u32::from(plan.survivors));
        let (unmasked, seconds) = timed(|| {
            let keys = plan.mask_keys().map_err(|client| setup(format!("keys of {client}")))?;
            unmask(&mut self.sum, &Shape::all(&layout), &keys);
            Ok::<_, Failed>(())
        });
        self.unmasking_seconds += seconds;
        unmasked?;
        layout.check_lanes(&self.sum, survivors).map_err(setup)?;
        self.aggregate = std::mem::take(&mut self.sum);
        Ok(Input::Unmasked(UnmaskOutcome::Clean(aggregate_digest(&self.aggregate))))
    }

    fn apply(&mut self, plan: &TrainingPlan, survivors: u16) -> Result<Input, Failed> {
        let task = &self.terms.manifest().task;
        let survivors = u32::from(survivors);
        let advanced =
            self.state.advance(task, plan.kind, &plan.layout, &self.aggregate, survivors);
        self.state = Arc::new(advanced.map_err(setup)?.state);
        Ok(Input::Applied(self.state.hash()))
    }

    fn finish(&mut self, outcome: Outcome) -> Result<(), Failed> {
        let Outcome::Published(published) = &outcome else {
            return Err(Failed::Round(format!("{outcome:?}")));
        };
        self.standing = Standing {
            round: self.machine.as_ref().map_or(RoundNumber(0), Round::number),
            model_version: published.model_version.next(),
            state: published.state,
            transcript: published.transcript,
        };
        // The aggregate goes to everyone who is to derive the next model.
        self.cost.sent += self.aggregate.len() as u64 * u64::from(published.survivors);
        self.outcome = Some(outcome);
        Ok(())
    }
}
