//! MaskedInput: the training plan is held against the manifest and against what this client has
//! derived itself; the contribution is masked and stored before its first byte leaves.

use std::collections::{BTreeMap, BTreeSet};

use roundelay_crypto::digest::Digest;
use roundelay_crypto::mask::{MaskKey, Sign};
use roundelay_crypto::secret::Seed;

use super::consistency::Consistency;
use super::history::{History, Intent};
use super::open::OpenEdge;
use super::{Action, Core, Event, MaskPlan, Roots, Seat, Turn};
use crate::error::{Refusal, Stage};
use crate::ids::RosterIndex;
use crate::message::InputCommit;
use crate::plan::{PlanKind, TrainingPlan};
use crate::privacy::{Budget, Release};
use crate::round::horizontal::keys::{Holding, MaskContext, sign};
use crate::signed::Statement;
use crate::transcript::{NO_TRANSCRIPT, TrainingContext};

/// Waits for the training plan.
pub(super) struct Prepared {
    pub(super) seat: Seat,
    /// b_u.
    pub(super) self_mask: Seed,
    /// Shares of every member of U2 that is a neighbour, in a complete graph this client's own too.
    pub(super) holdings: BTreeMap<RosterIndex, Holding>,
    /// Edges to every other member of U2 that is a neighbour.
    pub(super) edges: BTreeMap<RosterIndex, OpenEdge>,
    /// U2.
    pub(super) prepared: Vec<RosterIndex>,
    /// Root of ShareKeys.
    pub(super) shares: Digest,
}

/// Waits for the driver to lay out the contribution.
pub(super) struct Training {
    prepared: Prepared,
    plan: Box<TrainingPlan>,
}

/// Waits for the driver to mask and store the contribution.
pub(super) struct Masking {
    seat: Seat,
    self_mask: Seed,
    holdings: BTreeMap<RosterIndex, Holding>,
    context: TrainingContext,
    plan: Box<TrainingPlan>,
}

impl Prepared {
    pub(super) fn plan(
        self,
        core: &Core,
        plan: Box<TrainingPlan>,
        turn: &mut Turn<'_>,
    ) -> Result<Training, Refusal> {
        let terms = &core.setup.terms;
        let layout = terms.layout(plan.kind, &self.seat.plan.cohort);
        if layout.as_ref() != Some(&plan.layout)
            || plan.hyperparameters != *terms.hyperparameters()
            || !terms.is_due(plan.kind, plan.model_version)
        {
            return Err(Refusal::PlanOutsideManifest);
        }
        budget_of(core, &plan).map_or(Ok(()), |(release, budget)| {
            core.setup.account.check(release, budget).map_err(|_| Refusal::PrivacyBudget)
        })?;
        self.check_active(core, &plan)?;
        self.check_opened(core, &plan)?;
        turn.history.rises(Stage::MaskedInput, core.scope.round)?;
        turn.history.may_open(&self.seat.intent(&plan))?;
        // While the result before is still being applied, this is checked when masks are planned.
        if !turn.history.is_applying() {
            check_lineage(core, &plan, turn.history)?;
        }
        turn.actions.push(Action::Contribute(plan.clone()));
        Ok(Training { prepared: self, plan })
    }

    /// A is a canonical subset of U2 that holds this client, and large enough.
    fn check_active(&self, core: &Core, plan: &TrainingPlan) -> Result<(), Refusal> {
        let known = plan.active.iter().all(|index| self.prepared.binary_search(index).is_ok());
        let sorted = plan.active.is_sorted_by(|one, next| one < next);
        let holds_own = plan.active.binary_search(&self.seat.own).is_ok();
        if !known || !sorted || !holds_own || !self.seat.is_allowed_set(core, &plan.active) {
            return Err(Refusal::BadActiveRoster);
        }
        self.seat.require_neighbours(&plan.active)?;
        self.seat.require_members(plan.active.len())
    }

    /// So many clients have opened their boxes, the very ones of this client's leaves, that those
    /// who show the keys of theirs, as accusers do, are too few: at most n - q of them and c that
    /// collude hold fewer than t shares of a seed, since q = t and 2t > n + c. In a sparse graph it
    /// is the k neighbours who hold them: t of those have to have signed, for then k - t and c_k are
    /// fewer than t, as 2t > k + c_k.
    fn check_opened(&self, core: &Core, plan: &TrainingPlan) -> Result<(), Refusal> {
        let statement = Statement::Opened { shares: &self.shares };
        let counts = |signer| self.prepared.binary_search(&signer).is_ok();
        let floors = &self.seat.floors;
        let (valid, required) = match &self.seat.around {
            None => {
                let valid = self.seat.signatures(core, &statement, &plan.opened, counts);
                (valid, floors.quorum())
            }
            Some(around) => {
                let by_neighbours = |(signer, _): &&_| around.binary_search(signer).is_ok();
                let opened: Vec<_> = plan.opened.iter().filter(by_neighbours).copied().collect();
                let valid = self.seat.signatures(core, &statement, &opened, counts);
                (valid, floors.neighbours_min())
            }
        };
        let present = u16::try_from(valid).unwrap_or(u16::MAX);
        if present < required { Err(Refusal::TooFewOpened { present, required }) } else { Ok(()) }
    }
}

/// What a plan releases, and the budget that has to pay it.
fn budget_of(core: &Core, plan: &TrainingPlan) -> Option<(Release, Budget)> {
    let privacy = core.setup.terms.manifest().task.privacy?;
    let (_, private) = plan.layout.private()?;
    Some((private.release(), privacy.budget()))
}

/// The plan is for the model and transcript that this client has derived.
fn check_lineage(core: &Core, plan: &TrainingPlan, history: &History) -> Result<(), Refusal> {
    let standing = history.standing();
    let derived = match plan.kind {
        PlanKind::Statistics => plan.model == core.setup.terms.data_version(),
        PlanKind::Train | PlanKind::Evaluate => standing.is_some_and(|standing| {
            standing.state == plan.model && standing.model_version == plan.model_version
        }),
    };
    if !derived {
        return Err(Refusal::ModelNotDerived);
    }
    let transcript = standing.map_or(NO_TRANSCRIPT, |standing| standing.transcript);
    if plan.previous_transcript == transcript { Ok(()) } else { Err(Refusal::TranscriptMismatch) }
}

impl Training {
    pub(super) fn plan(&self) -> &TrainingPlan {
        &self.plan
    }

    /// The contribution waits to be masked: over the masks of A and nobody else.
    pub(super) fn contributed(self, core: &Core, turn: &mut Turn<'_>) -> Result<Masking, Refusal> {
        check_lineage(core, &self.plan, turn.history)?;
        let Prepared { seat, self_mask, mut holdings, edges, prepared, shares } = self.prepared;
        let active: BTreeSet<RosterIndex> = self.plan.active.iter().copied().collect();
        let context = TrainingContext::new(&seat.plan, shares, &prepared, &self.plan);
        let masks = MaskContext::new(&core.scope, &context);
        let own = MaskKey { seed: masks.self_mask(seat.own, &self_mask), sign: Sign::Plus };
        let peers = edges.iter().filter(|(peer, _)| active.contains(*peer)).map(|(peer, open)| {
            let seed = open.edge.seed(&open.secret, &masks);
            MaskKey { seed, sign: sign(seat.own, *peer) }
        });
        let keys = std::iter::once(own).chain(peers).collect();
        let layout = self.plan.layout.clone();
        turn.actions.push(Action::Mask(MaskPlan { keys, layout }));
        holdings.retain(|index, _| active.contains(index));
        Ok(Masking { seat, self_mask, holdings, context, plan: self.plan })
    }
}

impl Masking {
    pub(super) fn plan(&self) -> &TrainingPlan {
        &self.plan
    }

    /// The masked vector is durable: from its first byte on, the round counts as opened.
    pub(super) fn masked(
        self,
        core: &Core,
        Roots { masked: root, plain }: Roots,
        turn: &mut Turn<'_>,
    ) -> Result<Consistency, Refusal> {
        let Self { seat, self_mask, holdings, context, plan } = self;
        turn.history.rises(Stage::MaskedInput, core.scope.round)?;
        // The result before may have been applied while this was masked; and the history answers for
        // the state that this client stands at alone.
        check_lineage(core, &plan, turn.history)?;
        let (intent, paid) = (seat.intent(&plan), budget_of(core, &plan));
        turn.history.may_upload(&intent, plain, paid.is_some())?;
        if let Some((release, budget)) = paid {
            let charged = core.setup.account.charge(release, budget);
            charged.map_err(|_| Refusal::PrivacyBudget)?;
            turn.actions.push(Action::Charge);
        }
        let Intent { kind, model, cohort } = intent;
        turn.remember(core, Event::Uploading { kind, model, cohort, contribution: plain });
        let statement = Statement::Input { context: &context, root: &root };
        let signature = core.scope.sign(&core.setup.identity, &statement);
        let commit = InputCommit { root, signature };
        let consistency = Consistency { seat, self_mask, holdings, context, plan, commit };
        consistency.upload(turn);
        Ok(consistency)
    }
}
