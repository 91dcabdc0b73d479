//! Accusations: a client shows that a box which was addressed to it does not hold what its sender
//! signed. The proof stands by itself: the leaf that the sender signed, and the keys that open it.

use roundelay_crypto::agreement::decapsulate;
use roundelay_crypto::secret::Secret;

use super::core::Core;
use super::share::Preparation;
use super::*;
use crate::message::Accusation;
use crate::round::horizontal::keys::{BoxPlace, box_secret};
use crate::transcript::leaf_digest;

/// Whether the accused dealer is guilty; else the accuser is.
pub(super) fn is_proved(
    core: &Core,
    preparation: &Preparation,
    accuser: RosterIndex,
    accusation: &Accusation,
) -> bool {
    let Accusation { delivery, boxes } = accusation;
    let dealer = delivery.from;
    let keys = box_secret(&Secret::new(*boxes));
    let (Some(place), Some(own), Some(sender)) = (
        preparation.place(core, dealer, accuser),
        preparation.advert(accuser),
        preparation.advert(dealer),
    ) else {
        return false;
    };
    let sent = preparation.edges.digest(dealer, accuser);
    let is_sent = sent == Some(leaf_digest(dealer, &delivery.leaf));
    let opens = decapsulate(&keys, &sender.boxes, &delivery.leaf.box_ciphertext)
        .is_ok_and(|secret| place.open(&secret, &delivery.leaf).is_some());
    is_sent && *keys.public() == own.boxes && !opens
}

impl Preparation {
    /// The place of the box that one client sealed for another.
    pub(super) fn place(
        &self,
        core: &Core,
        from: RosterIndex,
        to: RosterIndex,
    ) -> Option<BoxPlace> {
        let (sender, recipient) = (core.plan.client_at(from)?, core.plan.client_at(to)?);
        Some(BoxPlace::new(&core.scope, &self.adverts, (from, sender), (to, recipient)))
    }
}
