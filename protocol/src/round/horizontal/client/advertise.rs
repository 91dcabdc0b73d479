//! AdvertiseKeys: the roster plan is held against the manifest, then fresh public keys go out.

use roundelay_crypto::identity::Signature;
use roundelay_crypto::secret::{Secret, Seed};

use super::draw::Draw;
use super::seeds::RoundSeeds;
use super::share::Share;
use super::{Core, Event, Seat, Turn};
use crate::error::{Refusal, Stage};
use crate::manifest::FloorsError;
use crate::message::{Advert, FromClient};
use crate::plan::RosterPlan;
use crate::round::horizontal::keys::{box_secret, mask_secret, self_mask_commitment};
use crate::round::horizontal::neighbours::draw_commitment;
use crate::signed::Statement;
use crate::transcript::plan_root;

/// Waits for the roster plan.
pub(super) struct Advertise {
    seeds: RoundSeeds,
}

/// What comes after the advert.
pub(super) enum Advertised {
    /// The adverts of all.
    Complete(Share),
    /// The beacon from which the graph is drawn.
    Sparse(Draw),
}

impl Advertise {
    pub(super) fn new(seeds: RoundSeeds) -> Self {
        Self { seeds }
    }

    pub(super) fn plan(
        mut self,
        core: &Core,
        plan: Box<RosterPlan>,
        turn: &mut Turn<'_>,
    ) -> Result<Advertised, Refusal> {
        let seat = check(core, plan, turn)?;
        let nonce: Option<Seed> =
            (!seat.plan.is_complete()).then(|| Secret::random(&mut self.seeds.noise));
        let (masks, boxes) = (mask_secret(&self.seeds.key), box_secret(&self.seeds.boxes));
        let plan = plan_root(&seat.plan);
        let unsigned = Advert {
            mask: masks.public().clone(),
            boxes: boxes.public().clone(),
            self_mask_commitment: self_mask_commitment(
                &core.scope,
                core.own,
                &self.seeds.self_mask,
            ),
            last_transcript: turn.history.transcript(),
            draw: nonce
                .as_ref()
                .map(|nonce| draw_commitment(&core.scope, core.own, nonce.expose())),
            signature: Signature([0; 64]),
        };
        let statement = Statement::Advert { plan: &plan, advert: &unsigned };
        let signature = core.scope.sign(&core.setup.identity, &statement);
        let advert = Advert { signature, ..unsigned };
        turn.remember(core, Event::Advertised);
        turn.reply(FromClient::Advert(Box::new(advert.clone())));
        let share = Share { seat, plan, seeds: self.seeds, masks, boxes, advert, drawn: None };
        Ok(match nonce {
            None => Advertised::Complete(share),
            Some(nonce) => Advertised::Sparse(Draw { share, nonce: *nonce.expose() }),
        })
    }
}

/// The plan lies within the manifest, and the round number rises.
fn check(core: &Core, plan: Box<RosterPlan>, turn: &Turn<'_>) -> Result<Seat, Refusal> {
    let terms = &core.setup.terms;
    if plan.federation != terms.federation() {
        return Err(Refusal::ForeignFederation);
    }
    if plan.manifest != terms.hash() {
        return Err(Refusal::ManifestNotPinned);
    }
    if plan.round != core.scope.round {
        return Err(Refusal::OutOfStage);
    }
    turn.history.rises(Stage::AdvertiseKeys, plan.round)?;
    let cohort = &plan.cohort;
    let sorted = cohort.is_sorted_by(|one, next| one < next);
    let known = cohort.iter().all(|client| terms.identity(*client).is_some());
    if !sorted || !known || cohort.len() > terms.rules().coordinator.cohort_max() {
        return Err(Refusal::CohortNotInManifest);
    }
    let own = plan.index_of(core.own).ok_or(Refusal::NotInCohort)?;
    if !terms.groups().is_union(cohort.iter().copied()) {
        return Err(Refusal::CohortNotUnionOfGroups);
    }
    let pinned = cohort.iter().filter(|id| **id != core.own && core.setup.pinned.contains(id));
    let present = u16::try_from(pinned.count()).unwrap_or(u16::MAX);
    let required = terms.rules().pinned_peers_min;
    if present < required {
        return Err(Refusal::TooFewPinnedPeers { present, required });
    }
    let floors = terms.floors(cohort.len()).map_err(|error| match error {
        FloorsError::TooFewClients { clients: present, required, .. } => {
            Refusal::TooFewMembers { present, required }
        }
        FloorsError::Parameters(_) | FloorsError::SmallComponents { .. } => {
            Refusal::ThresholdOffRule
        }
    })?;
    let numbers = (floors.degree(), floors.threshold(), floors.quorum());
    if (plan.degree, plan.threshold, plan.quorum) != numbers {
        return Err(Refusal::ThresholdOffRule);
    }
    Ok(Seat { plan, own, floors, around: None })
}
