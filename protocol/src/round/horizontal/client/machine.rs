//! The machine of one round: which message starts which stage, what is repeated, held back or
//! refused, and how it ends.

use std::mem;

use super::advertise::{Advertise, Advertised};
use super::consistency::Consistency;
use super::draw::{Draw, Revealing};
use super::input::{Masking, Prepared, Training};
use super::open::Open;
use super::seeds::RoundSeeds;
use super::share::Share;
use super::unmask::{Revealed, Unmask};
use super::*;
use crate::plan::PlanKind;

/// The client's half of one round.
pub struct Round {
    core: Core,
    stage: Stage,
    /// The messages that started stages, to tell a repetition from a contradiction.
    accepted: BTreeMap<Starter, ToClient>,
    /// The last answer and what it answers.
    answered: Option<(Starter, FromClient)>,
    /// A message that overtook the one before it on another stream.
    held: Option<(Starter, ToClient)>,
    deadline: Option<Time>,
}

/// What the machine waits for.
enum Stage {
    Advertise(Advertise),
    Draw(Box<Draw>),
    Revealing(Box<Revealing>),
    Share(Box<Share>),
    Open(Box<Open>),
    Prepared(Box<Prepared>),
    Training(Box<Training>),
    Masking(Box<Masking>),
    Consistency(Box<Consistency>),
    Unmask(Box<Unmask>),
    Revealed(Revealed),
    Bystander(Refusal),
    Applying(Box<Published>),
    Finished,
}

/// The messages that start a stage, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Starter {
    RosterPlan,
    Listing,
    Beacon,
    Adverts,
    Boxes,
    TrainingPlan,
    SurvivorSet,
    Quorum,
}

impl Starter {
    fn of(message: &ToClient) -> Option<Self> {
        match message {
            ToClient::RosterPlan(_) => Some(Self::RosterPlan),
            ToClient::Listing(_) => Some(Self::Listing),
            ToClient::Beacon(_) => Some(Self::Beacon),
            ToClient::Adverts(_) => Some(Self::Adverts),
            ToClient::Boxes(_) => Some(Self::Boxes),
            ToClient::TrainingPlan(_) => Some(Self::TrainingPlan),
            ToClient::SurvivorSet(_) => Some(Self::SurvivorSet),
            ToClient::Quorum(_) => Some(Self::Quorum),
            ToClient::ResendInput
            | ToClient::Published(_)
            | ToClient::Aborted(_)
            | ToClient::Expelled(_) => None,
        }
    }

    /// Why the same message with another content is refused.
    fn contradicted(self) -> Refusal {
        match self {
            Self::RosterPlan | Self::Listing | Self::Beacon => {
                Refusal::Contradicted(StageName::AdvertiseKeys)
            }
            Self::Adverts | Self::Boxes => Refusal::Contradicted(StageName::ShareKeys),
            Self::TrainingPlan => Refusal::Contradicted(StageName::MaskedInput),
            Self::SurvivorSet => Refusal::AlreadySigned,
            Self::Quorum => Refusal::AlreadyRevealed,
        }
    }
}

impl Stage {
    /// The message that starts the next stage; none after the last one.
    fn awaits(&self) -> Option<Starter> {
        match self {
            Self::Advertise(_) => Some(Starter::RosterPlan),
            Self::Draw(_) => Some(Starter::Listing),
            Self::Revealing(_) => Some(Starter::Beacon),
            Self::Share(_) => Some(Starter::Adverts),
            Self::Open(_) => Some(Starter::Boxes),
            Self::Prepared(_) => Some(Starter::TrainingPlan),
            Self::Training(_) | Self::Masking(_) | Self::Consistency(_) => {
                Some(Starter::SurvivorSet)
            }
            Self::Unmask(_) => Some(Starter::Quorum),
            Self::Revealed(_) | Self::Bystander(_) | Self::Applying(_) | Self::Finished => None,
        }
    }

    /// Whether a message that overtook the one before it on another stream waits for it.
    fn holds(&self, starter: Starter) -> bool {
        matches!(
            (self, starter),
            (Self::Revealing(_), Starter::Adverts)
                | (Self::Open(_), Starter::TrainingPlan)
                | (Self::Consistency(_), Starter::Quorum)
        )
    }

    /// Whether the machine waits for the driver and not for the coordinator.
    fn is_local(&self) -> bool {
        matches!(self, Self::Training(_) | Self::Masking(_) | Self::Applying(_) | Self::Finished)
    }

    fn name(&self) -> Option<StageName> {
        match self {
            Self::Advertise(_) | Self::Draw(_) | Self::Revealing(_) | Self::Share(_) => {
                Some(StageName::AdvertiseKeys)
            }
            Self::Open(_) => Some(StageName::ShareKeys),
            Self::Prepared(_) => Some(StageName::Prepared),
            Self::Training(_) | Self::Masking(_) => Some(StageName::MaskedInput),
            Self::Consistency(_) => Some(StageName::ConsistencyCheck),
            Self::Unmask(_) | Self::Revealed(_) => Some(StageName::Unmasking),
            Self::Bystander(_) | Self::Applying(_) | Self::Finished => None,
        }
    }
}

impl Round {
    /// The machine of a round that waits for its roster plan. The seeds of all its keys are drawn
    /// from `rng` at once.
    #[must_use]
    pub fn new(setup: &Setup, round: RoundNumber, rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        let terms = &setup.terms;
        let scope = Scope { federation: terms.federation(), round, manifest: terms.hash() };
        let own = ClientId(setup.identity.public().fingerprint());
        Self {
            core: Core { setup: setup.clone(), scope, own },
            stage: Stage::Advertise(Advertise::new(RoundSeeds::random(rng))),
            accepted: BTreeMap::new(),
            answered: None,
            held: None,
            deadline: None,
        }
    }

    /// The stage that the machine is in; none once it holds no secrets any more.
    #[must_use]
    pub fn stage(&self) -> Option<StageName> {
        self.stage.name()
    }

    /// Why this client sits the round out, if it does.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match &self.stage {
            Stage::Bystander(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// Takes one input; pushes what is to be done, in order.
    pub fn handle(
        &mut self,
        now: Time,
        input: Input,
        history: &mut History,
        actions: &mut Vec<Action>,
    ) {
        if matches!(input, Input::Deadline) && self.deadline.is_none_or(|deadline| now < deadline) {
            return;
        }
        let mut turn = Turn { history, actions, reply: None };
        match input {
            Input::Message(message) => self.message(message, &mut turn),
            Input::Deadline => self.expire(&mut turn),
            Input::Applied(state) => self.applied(state, &mut turn),
            Input::Contributed => self.step(&mut turn, |stage, core, turn| match stage {
                Stage::Training(training) => {
                    Ok(Stage::Masking(Box::new(training.contributed(core, turn)?)))
                }
                stage => Ok(stage),
            }),
            Input::Masked(roots) => self.step(&mut turn, |stage, core, turn| match stage {
                Stage::Masking(masking) => {
                    Ok(Stage::Consistency(Box::new(masking.masked(core, roots, turn)?)))
                }
                stage => Ok(stage),
            }),
            Input::Withdraw => self.withdraw(&mut turn),
            Input::ContributionFailed(failure) => self.step(&mut turn, |stage, _, _| match stage {
                Stage::Training(_) | Stage::Masking(_) => Err(failure.into()),
                stage => Ok(stage),
            }),
        }
        self.watch(now, &mut turn);
    }

    fn message(&mut self, message: ToClient, turn: &mut Turn<'_>) {
        match (Starter::of(&message), message) {
            (Some(starter), message) => self.starts(starter, message, turn),
            (None, ToClient::Published(published)) => self.published(published, turn),
            (None, ToClient::Aborted(reason)) => self.over(Outcome::Aborted(reason), turn),
            (None, ToClient::Expelled(fault)) => self.over(Outcome::Expelled(fault), turn),
            (None, _) => {
                if let Stage::Consistency(consistency) = &self.stage {
                    consistency.upload(turn);
                }
            }
        }
    }

    /// A message that starts a stage: the next one, one that was answered before, one that came
    /// early, or one that has no place here.
    fn starts(&mut self, starter: Starter, message: ToClient, turn: &mut Turn<'_>) {
        match (&self.stage, self.stage.awaits()) {
            (Stage::Applying(_) | Stage::Finished, _) => {}
            (Stage::Bystander(refusal), _) => {
                turn.actions.push(Action::Send(FromClient::Declined(refusal.clone())));
            }
            (stage, Some(awaited)) if starter == awaited && !stage.is_local() => {
                self.enter(starter, message, turn);
            }
            (Stage::Advertise(_), _) => self.refuse(Refusal::Restarted, turn),
            (stage, Some(_)) if stage.holds(starter) => self.hold(starter, message, turn),
            (_, Some(awaited)) if starter >= awaited => self.refuse(Refusal::OutOfStage, turn),
            _ => self.repeated(starter, &message, turn),
        }
    }

    fn enter(&mut self, starter: Starter, message: ToClient, turn: &mut Turn<'_>) {
        // Boxes are answered by one signature over all of them, whichever come again.
        if starter != Starter::Boxes {
            self.accepted.insert(starter, message.clone());
        }
        self.answered = None;
        self.step(turn, |stage, core, turn| match (stage, message) {
            (Stage::Advertise(stage), ToClient::RosterPlan(plan)) => {
                Ok(match stage.plan(core, plan, turn)? {
                    Advertised::Complete(share) => Stage::Share(Box::new(share)),
                    Advertised::Sparse(draw) => Stage::Draw(Box::new(draw)),
                })
            }
            (Stage::Draw(stage), ToClient::Listing(listing)) => {
                Ok(Stage::Revealing(Box::new(stage.listing(core, listing, turn)?)))
            }
            (Stage::Revealing(stage), ToClient::Beacon(beacon)) => {
                Ok(Stage::Share(Box::new(stage.beacon(core, &beacon)?)))
            }
            (Stage::Share(stage), ToClient::Adverts(roster)) => {
                Ok(Stage::Open(Box::new(stage.adverts(core, roster, turn)?)))
            }
            (Stage::Open(stage), ToClient::Boxes(roster)) => {
                Ok(Stage::Prepared(Box::new(stage.boxes(core, &roster, turn)?)))
            }
            (Stage::Prepared(stage), ToClient::TrainingPlan(plan)) => {
                Ok(Stage::Training(Box::new(stage.plan(core, plan, turn)?)))
            }
            (Stage::Consistency(stage), ToClient::SurvivorSet(set)) => {
                Ok(Stage::Unmask(Box::new(stage.survivors(core, set, turn)?)))
            }
            (Stage::Unmask(stage), ToClient::Quorum(quorum)) => {
                Ok(Stage::Revealed(stage.quorum(core, &quorum, turn)?))
            }
            _ => Err(Refusal::OutOfStage),
        });
        self.answered = turn.reply.take().map(|reply| (starter, reply));
        if let Some((starter, message)) = self.held.take() {
            self.starts(starter, message, turn);
        }
    }

    fn hold(&mut self, starter: Starter, message: ToClient, turn: &mut Turn<'_>) {
        match &self.held {
            Some((_, held)) if *held != message => self.refuse(starter.contradicted(), turn),
            _ => self.held = Some((starter, message)),
        }
    }

    /// The same message again, as after a lost connection: the same answer again.
    fn repeated(&mut self, starter: Starter, message: &ToClient, turn: &mut Turn<'_>) {
        if self.accepted.get(&starter).is_some_and(|accepted| accepted != message) {
            return self.refuse(starter.contradicted(), turn);
        }
        if let Some((answered, reply)) = &self.answered
            && *answered == starter
        {
            turn.actions.push(Action::Send(reply.clone()));
        }
    }

    /// Runs a stage into the next one. A refusal drops it with all its secrets.
    fn step(
        &mut self,
        turn: &mut Turn<'_>,
        next: impl FnOnce(Stage, &Core, &mut Turn<'_>) -> Result<Stage, Refusal>,
    ) {
        let stage = mem::replace(&mut self.stage, Stage::Finished);
        match next(stage, &self.core, turn) {
            Ok(stage) => self.stage = stage,
            Err(refusal) => self.refuse(refusal, turn),
        }
    }

    fn refuse(&mut self, refusal: Refusal, turn: &mut Turn<'_>) {
        self.burn();
        turn.actions.push(Action::Send(FromClient::Declined(refusal.clone())));
        self.stage = Stage::Bystander(refusal);
    }

    fn withdraw(&mut self, turn: &mut Turn<'_>) {
        if self.stage.name().is_some() {
            self.refuse(Refusal::Withdrawn, turn);
        }
    }

    /// Drops every secret, and everything else that could be sent again.
    fn burn(&mut self) {
        self.stage = Stage::Finished;
        self.answered = None;
        self.held = None;
        self.accepted.clear();
    }

    /// The coordinator says that the round is over, for everybody or for this client.
    fn over(&mut self, outcome: Outcome, turn: &mut Turn<'_>) {
        if !matches!(self.stage, Stage::Applying(_) | Stage::Finished) {
            self.finish(outcome, turn);
        }
    }

    fn published(&mut self, published: Published, turn: &mut Turn<'_>) {
        let checked = match &self.stage {
            Stage::Applying(_) | Stage::Finished => return,
            Stage::Training(training) => check_plan(training.plan(), &published),
            Stage::Masking(masking) => check_plan(masking.plan(), &published),
            Stage::Consistency(stage) => check_plan(&stage.plan, &published),
            Stage::Unmask(stage) => check_plan(&stage.plan, &published),
            Stage::Revealed(stage) => {
                check_plan(&stage.plan, &published).and_then(|()| stage.check(&published))
            }
            _ => Ok(()),
        };
        let known = turn.history.stands_at(self.core.scope.round);
        match checked {
            Err(refusal) => self.break_off(refusal, turn),
            Ok(()) if known => self.finish(Outcome::Known, turn),
            Ok(()) => {
                self.burn();
                turn.history.begin_applying(self.core.scope.round);
                let published = Box::new(published);
                turn.actions.push(Action::Apply(published.clone()));
                self.stage = Stage::Applying(published);
            }
        }
    }

    fn applied(&mut self, state: Option<Digest>, turn: &mut Turn<'_>) {
        let Stage::Applying(published) = mem::replace(&mut self.stage, Stage::Finished) else {
            return;
        };
        let round = self.core.scope.round;
        turn.history.end_applying(round);
        if turn.history.stands_at(round) {
            // A later result overtook this one: a standing never steps back.
            return self.finish(Outcome::Known, turn);
        }
        if state != Some(published.state) {
            return self.break_off(Refusal::LineageBroken, turn);
        }
        let model_version = match published.kind {
            PlanKind::Train => published.model_version.next(),
            PlanKind::Statistics | PlanKind::Evaluate => published.model_version,
        };
        let Published { state, transcript, .. } = *published;
        let standing = Standing { round, model_version, state, transcript };
        turn.remember(&self.core, Event::Stands(standing));
        self.finish(Outcome::Published(published), turn);
    }

    /// The result is not what this client derives: it stops here and says so.
    fn break_off(&mut self, refusal: Refusal, turn: &mut Turn<'_>) {
        turn.actions.push(Action::Send(FromClient::Declined(refusal.clone())));
        self.finish(Outcome::Broken(refusal), turn);
    }

    fn finish(&mut self, outcome: Outcome, turn: &mut Turn<'_>) {
        self.burn();
        turn.actions.push(Action::Finish(outcome));
    }

    /// The coordinator was silent for too long.
    fn expire(&mut self, turn: &mut Turn<'_>) {
        match &self.stage {
            Stage::Bystander(refusal) => {
                let refusal = refusal.clone();
                self.finish(Outcome::Refused(refusal), turn);
            }
            stage if stage.is_local() => {}
            _ => self.refuse(Refusal::WaitedTooLong, turn),
        }
    }

    /// Every input moves the deadline, since the coordinator or the driver gave a sign of life.
    fn watch(&mut self, now: Time, turn: &mut Turn<'_>) {
        let deadline = (!self.stage.is_local()).then(|| now + self.core.setup.patience);
        if deadline != self.deadline {
            self.deadline = deadline;
            turn.actions.extend(deadline.map(Action::SetDeadline));
        }
    }
}

/// Whether a result belongs to the plan that this client contributed to.
fn check_plan(plan: &TrainingPlan, published: &Published) -> Result<(), Refusal> {
    let same = plan.kind == published.kind && plan.model_version == published.model_version;
    if same { Ok(()) } else { Err(Refusal::LineageBroken) }
}

/// What a test needs to lie from within.
#[cfg(test)]
impl Round {
    /// The seed of the box keys, before shares are dealt.
    pub(crate) fn box_seed(&self) -> Option<roundelay_crypto::secret::Seed> {
        match &self.stage {
            Stage::Share(share) => {
                Some(roundelay_crypto::secret::Secret::new(*share.seeds.boxes.expose()))
            }
            _ => None,
        }
    }

    /// Has the machine go on as if it had dealt these leaves.
    pub(crate) fn believes(
        &mut self,
        root: Digest,
        leaves: impl IntoIterator<Item = (RosterIndex, Digest)>,
    ) {
        let Stage::Open(open) = &mut self.stage else { panic!("boxes were opened already") };
        open.own_root = root;
        for (to, digest) in leaves {
            open.sent.get_mut(&to).expect("a leaf for each neighbour").digest = digest;
        }
    }
}

#[cfg(test)]
mod tests;
