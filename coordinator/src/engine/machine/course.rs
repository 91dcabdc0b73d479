//! How the engine goes on after an event: the scheduler's steps carried out, rounds that are over
//! taken into account, and the next moment to wake.

use super::*;
use crate::engine::audit::PrivacyStatus;

/// Clients have so long to derive the last result under a manifest before the next one takes force,
/// if enough others have.
const DERIVE_MAX: Millis = Millis(30_000);

impl Engine {
    /// Carries out steps until there is something to wait for.
    pub(super) fn go_on(&mut self, now: Time, effects: &mut Vec<Effect>) {
        self.look_again = None;
        let amends = self.amend(now, effects);
        while self.state == State::Running && !amends {
            match self.step(now) {
                Step::Plan(cohort) => self.plan(cohort, now, effects),
                Step::Train => self.train(now, effects),
                Step::Burn => {
                    let burn = Input::Abort(AbortReason::PreparationBurned);
                    self.drive(Slot::Ahead, burn, now, effects);
                }
                Step::Wait(waiting, until) => {
                    (self.waiting, self.look_again) = (waiting, until);
                    break;
                }
                Step::Stall(stalled) => {
                    effects.push(Effect::Audit(Entry::Stalled(stalled.to_string())));
                    (self.state, self.stalled) = (State::Stalled, Some(stalled));
                    self.tell_all_end(effects);
                }
                Step::Finish => self.end(State::Finished, effects),
            }
        }
        if self.state == State::Stopping && self.training.is_none() {
            self.end(State::Stopped, effects);
        }
        self.set_alarm(effects);
    }

    fn step(&self, now: Time) -> Step {
        let goal = self.progress.goal(&self.course);
        let round = self.progress.next_round();
        let manifest = self.setup.terms.hash();
        scheduler::next(&View {
            now,
            pace: &self.setup.pace,
            terms: &self.setup.terms,
            goal,
            // What is prepared under a manifest that is about to change is burned.
            more_after: self.amended.is_none()
                && goal.is_some_and(|goal| self.progress.more_after(&goal, &self.course)),
            tries: &self.progress.tries,
            failed_at: self.failed_at,
            training: self.training.is_some(),
            ahead: self.ahead.as_ref().map(|live| Ahead {
                cohort: live.cohort(),
                prepared: live.is_prepared(),
                repeats: live.repeats(),
            }),
            ahead_of_us: self.lineage.ahead(),
            ready: self.members.ready(),
            changed: self.members.changed(),
            enough_since: self.enough_since,
            seed: Digest::of("roundelay/selection", &[&manifest.0, &round.0.to_le_bytes()]),
        })
    }

    fn plan(&mut self, cohort: BTreeSet<ClientId>, now: Time, effects: &mut Vec<Effect>) {
        let round = self.progress.next_round();
        self.progress.highest_round = round;
        self.keep_progress(effects);
        let Ok(plan) = self.setup.terms.roster_plan(round, &cohort) else {
            return self.failed(AbortReason::Internal, now, effects);
        };
        let mut sink = Sink { effects, ready: self.members.ready() };
        let (terms, timing) = (&self.setup.terms, self.setup.timing);
        match Live::plan(terms, timing, plan, now, &mut sink) {
            Ok((mut live, outcome)) => {
                live.repeat(self.progress.tries.shown.as_ref());
                self.ahead = Some(live);
                self.finish(Slot::Ahead, outcome, now, effects);
            }
            Err(_) => self.failed(AbortReason::Internal, now, effects),
        }
    }

    /// Gives the prepared round its training plan. From here its cohort is the only one that may
    /// try for the goal.
    fn train(&mut self, now: Time, effects: &mut Vec<Effect>) {
        let (goal, terms) = (self.progress.goal(&self.course), &self.setup.terms);
        let cohort: Vec<_> = self.ahead.iter().flat_map(Live::cohort).copied().collect();
        let layout = goal.and_then(|goal| terms.layout(goal.kind, &cohort));
        let (Some(goal), Some(layout)) = (goal, layout) else {
            return self.drive(Slot::Ahead, Input::Abort(AbortReason::Internal), now, effects);
        };
        if let Some((_, private)) = layout.private() {
            // Before the plan is shown, for whatever becomes of the round.
            self.progress.spent.charge(private.release());
            self.keep_progress(effects);
        }
        let plan = TrainingPlan {
            kind: goal.kind,
            model_version: goal.version,
            model: goal.model,
            hyperparameters: *terms.hyperparameters(),
            layout,
            active: self.ahead.as_ref().map(Live::required_roster).unwrap_or_default(),
            opened: Vec::new(),
            previous_transcript: self.progress.transcript,
        };
        self.training = self.ahead.take();
        if let Some(live) = &mut self.training {
            live.follow(self.progress.tries.earlier.clone());
        }
        self.drive(Slot::Training, Input::Train(Box::new(plan)), now, effects);
        if let Some(live) = self.training.as_ref().filter(|live| live.goal().is_some()) {
            self.progress.tries.pinned = Some(live.cohort().clone());
            self.keep_progress(effects);
        }
    }

    /// A round may have ended.
    pub(super) fn finish(
        &mut self,
        slot: Slot,
        outcome: Option<Outcome>,
        now: Time,
        effects: &mut Vec<Effect>,
    ) {
        let Some(outcome) = outcome else { return };
        let Some(live) = self.slot(slot).take() else { return };
        self.take_leave(&live);
        self.last = Some(live.summary(RoundState::of(&outcome), Some(now)));
        self.bar(&live);
        match outcome {
            Outcome::Published(published) => self.reached(&live, &published, effects),
            Outcome::Aborted(reason) => {
                if let Some(shown) = live.shown() {
                    self.spend(&shown.cohort);
                    // Were the masks to blame, they would be again.
                    let again = reason != AbortReason::MasksDidNotCancel;
                    self.progress.tries.shown = again.then_some(shown);
                } else if self.progress.tries.forgotten && !live.opened_before().is_empty() {
                    self.pin_another(&live);
                }
                self.failed(reason, now, effects);
            }
        }
    }

    /// Remembers who left a round, and why.
    fn take_leave(&mut self, live: &Live) {
        let round = live.number().0;
        for Left { client, departure } in live.left().iter().cloned() {
            match departure {
                Departure::Expelled(fault) => {
                    self.expelled.insert(client, Expelled { client, round, fault });
                }
                Departure::Declined(reason) => {
                    self.declined.insert(client, Declined { client, round, reason });
                }
            }
        }
    }

    fn reached(&mut self, live: &Live, published: &Published, effects: &mut Vec<Effect>) {
        let Some(goal) = live.goal() else { return };
        let (round, metrics) = (live.number(), self.metrics.take());
        let Published { aggregate, state, transcript, survivors, .. } = *published;
        let made = match goal.kind {
            PlanKind::Statistics => Some((goal.version, None)),
            PlanKind::Train => Some((goal.version.next(), Some(goal.version))),
            PlanKind::Evaluate => None,
        };
        if let Some((version, parent)) = made {
            let model =
                NewModel { version, parent, round, state, aggregate, transcript, survivors };
            effects.push(Effect::Persist(Fact::Model(model)));
        }
        if let Some(metrics) = metrics {
            effects.push(Effect::Persist(Fact::Evaluated(goal.version, metrics)));
        }
        self.progress.reach(&goal, Reached { round, state, transcript, metrics });
        self.progress.unsigned = Some(Box::new((live.plan_of().clone(), published.clone())));
        self.keep_progress(effects);
    }

    /// Whoever is proved to have ended a round for everybody would do so again: it is as good as
    /// absent, until the owner starts the federation again.
    fn bar(&mut self, live: &Live) {
        for Left { client, departure } in live.left() {
            if let Departure::Expelled(fault) = departure
                && fault.ends_rounds()
            {
                self.members.bar(*client, fault.clone());
            }
        }
    }

    /// Whoever was shown a survivor set signs no other one for the same kind and model, and
    /// whoever may have uploaded accepts no other cohort for it: neither is planned for another.
    pub(super) fn spend(&mut self, cohort: &BTreeSet<ClientId>) {
        self.progress.tries.spent.extend(cohort);
        self.progress.tries.pinned = None;
    }

    /// Before this coordinator was restored from a backup it had tried for the goal with another
    /// cohort than this one, whose clients decline now. That was most likely everybody; if not, or
    /// where everybody was tried already, those who declined are not planned again for this goal.
    fn pin_another(&mut self, live: &Live) {
        let everybody: BTreeSet<_> = self.setup.terms.clients().collect();
        if *live.cohort() == everybody || !self.progress.tries.spent.is_empty() {
            self.spend(&live.opened_before());
        } else {
            self.progress.tries.pinned = Some(everybody);
        }
    }

    fn failed(&mut self, reason: AbortReason, now: Time, effects: &mut Vec<Effect>) {
        if !matches!(reason, AbortReason::Stopped | AbortReason::PreparationBurned) {
            self.progress.tries.failed += 1;
            self.progress.tries.reason = Some(reason);
            self.failed_at = now;
        }
        self.keep_progress(effects);
    }

    pub(super) fn keep_progress(&self, effects: &mut Vec<Effect>) {
        effects.push(Effect::Persist(Fact::Progress(Box::new(self.progress.clone()))));
    }

    /// A newer manifest burns the preparation and takes force between two rounds: the clients join
    /// again under it. Returns whether it waits for those who are still deriving the last result.
    fn amend(&mut self, now: Time, effects: &mut Vec<Effect>) -> bool {
        if self.amended.is_some() {
            self.drive(Slot::Ahead, Input::Abort(AbortReason::PreparationBurned), now, effects);
        }
        if self.training.is_some() || self.amended.is_none() {
            return false;
        }
        let Some(setup) = self.amended.take() else { return false };
        if !self.may_amend(&setup, now) {
            self.amended = Some(setup);
            return true;
        }
        self.let_go();
        effects.extend(self.members.ready().iter().copied().map(Effect::Disconnect));
        self.members = Members::new(setup.members(), now);
        // What was signed under the manifest before counts no more: clients sign anew. And what was
        // published under it, nobody derives any more.
        (self.lineage, self.progress.attested) = (Lineage::default(), BTreeMap::new());
        (self.progress.manifest, self.progress.unsigned) = (setup.terms.hash(), None);
        self.course = setup.course();
        self.setup = *setup;
        self.keep_progress(effects);
        effects.push(Effect::Amended);
        false
    }

    /// A result is derived by the manifest of its round: who is cut off before can't sign for it
    /// under the next one. So everyone who is there has a moment to derive it, and where fewer would
    /// hold it than have to sign it for the others, those others could never catch up: no moment is
    /// too long then.
    fn may_amend(&mut self, newer: &Setup, now: Time) -> bool {
        let until = *self.amend_by.get_or_insert(now + DERIVE_MAX);
        let is_late = now >= until;
        let (holders, required) = self.holders(newer);
        let may = holders >= required && (is_late || self.is_derived());
        if may {
            self.amend_by = None;
        } else {
            self.waiting = Waiting::Amendment { holders, required };
            self.look_again = (!is_late).then_some(until);
        }
        may
    }

    /// The cohort that tried for the goal is bound no longer to try alone: under the newer manifest
    /// another one may, with enough of its clients.
    fn let_go(&mut self) {
        self.progress.tries.shown = None;
        let Some(cohort) = self.progress.tries.pinned.take() else { return };
        // It was planned under these terms.
        let Ok(floors) = self.setup.terms.floors(cohort.len()) else { return };
        let witnesses = floors.witnesses(cohort.len());
        let earlier = &mut self.progress.tries.earlier;
        earlier.retain(|known| known.cohort != cohort || known.witnesses > witnesses);
        earlier.push(Earlier { cohort, witnesses });
    }

    fn end(&mut self, state: State, effects: &mut Vec<Effect>) {
        self.state = state;
        let entry = match state {
            State::Finished => Entry::Finished(self.progress.version),
            _ => Entry::Stopped,
        };
        effects.push(Effect::Persist(Fact::State(state)));
        effects.push(Effect::Audit(entry));
        self.tell_all_end(effects);
    }

    fn tell_all_end(&self, effects: &mut Vec<Effect>) {
        self.members.ready().iter().for_each(|client| self.tell_end(*client, effects));
    }

    /// Tells a client where there are no more rounds.
    pub(super) fn tell_end(&self, client: ClientId, effects: &mut Vec<Effect>) {
        let end = match self.state {
            State::Finished => RoundsEnd::Finished,
            State::Stopped => RoundsEnd::Stopped,
            State::Stalled => RoundsEnd::Stalled,
            State::Running | State::Stopping => return,
        };
        effects.push(Effect::End { client, end });
    }

    fn set_alarm(&mut self, effects: &mut Vec<Effect>) {
        let deadlines = [&self.training, &self.ahead].into_iter().flatten().map(Live::deadline);
        let wake = deadlines.chain([self.look_again, self.lineage.deadline()]).flatten().min();
        if wake != self.wake {
            self.wake = wake;
            effects.push(Effect::WakeAt(wake));
        }
    }

    /// What people should know while clients are ahead of this coordinator.
    fn behind(&self) -> Option<String> {
        let ahead = self.lineage.ahead();
        let required = self.setup.terms.attesters_min();
        (ahead > 0).then(|| {
            format!(
                "{ahead} clients are ahead of this coordinator: was it restored from an older \
                 backup? It goes on once {required} of them agree and one has given it its model"
            )
        })
    }

    /// Why there are fewer rounds than the task has, where the budget ended first.
    fn is_spent(&self) -> Option<String> {
        let privacy = self.progress.privacy(&self.course)?;
        let (done, rounds) = (self.progress.version.0, self.course.rounds);
        let ended = self.state == State::Finished && done < u64::from(rounds);
        ended.then(|| {
            let PrivacyStatus { epsilon_spent, epsilon, rounds_charged, .. } = privacy;
            format!(
                "the privacy budget pays no further round: ε = {epsilon_spent:.3} of {epsilon} is \
                 spent by {rounds_charged} rounds, of which {done} of {rounds} have led to a model"
            )
        })
    }

    /// How the federation stands.
    #[must_use]
    pub fn status(&self) -> Status {
        let evaluation = self.progress.metrics;
        Status {
            state: self.state,
            waiting: (self.state == State::Running).then_some(self.waiting),
            reason: self
                .stalled
                .as_ref()
                .map(ToString::to_string)
                .or_else(|| self.behind())
                .or_else(|| self.is_spent()),
            members: count(self.members.count()),
            ready: count(self.members.ready().len()),
            model_version: self.progress.version.0,
            rounds: self.course.rounds,
            training: self.training.as_ref().map(Live::status),
            ahead: self.ahead.as_ref().map(Live::status),
            failed: self.progress.tries.failed,
            last: self.last.clone(),
            evaluation: evaluation.map(|(version, metrics)| Evaluation {
                model_version: version.0,
                rows: metrics.rows,
                loss: metrics.loss(),
                accuracy: metrics.accuracy(),
            }),
            privacy: self.progress.privacy(&self.course),
            expelled: self.expelled.values().cloned().collect(),
            declined: self.declined.values().cloned().collect(),
        }
    }
}
