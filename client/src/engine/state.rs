//! The model that a client holds, and how it catches up with peers that trained without it.
//!
//! A client derives each state itself from the published aggregates. One that was away takes the
//! newest state whole, by the hash that the coordinator names. That the coordinator told everyone
//! the same is not taken on trust: the hash is bound into every mask and every signature, so that
//! masks over different models do not cancel, and nothing of this client is opened before a quorum
//! of more than c members has signed the very same model.

use std::sync::Arc;

use roundelay_crypto::digest::Digest;
use roundelay_protocol::ids::{ModelVersion, RoundNumber};
use roundelay_protocol::lineage::State;
use roundelay_protocol::round::horizontal::client::Standing;

/// A state with its hash.
#[derive(Clone)]
pub(super) struct Model {
    pub(super) state: Arc<State>,
    pub(super) hash: Digest,
}

impl Model {
    pub(super) fn new(state: State) -> Self {
        let hash = state.hash();
        Self { state: Arc::new(state), hash }
    }
}

/// A state that is being fetched.
pub(super) struct Catching {
    pub(super) version: ModelVersion,
    pub(super) state: Digest,
    /// What this client stands at afterwards.
    pub(super) then: Then,
    /// The bytes are there and being checked.
    pub(super) under_way: bool,
}

/// What follows from a fetched state.
#[derive(Clone, Copy)]
pub(super) enum Then {
    /// Nothing: the client stood there already and had lost the bytes.
    Stand,
    /// The client takes it over.
    Adopt(Standing),
    /// It is the result of this round, which the client could not derive.
    Apply(RoundNumber),
}
