//! A masked vector is sent again byte for byte, or not at all: no second vector ever goes under the
//! same masks (horizontal.md, MaskedInput and "Failure"). And it is never the plain one.

use std::collections::BTreeMap;

use roundelay_crypto::digest::Digest;
use roundelay_protocol::ids::RoundNumber;

use super::{Invariant, Scene, ensure};
use crate::network::ClientNumber;
use crate::watch::Observed;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct SameBytes {
    sent: BTreeMap<(ClientNumber, RoundNumber), Digest>,
}

impl Invariant for SameBytes {
    fn name(&self) -> &'static str {
        "same_bytes"
    }

    fn observe(&mut self, scene: &Scene<'_>, seen: &Observed<'_>) -> Result<(), String> {
        let Observed::Uploads { client, round, words } = seen else { return Ok(()) };
        let hash = Digest::of("roundelay/simulation/upload", &[words]);
        let first = *self.sent.entry((*client, *round)).or_insert(hash);
        ensure(first == hash, || format!("c{client} uploads two vectors in round {round}"))?;
        let plan = scene.shown.round(*round).and_then(|one| one.training.as_ref());
        let plain = plan.and_then(|plan| scene.population.plain(*client, plan).ok());
        ensure(plain.is_some_and(|plain| plain != *words), || {
            format!("c{client} uploads what nobody asked for, or unmasked, in round {round}")
        })
    }
}
