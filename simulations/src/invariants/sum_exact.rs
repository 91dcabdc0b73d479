//! Every sum that is opened, and every one that is published, is exactly the sum of what the shown
//! survivors put in (Bonawitz et al. 2017, correctness; horizontal.md, "One round").

use std::collections::BTreeMap;

use roundelay_crypto::digest::Digest;
use roundelay_protocol::ids::RoundNumber;
use roundelay_protocol::message::ToClient;
use roundelay_protocol::transcript::aggregate_digest;

use super::{Invariant, Scene, ensure};
use crate::population::plain_sum;
use crate::watch::Observed;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct SumExact {
    /// Hash of the plain sum of each round that was opened.
    plain: BTreeMap<RoundNumber, Digest>,
}

impl Invariant for SumExact {
    fn name(&self) -> &'static str {
        "sum_exact"
    }

    fn observe(&mut self, scene: &Scene<'_>, seen: &Observed<'_>) -> Result<(), String> {
        match seen {
            Observed::Unmasked { round, words } => {
                let sum = sum(scene, *round)?;
                self.plain.insert(*round, aggregate_digest(&sum));
                ensure(sum == *words, || {
                    format!("round {round}: the opened sum is not that of its survivors")
                })
            }
            Observed::Told { round, message: ToClient::Published(published), .. } => {
                let set = scene.shown.round(*round).and_then(|one| one.set.as_ref());
                let count = set.map(|set| set.inputs.len());
                let exact = self.plain.get(round) == Some(&published.aggregate);
                ensure(exact && count == Some(usize::from(published.survivors)), || {
                    format!("round {round}: what was published is not the sum of its survivors")
                })
            }
            _ => Ok(()),
        }
    }
}

fn sum(scene: &Scene<'_>, round: RoundNumber) -> Result<Vec<u8>, String> {
    let unseen = || format!("round {round} was opened without showing its plan and set");
    let shown = scene.shown.round(round).ok_or_else(unseen)?;
    let plan = shown.training.as_ref().ok_or_else(unseen)?;
    let survivors = shown.survivors().ok_or_else(unseen)?;
    let plain = survivors.iter().map(|client| {
        let number = scene.population.number(*client).ok_or_else(unseen)?;
        scene.population.plain(number, plan).map_err(|error| error.to_string())
    });
    Ok(plain_sum(&plan.layout, &plain.collect::<Result<Vec<_>, String>>()?))
}
