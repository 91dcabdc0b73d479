//! A client signs one survivor set in a round, and one over a (kind, model), in however many rounds,
//! for as long as it lives and through every restart (horizontal.md: "one signature per round, ever"; "Set rule").

use std::collections::BTreeMap;

use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::Signature;
use roundelay_protocol::ids::{ClientId, RoundNumber};
use roundelay_protocol::message::FromClient;
use roundelay_protocol::plan::PlanKind;

use super::shown::Round;
use super::{Invariant, Scene, ensure};
use crate::network::ClientNumber;
use crate::watch::Observed;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct OneSignature {
    in_round: BTreeMap<(ClientNumber, RoundNumber), Signature>,
    over_model: BTreeMap<(ClientNumber, PlanKind, Digest), (RoundNumber, Vec<ClientId>)>,
}

impl Invariant for OneSignature {
    fn name(&self) -> &'static str {
        "one_signature"
    }

    fn observe(&mut self, scene: &Scene<'_>, seen: &Observed<'_>) -> Result<(), String> {
        let Observed::Said { client, round, message: FromClient::SurvivorSignature(signed) } = seen
        else {
            return Ok(());
        };
        // Ed25519 is deterministic: another signature is one over another set.
        let first = *self.in_round.entry((*client, *round)).or_insert(signed.signature);
        ensure(first == signed.signature, || {
            format!("c{client} signs a second survivor set in round {round}")
        })?;
        let Some((kind, model)) = scene.shown.subject(*round) else {
            return Err(format!("c{client} signs a set in round {round}, which has no plan"));
        };
        let set = scene.shown.round(*round).and_then(Round::survivors).unwrap_or_default();
        let over_model = self.over_model.entry((*client, kind, model));
        let (first, signed) = over_model.or_insert_with(|| (*round, set.clone()));
        ensure(*signed == set, || {
            format!("c{client} signs another set in round {round} over the model of round {first}")
        })
    }
}
