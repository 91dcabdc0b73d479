//! What is kept of the leaves once the boxes are on their way: for each edge the little that it
//! takes to rebuild a dropout's masks and to tell who lies. The boxes themselves, the bulk of a round's preparation,
//! stay in its records, and [`stored_boxes`] makes a client's roster from there.

use std::collections::{BTreeMap, BTreeSet};

use roundelay_crypto::agreement::KemCiphertext;
use roundelay_crypto::tree;

use super::*;
use crate::message::{BoxDelivery, BoxRoster, ShareCommitments, ShareLeaf};
use crate::transcript::leaf_digest;

/// The edges of a round, by sender and recipient.
#[derive(Default)]
pub(super) struct Edges {
    digests: BTreeMap<(RosterIndex, RosterIndex), Digest>,
    /// Of the lower index to the higher one.
    ciphertexts: BTreeMap<(RosterIndex, RosterIndex), KemCiphertext>,
    commitments: BTreeMap<(RosterIndex, RosterIndex), ShareCommitments>,
}

impl Edges {
    pub(super) fn insert(&mut self, from: RosterIndex, leaf: &ShareLeaf, digest: Digest) {
        self.digests.insert((from, leaf.to), digest);
        self.commitments.insert((from, leaf.to), leaf.commitments);
        if let Some(ciphertext) = &leaf.mask_ciphertext {
            self.ciphertexts.insert((from, leaf.to), ciphertext.clone());
        }
    }

    /// The digest of a leaf.
    pub(super) fn digest(&self, from: RosterIndex, to: RosterIndex) -> Option<Digest> {
        self.digests.get(&(from, to)).copied()
    }

    /// What binds a dealer to the shares that it dealt to a holder.
    pub(super) fn commitments(
        &self,
        dealer: RosterIndex,
        holder: RosterIndex,
    ) -> Option<&ShareCommitments> {
        self.commitments.get(&(dealer, holder))
    }

    /// The mask encapsulation of an edge, which the lower index sent.
    pub(super) fn ciphertext(&self, from: RosterIndex, to: RosterIndex) -> Option<&KemCiphertext> {
        self.ciphertexts.get(&(from, to))
    }
}

/// The boxes of one client, from the records of a round whose ShareKeys has ended; none where the
/// records do not hold them. One digest for each edge of the round: work for another thread.
#[must_use]
pub fn stored_boxes(records: &[Record], client: ClientId) -> Option<BoxRoster> {
    let (mut plan, mut senders, mut left) = (None, BTreeMap::new(), BTreeSet::new());
    for record in records {
        match record {
            Record::Planned(planned) => plan = Some(planned),
            Record::Shares(index, shares) => drop(senders.insert(*index, shares)),
            Record::Left(index, _) => drop(left.insert(*index)),
            Record::SharesClosed => {
                let to = plan?.index_of(client)?;
                let prepared = senders.into_iter().filter(|(from, _)| !left.contains(from));
                let deliveries = prepared.filter_map(|(from, shares)| delivery(from, shares, to));
                return Some(BoxRoster { boxes: deliveries.collect() });
            }
            _ => {}
        }
    }
    None
}

/// What a sender addressed to a client; none to itself.
fn delivery(from: RosterIndex, shares: &ShareRoster, to: RosterIndex) -> Option<BoxDelivery> {
    let position = shares.leaves.iter().position(|leaf| leaf.to == to)?;
    let digests: Vec<Digest> = shares.leaves.iter().map(|leaf| leaf_digest(from, leaf)).collect();
    Some(BoxDelivery {
        from,
        leaf: shares.leaves.get(position)?.clone(),
        path: tree::path(&digests, position)?,
        root: shares.root,
        signature: shares.signature,
    })
}
