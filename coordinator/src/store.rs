//! The store: every row of the coordinator, behind one door per tenant.
//!
//! [`Store`] is the installation (tenants, enrolment tokens, the installation's own secrets,
//! leases) and hands out a [`TenantStore`] for one tenant, the only way to that tenant's rows.
//! Values are sealed under the tenant's key before they reach the database; what the database sees
//! in the clear is ids, counts and times. Changes are [`Write`]s in batches, each batch one
//! transaction that is durable when [`TenantStore::transact`] returns, and refused whole when its
//! [`Fence`] is stale. [`sqlite`] is the embedded store; any other must pass the conformance suite
//! that it passes (`suite.rs`). Bulk bytes (models, sums) are not rows: see [`crate::blobs`].
//!
//! | module | rows |
//! |---|---|
//! | [`tenants`] | tenants, enrolment tokens, the installation's secrets |
//! | [`clients`] | enrolled clients and their certificates |
//! | [`federations`] | federations, members, manifests, signatures, the engine's progress |
//! | [`rounds`] | rounds and their records |
//! | [`models`] | model versions |
//! | [`leases`] | who may drive a federation |
//! | [`audit`] | the hash-chained log of each tenant |

use std::sync::Arc;

use async_trait::async_trait;
use roundelay_crypto::digest::Digest;
use roundelay_crypto::secret::{Secret, Seed};
use roundelay_protocol::ids::{ClientId, FederationId, ModelVersion, RoundNumber, TenantId};
use roundelay_protocol::manifest::SignedManifest;
use roundelay_protocol::round::horizontal::coordinator::Record;

pub mod audit;
pub mod clients;
pub mod error;
pub mod federations;
pub mod leases;
pub mod models;
pub mod rounds;
mod rows;
mod sealing;
pub mod sqlite;
#[cfg(test)]
pub(crate) mod suite;
pub mod tenants;
pub mod write;

pub use audit::{AuditEvent, AuditHead, AuditItem, AuditRecord};
pub use clients::{Client, IssuedCertificate};
pub use error::StoreError;
pub(crate) use error::told_of_failure;
pub use federations::{Federation, FederationState, Membership};
pub use leases::{Fence, LeaseName, transact_leased};
pub use models::{Metrics, Model};
pub use rounds::{RecordsAt, Round, RoundState};
pub use sqlite::SqliteStore;
pub use tenants::{InstallationSecret, TOKEN_REMEMBERED_MS, Tenant};
pub use write::Write;

/// The installation. Times are the coordinator's clock in milliseconds since 1970, passed in.
#[async_trait]
pub trait Store: Send + Sync {
    /// The handle of one tenant: the only door to its rows. A tenant that does not exist is
    /// reported by the first call through the handle.
    fn tenant(&self, tenant: &TenantId) -> Arc<dyn TenantStore>;

    /// Adds a tenant and makes its key. [`StoreError::TenantExists`] if it is there already.
    async fn add_tenant(&self, tenant: Tenant) -> Result<(), StoreError>;

    /// All tenants, sorted by name.
    async fn tenants(&self) -> Result<Vec<Tenant>, StoreError>;

    /// Keeps the hash of a one-time enrolment token of a tenant, and forgets all tokens that expired
    /// longer than [`TOKEN_REMEMBERED_MS`] ago.
    async fn add_token(
        &self,
        secret: &Seed,
        tenant: &TenantId,
        expires_unix_ms: u64,
        now_unix_ms: u64,
    ) -> Result<(), StoreError>;

    /// Binds a token to the key of the certificate request that it came with, and says which
    /// tenant it is for. The same key may come again until the token expires (its answer was
    /// lost); any other key is refused with [`StoreError::TokenUsed`] while the token is remembered,
    /// and with [`StoreError::TokenUnknown`] after that. One that is not for the tenant that is
    /// `expected` stays unused.
    async fn redeem_token(
        &self,
        secret: &Seed,
        request_key: Digest,
        expected: Option<&TenantId>,
        now_unix_ms: u64,
    ) -> Result<TenantId, StoreError>;

    /// A secret of the installation itself, if it was kept before.
    async fn secret(
        &self,
        which: InstallationSecret,
    ) -> Result<Option<Secret<Vec<u8>>>, StoreError>;

    /// Keeps a secret of the installation, sealed by the installation key. The first one wins:
    /// returns what is kept from now on, which is the older secret if there was one.
    async fn keep_secret(
        &self,
        which: InstallationSecret,
        value: Secret<Vec<u8>>,
    ) -> Result<Secret<Vec<u8>>, StoreError>;

    /// Takes a lease until `now_unix_ms + length_ms`, with a token above all earlier ones. Refused
    /// with [`StoreError::LeaseHeld`] while another holder's lease runs; the same holder takes it
    /// over from itself, so a coordinator that was killed goes on at once.
    async fn acquire(
        &self,
        lease: &LeaseName,
        holder: &str,
        now_unix_ms: u64,
        length_ms: u64,
    ) -> Result<Fence, StoreError>;

    /// Prolongs a lease, also one that ran out if nobody has taken it since.
    /// [`StoreError::Fenced`] if somebody has.
    async fn renew(
        &self,
        fence: &Fence,
        now_unix_ms: u64,
        length_ms: u64,
    ) -> Result<(), StoreError>;

    /// Gives a lease back before it runs out. Its fence is stale from now on.
    async fn release(&self, fence: &Fence) -> Result<(), StoreError>;
}

/// The rows of one tenant. Every value is sealed by the tenant's key, bound to its place.
#[async_trait]
pub trait TenantStore: Send + Sync {
    /// Whose rows these are.
    fn tenant(&self) -> &TenantId;

    /// Applies all writes or none, in order, and returns when they survive a loss of power. `name`
    /// labels the transaction in logs and metrics. With a fence, nothing is written if its lease
    /// was taken by another; writes of a federation's rows are refused without one
    /// ([`Write::fenced`]).
    async fn transact(
        &self,
        name: &'static str,
        fence: Option<&Fence>,
        writes: Vec<Write>,
    ) -> Result<(), StoreError>;

    /// All clients, sorted by id.
    async fn clients(&self) -> Result<Vec<Client>, StoreError>;

    /// One client.
    async fn client(&self, client: ClientId) -> Result<Option<Client>, StoreError>;

    /// Federations that this tenant owns, sorted by id.
    async fn federations(&self) -> Result<Vec<Federation>, StoreError>;

    /// One federation that this tenant owns.
    async fn federation(&self, federation: FederationId) -> Result<Option<Federation>, StoreError>;

    /// Federations that this tenant is a member of, its own included, sorted by id.
    async fn memberships(&self) -> Result<Vec<Membership>, StoreError>;

    /// The members of a federation that this tenant owns, sorted by name.
    async fn members(&self, federation: FederationId) -> Result<Vec<TenantId>, StoreError>;

    /// Every manifest of a federation with the signatures collected so far, by version.
    async fn manifests(&self, federation: FederationId) -> Result<Vec<SignedManifest>, StoreError>;

    /// What the engine keeps about a federation between rounds.
    async fn progress(&self, federation: FederationId) -> Result<Option<Vec<u8>>, StoreError>;

    /// Rounds of a federation, by number.
    async fn rounds(&self, federation: FederationId) -> Result<Vec<Round>, StoreError>;

    /// The records of a round in the order in which they were appended; none once they are
    /// deleted.
    async fn round_records(
        &self,
        federation: FederationId,
        round: RoundNumber,
    ) -> Result<Vec<Record>, StoreError>;

    /// Some of those records, from the beginning or behind what was read last; none at the end. A
    /// round's records are tens of MB in a large cohort: whoever needs little of them reads so.
    async fn next_records(
        &self,
        federation: FederationId,
        round: RoundNumber,
        after: Option<RecordsAt>,
    ) -> Result<Option<(RecordsAt, Vec<Record>)>, StoreError>;

    /// Model versions of a federation, by version.
    async fn models(&self, federation: FederationId) -> Result<Vec<Model>, StoreError>;

    /// One model version.
    async fn model(
        &self,
        federation: FederationId,
        version: ModelVersion,
    ) -> Result<Option<Model>, StoreError>;

    /// At most `limit` audit entries from sequence number `from` on (the first has 0).
    async fn audit(&self, from: u64, limit: u32) -> Result<Vec<AuditItem>, StoreError>;

    /// Recomputes the chain of the audit log up to its stored head. The error names the first
    /// entry that does not follow ([`StoreError::AuditBroken`]).
    async fn verify_audit(&self) -> Result<AuditHead, StoreError>;
}
