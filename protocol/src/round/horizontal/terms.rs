//! What a manifest says about rounds, as both halves of a round need it: who may take part under
//! which identity, the floors, the fixed groups, and what may be computed.

use std::collections::{BTreeMap, BTreeSet};

use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::{IdentityPublic, Signature};

use crate::ids::{ClientId, FederationId, ModelVersion, RoundNumber};
use crate::layout::{Contributors, Layout};
use crate::lineage::Standing;
use crate::manifest::{Floors, FloorsError, Groups, Hyperparameters, Manifest, Rules};
use crate::plan::{PlanKind, RosterPlan};
use crate::signed::{Scope, Statement};

/// A manifest, ready to hold rounds against it. Immutable; shared by all rounds under it.
#[derive(Debug)]
pub struct Terms {
    manifest: Manifest,
    hash: Digest,
    identities: BTreeMap<ClientId, IdentityPublic>,
    groups: Groups,
    data_version: Digest,
    /// Of the whole federation: the numbers of a sparse graph take long to find.
    floors: Result<Floors, FloorsError>,
}

/// Why a cohort can't be planned. Whoever plans is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Not a set of clients of the manifest, or more than one round takes.
    #[error("the cohort is not a set of clients of the manifest, or larger than a round takes")]
    NotInManifest,
    /// Not a union of the manifest's fixed groups.
    #[error("the cohort is not a union of the manifest's fixed groups")]
    NotUnionOfGroups,
    /// The manifest's numbers do not fit the cohort.
    #[error(transparent)]
    Floors(#[from] FloorsError),
    /// The plan names another federation, manifest, threshold or quorum.
    #[error("the plan is not the one that the manifest gives for its cohort")]
    OtherPlan,
}

impl Terms {
    /// The terms of a manifest, which has been validated (and, on a client, pinned).
    #[must_use]
    pub fn new(manifest: Manifest) -> Self {
        let identities = manifest.clients().map(|client| (client.id, *client.identity)).collect();
        Self {
            hash: manifest.hash(),
            identities,
            groups: manifest.groups(),
            data_version: manifest.data_version(),
            floors: manifest.floors(manifest.client_count()),
            manifest,
        }
    }

    /// The manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Its hash.
    #[must_use]
    pub fn hash(&self) -> Digest {
        self.hash
    }

    /// The federation.
    #[must_use]
    pub fn federation(&self) -> FederationId {
        self.manifest.federation
    }

    /// Floors and rules of the manifest.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.manifest.rules
    }

    /// Local training, the same for every plan.
    #[must_use]
    pub fn hyperparameters(&self) -> &Hyperparameters {
        &self.manifest.task.hyperparameters
    }

    /// Whether the task has such a plan at a version: a round trains from each version below the
    /// last, and that one alone is evaluated by itself. So no model is evaluated over two sets.
    #[must_use]
    pub fn is_due(&self, kind: PlanKind, version: ModelVersion) -> bool {
        let last = u64::from(self.manifest.task.rounds);
        match kind {
            PlanKind::Statistics => true,
            PlanKind::Train => version.0 < last,
            PlanKind::Evaluate => version.0 == last,
        }
    }

    /// What a statistics plan names as its model.
    #[must_use]
    pub fn data_version(&self) -> Digest {
        self.data_version
    }

    /// The identity of a client of the manifest.
    #[must_use]
    pub fn identity(&self, client: ClientId) -> Option<&IdentityPublic> {
        self.identities.get(&client)
    }

    /// All clients of the manifest, sorted by id.
    pub fn clients(&self) -> impl Iterator<Item = ClientId> + '_ {
        self.identities.keys().copied()
    }

    /// The fixed groups.
    #[must_use]
    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    /// The upload of a kind of plan for a cohort; none where the manifest has no such plan.
    #[must_use]
    pub fn layout(&self, kind: PlanKind, cohort: &[ClientId]) -> Option<Layout> {
        let task = &self.manifest.task;
        if !task.kinds().any(|known| known == kind) {
            return None;
        }
        let floors = self.floors(cohort.len()).ok()?;
        let contributors = Contributors::of(cohort.len(), self.identities.len(), &floors);
        Layout::for_plan(kind, task, contributors).ok()
    }

    /// The floors for a cohort of so many clients.
    pub fn floors(&self, cohort: usize) -> Result<Floors, FloorsError> {
        if cohort == self.identities.len() { self.floors } else { self.manifest.floors(cohort) }
    }

    /// c + 1 for the whole federation: of so many members, one is honest.
    #[must_use]
    pub fn attesters_min(&self) -> usize {
        // A manifest of which no cohort can run a round has no states either.
        let floors = self.floors(self.identities.len());
        floors.map_or(usize::MAX, |floors| usize::from(floors.corrupt()) + 1)
    }

    /// Whether a client of this manifest has signed that it stands there.
    #[must_use]
    pub fn attests(&self, client: ClientId, standing: &Standing, signature: &Signature) -> bool {
        let scope = self.scope(standing.round);
        self.identity(client).is_some_and(|identity| {
            scope.verifies(identity, &Statement::Stands(standing), signature)
        })
    }

    /// What signatures of a round under this manifest cover.
    #[must_use]
    pub fn scope(&self, round: RoundNumber) -> Scope {
        Scope { federation: self.federation(), round, manifest: self.hash }
    }

    /// The plan of a round for a cohort, which has to be a union of fixed groups.
    pub fn roster_plan(
        &self,
        round: RoundNumber,
        cohort: &BTreeSet<ClientId>,
    ) -> Result<RosterPlan, PlanError> {
        let known = cohort.iter().all(|client| self.identities.contains_key(client));
        if cohort.len() > self.rules().coordinator.cohort_max() || !known {
            return Err(PlanError::NotInManifest);
        }
        if !self.groups.is_union(cohort.iter().copied()) {
            return Err(PlanError::NotUnionOfGroups);
        }
        let floors = self.floors(cohort.len())?;
        Ok(RosterPlan {
            federation: self.federation(),
            round,
            manifest: self.hash,
            cohort: cohort.iter().copied().collect(),
            degree: floors.degree(),
            threshold: floors.threshold(),
            quorum: floors.quorum(),
        })
    }

    /// The floors of a plan that is exactly the one that the manifest gives for its cohort.
    pub(super) fn check(&self, plan: &RosterPlan) -> Result<Floors, PlanError> {
        let cohort = plan.cohort.iter().copied().collect();
        if self.roster_plan(plan.round, &cohort)? != *plan {
            return Err(PlanError::OtherPlan);
        }
        Ok(self.floors(cohort.len())?)
    }
}
