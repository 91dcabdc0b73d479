//! What a federation has reached, and what comes next: first the statistics where the schema asks
//! for them, then a train round for each version, then one evaluation of the last model.
//!
//! ```text
//! Statistics (once, if the schema standardises) ─▶ Train 0 ─▶ Train 1 ─▶ … ─▶ Evaluate R
//! ```
//! Where privacy is promised there are train rounds alone, as long as the budget pays them.

use std::collections::{BTreeMap, BTreeSet};

use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::Signature;
use roundelay_protocol::error::AbortReason;
use roundelay_protocol::ids::{ClientId, ModelVersion, RoundNumber};
use roundelay_protocol::lineage::Standing;
use roundelay_protocol::manifest::Manifest;
use roundelay_protocol::message::Published;
use roundelay_protocol::metrics::Metrics;
use roundelay_protocol::plan::{PlanKind, RosterPlan};
use roundelay_protocol::privacy::{Budget, Ledger, Privacy, Release};
use serde::{Deserialize, Serialize};

use super::audit::PrivacyStatus;
use super::rounds::count;

/// The part of a task that decides which rounds there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Course {
    /// Whether columns are standardised by a statistics round first.
    pub standardise: bool,
    /// Train rounds.
    pub rounds: u32,
    /// What a statistics plan names as its model: the version of the data.
    pub data_version: Digest,
    /// Whether the last model is evaluated.
    pub evaluate: bool,
    /// What is promised about each data set: what a round costs, and the budget that pays it.
    pub promise: Option<(Release, Budget)>,
}

impl Course {
    /// The course of a manifest's task.
    #[must_use]
    pub fn of(manifest: &Manifest) -> Self {
        let task = &manifest.task;
        let release = task.release(count(manifest.client_count()).into());
        let budget = task.privacy.as_ref().map(Privacy::budget);
        Self {
            standardise: task.takes_statistics(),
            rounds: task.rounds,
            data_version: manifest.data_version(),
            evaluate: task.evaluates(),
            promise: release.zip(budget),
        }
    }

    /// Whether the budget pays another round after what was spent.
    fn pays(&self, spent: &Ledger) -> bool {
        self.promise.is_none_or(|(release, budget)| spent.check(release, budget).is_ok())
    }
}

/// What one round is to compute. The set rule counts by kind and model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Goal {
    /// What is computed.
    pub kind: PlanKind,
    /// From which version.
    pub version: ModelVersion,
    /// Its state hash; for statistics the data version.
    pub model: Digest,
}

/// What the engine knows between rounds. It is durable together with the records of the round that
/// brought it about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The manifest in force: a newer one takes force when the engine says so.
    pub manifest: Digest,
    /// The newest model version.
    pub version: ModelVersion,
    /// Hash of its model and optimiser state.
    pub state: Digest,
    /// Root of the last published transcript.
    pub transcript: Digest,
    /// Its round, 0 before the first.
    pub published: RoundNumber,
    /// Signatures of members that have derived this state themselves, as many as a client asks for
    /// and one.
    pub attested: BTreeMap<ClientId, Signature>,
    /// The highest round number that was planned here or that a client has reported.
    pub highest_round: RoundNumber,
    /// Whether the statistics are part of the state.
    pub standardised: bool,
    /// Whether the last model was evaluated.
    pub evaluated: bool,
    /// What was released over the members' data, failed rounds included.
    pub spent: Ledger,
    /// The last evaluation and the version that it is of.
    pub metrics: Option<(ModelVersion, Metrics)>,
    /// What was tried for the goal at hand.
    pub tries: Tries,
    /// The newest result with the plan of its round, until more members than may collude have signed
    /// the state after it: so long no client can catch up but by deriving it.
    pub unsigned: Option<Box<(RosterPlan, Published)>>,
}

/// What was tried for one goal. Forgotten once it is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tries {
    /// Rounds that ended without a result since the last one that had one, or since the start.
    pub failed: u32,
    /// Why the last one did.
    pub reason: Option<AbortReason>,
    /// The cohort that was shown a training plan for this goal: from the first byte of an upload
    /// its clients accept no other cohort for the same kind and model.
    pub pinned: Option<BTreeSet<ClientId>>,
    /// Cohorts that were shown a training plan for this goal under earlier manifests.
    pub earlier: Vec<Earlier>,
    /// Clients that were shown a survivor set for this goal: they sign no other one, ever.
    pub spent: BTreeSet<ClientId>,
    /// The last of these sets, if it may be shown again.
    pub shown: Option<Shown>,
    /// Whether more may have been tried than is known here: this coordinator was restored from an
    /// older backup.
    pub forgotten: bool,
}

/// A survivor set that was shown and whose round came to nothing. With the same cohort planned, its
/// clients sign it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// The planned cohort.
    pub cohort: BTreeSet<ClientId>,
    /// Those who survived.
    pub set: BTreeSet<ClientId>,
}

/// A cohort of an earlier manifest. Its clients accept another one for the same kind and model
/// only where enough of them are in the set to show that no set of theirs is opened any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earlier {
    /// Its clients.
    pub cohort: BTreeSet<ClientId>,
    /// So many of them are enough (`Floors::witnesses`).
    pub witnesses: u16,
}

impl Earlier {
    /// How many of these clients are of this cohort.
    pub fn among<'a>(&self, clients: impl IntoIterator<Item = &'a ClientId>) -> u16 {
        count(clients.into_iter().filter(|client| self.cohort.contains(client)).count())
    }

    /// Whether a set over these clients shows that no set of this cohort is opened.
    pub fn is_dead_with<'a>(&self, clients: impl IntoIterator<Item = &'a ClientId>) -> bool {
        self.among(clients) >= self.witnesses
    }
}

impl Tries {
    /// Whether a set over these clients may be opened beside what was tried under earlier
    /// manifests.
    #[must_use]
    pub fn bury(&self, clients: &BTreeSet<ClientId>) -> bool {
        self.earlier.iter().all(|earlier| earlier.is_dead_with(clients))
    }
}

impl Progress {
    /// The start: the initial model and nothing tried.
    #[must_use]
    pub fn new(manifest: Digest, state: Digest, transcript: Digest) -> Self {
        Self {
            manifest,
            version: ModelVersion(0),
            state,
            transcript,
            published: RoundNumber(0),
            attested: BTreeMap::new(),
            highest_round: RoundNumber(0),
            standardised: false,
            evaluated: false,
            spent: Ledger::default(),
            metrics: None,
            tries: Tries::default(),
            unsigned: None,
        }
    }

    /// What comes next; none when everything is done.
    #[must_use]
    pub fn goal(&self, course: &Course) -> Option<Goal> {
        let Self { version, state, .. } = *self;
        if course.standardise && !self.standardised {
            let model = course.data_version;
            Some(Goal { kind: PlanKind::Statistics, version, model })
        } else if version.0 < u64::from(course.rounds) {
            if !course.pays(&self.spent) {
                return None;
            }
            Some(Goal { kind: PlanKind::Train, version, model: state })
        } else if course.evaluate && !self.evaluated {
            Some(Goal { kind: PlanKind::Evaluate, version, model: state })
        } else {
            None
        }
    }

    /// Whether another round follows the one that reaches the goal at hand, which is charged already.
    #[must_use]
    pub fn more_after(&self, goal: &Goal, course: &Course) -> bool {
        match goal.kind {
            PlanKind::Evaluate => false,
            PlanKind::Train if !course.evaluate => {
                goal.version.next().0 < u64::from(course.rounds) && course.pays(&self.spent)
            }
            PlanKind::Statistics | PlanKind::Train => true,
        }
    }

    /// How the budget stands, where one is promised.
    #[must_use]
    pub fn privacy(&self, course: &Course) -> Option<PrivacyStatus> {
        let (release, budget) = course.promise?;
        let rounds_left = self.spent.left(release, budget, u64::from(course.rounds));
        Some(PrivacyStatus {
            epsilon_spent: self.spent.epsilon(budget.delta),
            epsilon: budget.epsilon,
            delta: budget.delta,
            rounds_charged: self.spent.releases(),
            rounds_left,
        })
    }

    /// The number of the next round.
    #[must_use]
    pub fn next_round(&self) -> RoundNumber {
        self.highest_round.next()
    }

    /// The newest result.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let Self { published: round, version: model_version, state, transcript, .. } = *self;
        Standing { round, model_version, state, transcript }
    }

    /// Goes on from another result: what was tried and signed was for the one before.
    pub fn stand(&mut self, at: &Standing) {
        self.published = at.round;
        self.version = at.model_version;
        self.state = at.state;
        self.transcript = at.transcript;
        self.highest_round = self.highest_round.max(at.round);
        self.attested = BTreeMap::new();
        self.tries = Tries::default();
        self.unsigned = None;
    }

    /// A goal is reached.
    pub fn reach(&mut self, goal: &Goal, reached: Reached) {
        let model_version = match goal.kind {
            PlanKind::Train => goal.version.next(),
            PlanKind::Statistics | PlanKind::Evaluate => goal.version,
        };
        let Reached { round, state, transcript, .. } = reached;
        self.stand(&Standing { round, model_version, state, transcript });
        if let Some(metrics) = reached.metrics {
            self.metrics = Some((goal.version, metrics));
        }
        match goal.kind {
            PlanKind::Statistics => self.standardised = true,
            PlanKind::Train => {}
            PlanKind::Evaluate => self.evaluated = true,
        }
    }
}

/// The published result of a round, as far as progress goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reached {
    /// The round.
    pub round: RoundNumber,
    /// Hash of the state after it.
    pub state: Digest,
    /// Root of its transcript.
    pub transcript: Digest,
    /// Evaluation of the model that it started from.
    pub metrics: Option<Metrics>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: Digest = Digest([7; 32]);
    const MANIFEST: Digest = Digest([6; 32]);

    fn course(standardise: bool, rounds: u32) -> Course {
        Course { standardise, rounds, data_version: DATA, evaluate: true, promise: None }
    }

    fn reached(round: u64) -> Reached {
        let state = Digest([100 + u8::try_from(round).unwrap(); 32]);
        Reached { round: RoundNumber(round), state, transcript: Digest([200; 32]), metrics: None }
    }

    fn kinds(course: &Course) -> Vec<(PlanKind, u64)> {
        let mut progress = Progress::new(MANIFEST, Digest([9; 32]), Digest([0; 32]));
        let mut kinds = Vec::new();
        while let Some(goal) = progress.goal(course) {
            kinds.push((goal.kind, goal.version.0));
            progress.reach(&goal, reached(kinds.len() as u64));
        }
        kinds
    }

    #[test]
    fn statistics_come_first_then_train_rounds_then_one_evaluation() {
        use PlanKind::{Evaluate, Statistics, Train};
        assert_eq!(kinds(&course(false, 2)), [(Train, 0), (Train, 1), (Evaluate, 2)]);
        assert_eq!(kinds(&course(true, 1)), [(Statistics, 0), (Train, 0), (Evaluate, 1)]);
        assert_eq!(kinds(&course(false, 0)), [(Evaluate, 0)]);
    }

    #[test]
    fn where_privacy_is_promised_train_rounds_run_while_the_budget_pays_them() {
        let release = Release::Gaussian { noise_multiplier: 3.0 };
        let budget = Budget { epsilon: 4.0, delta: 1e-6 };
        let promise = Some((release, budget));
        let course = |rounds| Course { evaluate: false, promise, ..course(false, rounds) };
        assert_eq!(kinds(&course(2)), [(PlanKind::Train, 0), (PlanKind::Train, 1)]);
        let (course, mut progress) =
            (course(1000), Progress::new(MANIFEST, Digest([9; 32]), Digest([0; 32])));
        let left = progress.privacy(&course).unwrap().rounds_left;
        for round in 0..left {
            let goal = progress.goal(&course).expect("it is paid");
            progress.spent.charge(release);
            assert_eq!(progress.more_after(&goal, &course), round + 1 < left);
        }
        assert_eq!(progress.goal(&course), None);
        let status = progress.privacy(&course).unwrap();
        assert_eq!((status.rounds_left, status.rounds_charged), (0, left));
        assert!(status.epsilon_spent <= 4.0 && status.epsilon_spent > 3.0);
    }

    #[test]
    fn statistics_name_the_data_version_and_the_others_the_state() {
        let mut progress = Progress::new(MANIFEST, Digest([9; 32]), Digest([0; 32]));
        let course = course(true, 1);
        assert_eq!(progress.goal(&course).unwrap().model, DATA);
        progress.reach(&progress.goal(&course).unwrap(), reached(1));
        assert_eq!(progress.goal(&course).unwrap().model, Digest([101; 32]));
    }

    #[test]
    fn reaching_a_goal_forgets_what_was_tried_for_it() {
        let mut progress = Progress::new(MANIFEST, Digest([9; 32]), Digest([0; 32]));
        progress.tries.failed = 3;
        progress.tries.spent.insert(ClientId(DATA));
        progress.reach(&progress.goal(&course(false, 2)).unwrap(), reached(4));
        assert_eq!(progress.tries, Tries::default());
        assert_eq!((progress.version, progress.state), (ModelVersion(1), Digest([104; 32])));
    }
}
