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
    let mut boxes = StoredBoxes::of(client);
    records.iter().for_each(|record| boxes.push(record));
    boxes.finish()
}

/// [`stored_boxes`] from records that are pushed one by one, in their order: no more is held of
/// them than the boxes of this client.
#[derive(Debug)]
pub struct StoredBoxes {
    client: ClientId,
    to: Option<RosterIndex>,
    deliveries: BTreeMap<RosterIndex, BoxDelivery>,
    /// Roots of those who sent this client nothing: they are no neighbours.
    others: BTreeMap<RosterIndex, Digest>,
    left: BTreeSet<RosterIndex>,
    /// ShareKeys has ended: whoever leaves later has sent its boxes.
    is_closed: bool,
}

impl StoredBoxes {
    /// Those of a client, from no record yet.
    #[must_use]
    pub fn of(client: ClientId) -> Self {
        let (deliveries, others) = (BTreeMap::new(), BTreeMap::new());
        Self { client, to: None, deliveries, others, left: BTreeSet::new(), is_closed: false }
    }

    /// Takes the next record.
    pub fn push(&mut self, record: &Record) {
        match record {
            _ if self.is_closed => {}
            Record::Planned(plan) => self.to = plan.index_of(self.client),
            Record::Shares(from, shares) => {
                match self.to.and_then(|to| delivery(*from, shares, to)) {
                    Some(delivery) => drop(self.deliveries.insert(*from, delivery)),
                    None if self.to == Some(*from) => {}
                    None => drop(self.others.insert(*from, shares.root)),
                }
            }
            Record::Left(index, _) => drop(self.left.insert(*index)),
            Record::SharesClosed => self.is_closed = true,
            _ => {}
        }
    }

    /// The boxes, if the records held them.
    #[must_use]
    pub fn finish(self) -> Option<BoxRoster> {
        let Self { to, deliveries, others, left, is_closed, .. } = self;
        to.filter(|_| is_closed)?;
        let prepared = deliveries.into_iter().filter(|(from, _)| !left.contains(from));
        let boxes = prepared.map(|(_, delivery)| delivery).collect();
        let others = others.into_iter().filter(|(from, _)| !left.contains(from)).collect();
        Some(BoxRoster { boxes, others })
    }
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
