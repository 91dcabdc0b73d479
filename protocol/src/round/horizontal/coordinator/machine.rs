//! The machine of one round: which input goes where, who is late, and who can't be honest.

use std::mem;
use std::sync::Arc;

use super::advertise::AdvertiseKeys;
use super::consistency::ConsistencyCheck;
use super::core::{Core, Turn};
use super::draw::Drawing;
use super::input::{MaskedInput, StoringSum};
use super::prepared::{Opening, Prepared};
use super::publish::{Applying, Removing};
use super::share::ShareKeys;
use super::unmask::Unmasking;
use super::*;
use crate::ids::RoundNumber;
use crate::message::Accusation;
use crate::round::horizontal::terms::{PlanError, Terms};

/// The coordinator's half of one round.
pub struct Round {
    pub(super) core: Core,
    pub(super) stage: Stage,
}

/// What the machine waits for.
pub(super) enum Stage {
    AdvertiseKeys(AdvertiseKeys),
    Drawing(Box<Drawing>),
    ShareKeys(Box<ShareKeys>),
    Opening(Box<Opening>),
    Prepared(Box<Prepared>),
    MaskedInput(Box<MaskedInput>),
    StoringSum(Box<StoringSum>),
    ConsistencyCheck(Box<ConsistencyCheck>),
    Unmasking(Box<Unmasking>),
    Removing(Box<Removing>),
    Applying(Applying),
    Finished,
}

/// What a stage is told.
pub(super) enum Event {
    /// A message of this stage.
    Message(RosterIndex, FromClient),
    Uploaded(RosterIndex, Digest),
    UploadRefused(RosterIndex, Fault),
    SumStored(Digest),
    Unmasked(UnmaskOutcome),
    Applied(Digest),
    /// A client declined or was expelled outside the stage's own code.
    Left(RosterIndex),
    /// A client's connection is back.
    Returned(RosterIndex),
    /// Time passed, or attendance changed.
    Tick,
}

impl Stage {
    fn name(&self) -> Option<StageName> {
        match self {
            Self::AdvertiseKeys(_) | Self::Drawing(_) => Some(StageName::AdvertiseKeys),
            Self::ShareKeys(_) | Self::Opening(_) => Some(StageName::ShareKeys),
            Self::Prepared(_) => Some(StageName::Prepared),
            Self::MaskedInput(_) | Self::StoringSum(_) => Some(StageName::MaskedInput),
            Self::ConsistencyCheck(_) => Some(StageName::ConsistencyCheck),
            Self::Unmasking(_) | Self::Removing(_) | Self::Applying(_) => {
                Some(StageName::Unmasking)
            }
            Self::Finished => None,
        }
    }

    /// Whether messages of the stage's name still count; else they are late.
    fn is_open(&self) -> bool {
        !matches!(self, Self::StoringSum(_) | Self::Removing(_) | Self::Applying(_))
    }

    fn handle(self, core: &mut Core, event: Event, turn: &mut Turn<'_>) -> Self {
        match self {
            Self::AdvertiseKeys(stage) => stage.handle(core, event, turn),
            Self::Drawing(stage) => stage.handle(core, event, turn),
            Self::ShareKeys(stage) => stage.handle(core, event, turn),
            Self::Opening(stage) => stage.handle(core, event, turn),
            Self::Prepared(stage) => stage.handle(core, event, turn),
            Self::MaskedInput(stage) => stage.handle(core, event, turn),
            Self::StoringSum(stage) => stage.handle(core, event, turn),
            Self::ConsistencyCheck(stage) => stage.handle(core, event, turn),
            Self::Unmasking(stage) => stage.handle(core, event, turn),
            Self::Removing(stage) => stage.handle(core, event, turn),
            Self::Applying(stage) => stage.handle(core, event, turn),
            Self::Finished => self,
        }
    }
}

impl Round {
    /// Begins a round for a cohort, a union of fixed groups. `absent` are those of it that have
    /// no connection now.
    ///
    /// # Errors
    /// The plan of the cohort would break the manifest; nothing was begun.
    pub fn start(
        terms: Arc<Terms>,
        plan: RosterPlan,
        timing: Timing,
        absent: &[ClientId],
        now: Time,
        actions: &mut Vec<Action>,
    ) -> Result<Self, PlanError> {
        let floors = terms.check(&plan)?;
        let mut core = Core::new(terms, Box::new(plan), floors, timing);
        for client in absent {
            if let Some(index) = core.plan.index_of(*client) {
                core.lose(index, now);
            }
        }
        let mut turn = Turn { now, actions };
        let stage = Stage::AdvertiseKeys(AdvertiseKeys::begin(&core, &mut turn));
        let mut round = Self { core, stage };
        round.step(Event::Tick, &mut turn);
        Ok(round)
    }

    /// The number of the round.
    #[must_use]
    pub fn number(&self) -> RoundNumber {
        self.core.plan.round
    }

    /// The roster plan.
    #[must_use]
    pub fn plan(&self) -> &RosterPlan {
        &self.core.plan
    }

    /// The stage that the round is in; none when it is over.
    #[must_use]
    pub fn stage(&self) -> Option<StageName> {
        self.stage.name()
    }

    /// Messages that were dropped: late ones, and those of clients that are out of the round.
    #[must_use]
    pub fn late_messages(&self) -> u64 {
        self.core.late_messages
    }

    /// Takes one input; pushes what is to be done, in order.
    pub fn handle(&mut self, now: Time, input: Input, actions: &mut Vec<Action>) {
        let mut turn = Turn { now, actions };
        if matches!(self.stage, Stage::Finished) {
            return;
        }
        match input {
            Input::Message { from, message } => match self.core.plan.index_of(from) {
                Some(index) => self.message(index, message, &mut turn),
                None => self.core.late_messages += 1,
            },
            Input::Train(plan) => {
                self.core.next_plan = Some(plan);
                self.step(Event::Tick, &mut turn);
            }
            Input::Uploaded { from, root } => {
                self.of(from, |index| Event::Uploaded(index, root), &mut turn);
            }
            Input::UploadRefused { from, fault } => {
                self.of(from, |index| Event::UploadRefused(index, fault), &mut turn);
            }
            Input::SumStored(sum) => self.step(Event::SumStored(sum), &mut turn),
            Input::Unmasked(outcome) => self.step(Event::Unmasked(outcome), &mut turn),
            Input::Applied(state) => self.step(Event::Applied(state), &mut turn),
            Input::Lost(client) => {
                if let Some(index) = self.core.plan.index_of(client) {
                    self.core.lose(index, now + self.core.timing.grace);
                    self.step(Event::Tick, &mut turn);
                }
            }
            Input::Returned(client) => {
                if let Some(index) = self.core.plan.index_of(client) {
                    self.core.find(index);
                    self.step(Event::Returned(index), &mut turn);
                }
            }
            Input::Deadline => {
                if self.core.deadline.is_some_and(|deadline| now >= deadline) {
                    self.step(Event::Tick, &mut turn);
                }
            }
            Input::Abort(reason) => self.stage = self.core.abort(reason, &mut turn),
        }
    }

    fn of(
        &mut self,
        client: ClientId,
        event: impl FnOnce(RosterIndex) -> Event,
        turn: &mut Turn<'_>,
    ) {
        if let Some(index) = self.core.plan.index_of(client) {
            self.step(event(index), turn);
        }
    }

    /// A late message is one that an honest client may well have sent: it is counted and dropped.
    /// A message of a stage that has not begun is one that no honest client can have written.
    fn message(&mut self, from: RosterIndex, message: FromClient, turn: &mut Turn<'_>) {
        if self.core.is_out(from) {
            self.core.late_messages += 1;
            return;
        }
        let belongs = match &message {
            FromClient::Advert(_) | FromClient::Nonce(_) => StageName::AdvertiseKeys,
            FromClient::Shares(_) | FromClient::Opened(_) => StageName::ShareKeys,
            FromClient::InputCommit(_) => StageName::MaskedInput,
            FromClient::SurvivorSignature(_) => StageName::ConsistencyCheck,
            FromClient::Reveal(_) => StageName::Unmasking,
            FromClient::Declined(refusal) => {
                self.core.decline(from, refusal.clone(), turn);
                return self.step(Event::Left(from), turn);
            }
            FromClient::Accusation(accusation) => return self.accused(from, accusation, turn),
        };
        let Some(stage) = self.stage.name() else { return };
        if belongs > stage {
            self.core.expel(from, Fault::OutOfStage, turn);
            self.step(Event::Left(from), turn);
        } else if belongs == stage && self.stage.is_open() {
            self.step(Event::Message(from, message), turn);
        } else {
            self.core.late_messages += 1;
        }
    }

    /// A client accuses another, and takes no part any more. As long as vectors are collected the
    /// proof is looked at; later the accuser came too late for the boxes, and has merely dropped
    /// out.
    fn accused(&mut self, from: RosterIndex, accusation: &Accusation, turn: &mut Turn<'_>) {
        let dealer = accusation.delivery.from;
        let preparation = match &self.stage {
            Stage::Opening(stage) => Some(&stage.preparation),
            Stage::Prepared(stage) => Some(&stage.preparation),
            Stage::MaskedInput(stage) => Some(&stage.work.preparation),
            Stage::AdvertiseKeys(_) | Stage::Drawing(_) | Stage::ShareKeys(_) => {
                self.core.expel(from, Fault::OutOfStage, turn);
                return self.step(Event::Left(from), turn);
            }
            _ => None,
        };
        let proved = preparation.map(|it| blame::is_proved(&self.core, it, from, accusation));
        match proved {
            Some(false) => self.core.expel(from, Fault::FalseAccusation, turn),
            Some(true) => {
                self.core.expel(dealer, Fault::BadBox, turn);
                self.core.decline(from, Refusal::BadBox(dealer), turn);
                self.step(Event::Left(dealer), turn);
            }
            None => self.core.decline(from, Refusal::BadBox(dealer), turn),
        }
        self.step(Event::Left(from), turn);
    }

    pub(super) fn step(&mut self, event: Event, turn: &mut Turn<'_>) {
        let stage = mem::replace(&mut self.stage, Stage::Finished);
        self.stage = stage.handle(&mut self.core, event, turn);
    }
}
