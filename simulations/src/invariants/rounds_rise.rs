//! Round numbers rise and none is used twice: neither by the coordinator for another plan nor by a
//! client for other keys, through every restart of either (horizontal.md, "One round" and
//! "Durability").

use std::collections::BTreeMap;

use roundelay_crypto::digest::Digest;
use roundelay_protocol::codec::canonical;
use roundelay_protocol::ids::RoundNumber;
use roundelay_protocol::message::{FromClient, ToClient};
use roundelay_protocol::transcript::plan_root;

use super::{Invariant, Scene, ensure};
use crate::network::ClientNumber;
use crate::watch::Observed;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct RoundsRise {
    plans: BTreeMap<RoundNumber, Digest>,
    trainings: BTreeMap<RoundNumber, Digest>,
    adverts: BTreeMap<ClientNumber, BTreeMap<RoundNumber, Digest>>,
}

impl Invariant for RoundsRise {
    fn name(&self) -> &'static str {
        "rounds_rise"
    }

    fn observe(&mut self, _: &Scene<'_>, seen: &Observed<'_>) -> Result<(), String> {
        match seen {
            Observed::Told { round, message: ToClient::RosterPlan(plan), .. } => {
                rises(&mut self.plans, *round, plan_root(plan), "the coordinator plans")
            }
            Observed::Told { round, message: ToClient::TrainingPlan(plan), .. } => {
                let plan = Digest::of("roundelay/simulation/plan", &[&canonical(plan)]);
                let first = *self.trainings.entry(*round).or_insert(plan);
                ensure(first == plan, || format!("round {round} has a second training plan"))
            }
            Observed::Said { client, round, message: FromClient::Advert(advert) } => {
                // Deterministic, and over all that the advert says.
                let keys = Digest::of("roundelay/simulation/advert", &[&advert.signature.0]);
                let of_client = self.adverts.entry(*client).or_default();
                rises(of_client, *round, keys, "a client advertises")
            }
            _ => Ok(()),
        }
    }
}

/// A new number is above all others, a known one means the same thing.
fn rises(
    known: &mut BTreeMap<RoundNumber, Digest>,
    round: RoundNumber,
    content: Digest,
    who: &str,
) -> Result<(), String> {
    if let Some(first) = known.get(&round) {
        return ensure(*first == content, || format!("{who} round {round} a second time"));
    }
    let highest = known.keys().next_back().copied();
    known.insert(round, content);
    ensure(highest < Some(round), || format!("{who} round {round} after a higher one"))
}
