//! The members of a federation and which of their clients are there. A client belongs to the
//! tenant of its certificate; what it claims in a message decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use roundelay_crypto::digest::Digest;
use roundelay_protocol::error::Fault;
use roundelay_protocol::ids::{ClientId, ModelVersion, RoundNumber, TenantId};
use roundelay_protocol::lineage::Standing;
use roundelay_protocol::session::{Join, Refused};
use roundelay_protocol::time::Time;

/// A client may report a round number so far above ours: a coordinator restored from a backup goes
/// on above what its clients have signed, but no client can use the numbers up.
const ROUNDS_AHEAD_MAX: u64 = 1 << 32;

/// Why a client may not take part now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The manifest does not name it under the tenant of its certificate.
    #[error("the federation's manifest does not name this client under its tenant")]
    NotAMember,
    /// It pinned another manifest.
    #[error(
        "this client pinned manifest {pinned}, the federation runs under {current}; look at that \
         one with `manifest show` and sign it"
    )]
    OtherManifest {
        /// What it pinned.
        pinned: Digest,
        /// What the federation runs under.
        current: Digest,
    },
    /// Its data was checked against another schema.
    #[error(
        "this client's data was checked against another schema than the manifest's; restart it"
    )]
    OtherSchema,
    /// It has derived another state in the round that published the newest one.
    #[error(
        "this client's state of model version {0} is not the one published here; remove its state so that it fetches the published one"
    )]
    OtherState(ModelVersion),
    /// It ended a round for everybody, and was proved to have lied.
    #[error(
        "this client is not planned any more, since it ended a round for everybody: {0}; find out \
         why, have the operator start the federation again, then start this client again"
    )]
    Barred(Fault),
    /// It reports a round number far above any that was planned.
    #[error("this client reports round {0}, which was never planned")]
    ImplausibleRound(RoundNumber),
}

impl Denied {
    /// As it is told to the client.
    #[must_use]
    pub fn refused(&self) -> Refused {
        Refused::new(self.code(), &self.to_string())
    }

    /// The stable code for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotAMember => "not_a_member",
            Self::OtherManifest { .. } => "other_manifest",
            Self::OtherSchema => "other_schema",
            Self::OtherState(_) => "other_state",
            Self::ImplausibleRound(_) => "implausible_round",
            Self::Barred(_) => "barred",
        }
    }
}

/// What a join is held against.
#[derive(Debug, Clone, Copy)]
pub struct Newest {
    /// Hash of the manifest in force.
    pub manifest: Digest,
    /// Hash of its schema.
    pub schema: Digest,
    /// The newest result.
    pub standing: Standing,
    /// The highest round number in use.
    pub round: RoundNumber,
}

/// The clients of a manifest, and which of them are there.
#[derive(Debug)]
pub struct Members {
    tenants: BTreeMap<ClientId, TenantId>,
    ready: BTreeSet<ClientId>,
    barred: BTreeMap<ClientId, Fault>,
    changed: Time,
}

impl Members {
    /// Nobody is there yet.
    #[must_use]
    pub fn new(tenants: BTreeMap<ClientId, TenantId>, now: Time) -> Self {
        Self { tenants, ready: BTreeSet::new(), barred: BTreeMap::new(), changed: now }
    }

    /// Whether a client may take part.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(
        &self,
        client: ClientId,
        tenant: &TenantId,
        join: &Join,
        newest: &Newest,
    ) -> Result<(), Denied> {
        let highest = join.highest_round;
        if self.tenants.get(&client) != Some(tenant) {
            Err(Denied::NotAMember)
        } else if let Some(fault) = self.barred.get(&client) {
            Err(Denied::Barred(fault.clone()))
        } else if join.manifest != newest.manifest {
            Err(Denied::OtherManifest { pinned: join.manifest, current: newest.manifest })
        } else if join.schema != newest.schema {
            Err(Denied::OtherSchema)
        } else if join.standing.round == newest.standing.round
            && join.standing.round > RoundNumber(0)
            && join.standing != newest.standing
        {
            Err(Denied::OtherState(newest.standing.model_version))
        } else if highest.0 > newest.round.0.saturating_add(ROUNDS_AHEAD_MAX) {
            Err(Denied::ImplausibleRound(highest))
        } else {
            Ok(())
        }
    }

    /// A client is there.
    pub fn arrive(&mut self, client: ClientId, now: Time) {
        if self.ready.insert(client) {
            self.changed = now;
        }
    }

    /// A client is gone.
    pub fn leave(&mut self, client: ClientId, now: Time) {
        if self.ready.remove(&client) {
            self.changed = now;
        }
    }

    /// A client may not take part for now.
    pub fn bar(&mut self, client: ClientId, fault: Fault) {
        self.barred.insert(client, fault);
    }

    /// Whoever was barred may try again.
    pub fn pardon(&mut self) {
        self.barred.clear();
    }

    /// Clients that are there.
    #[must_use]
    pub fn ready(&self) -> &BTreeSet<ClientId> {
        &self.ready
    }

    /// When one last came or went.
    #[must_use]
    pub fn changed(&self) -> Time {
        self.changed
    }

    /// Clients of the manifest.
    #[must_use]
    pub fn count(&self) -> usize {
        self.tenants.len()
    }

    /// Whether the manifest names the client under this tenant.
    #[must_use]
    pub fn names(&self, client: ClientId, tenant: &TenantId) -> bool {
        self.tenants.get(&client) == Some(tenant)
    }
}

#[cfg(test)]
mod tests;
