//! Who is enrolled: certificates for new clients against one-time tokens, renewals, revocation,
//! and whether a certificate still stands for a client.
//!
//! A client's row is read, changed and written back under one lock, so that a renewal cannot undo
//! a revocation.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::IdentityPublic;
use roundelay_crypto::secret::Seed;
use roundelay_protocol::enrol::client_id;
use roundelay_protocol::ids::{ClientId, TenantId};
use roundelay_protocol::session::{EnrolRequest, Enrolled, Refused};
use tokio::sync::Mutex;

use crate::authority::{
    Authority, AuthorityError, BadRequest, CertificateRequest, Issued, Peer, PeerCertificate,
};
use crate::clock::{now_unix_ms, unix_ms};
use crate::store::told_of_failure;
use crate::store::{
    AuditEvent, AuditRecord, Client, IssuedCertificate, Store, StoreError, TenantStore, Write,
};

/// Certificates that are remembered of one client.
const CERTIFICATES_MAX: usize = 16;

/// Certificates to which one may be renewed: answers are lost, and then the client asks again.
const RENEWALS_MAX: usize = 8;

/// Why a client was not enrolled, renewed or let in.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The certificate request is no good.
    #[error(transparent)]
    Request(#[from] BadRequest),
    /// The request is not signed by the keys in it.
    #[error("the request does not prove that its sender holds the identity key and the tenant key")]
    Proof,
    /// Another key of this tenant is known.
    #[error(
        "tenant {tenant} enrolled with another tenant key (fingerprint {known}); enrol with that \
         key and a new token, or revoke the tenant's clients first if it is lost"
    )]
    TenantKeyDiffers {
        /// The tenant.
        tenant: TenantId,
        /// Fingerprint of the key that its other clients presented.
        known: Digest,
    },
    /// The client was revoked.
    #[error("client {0} was revoked; make a new identity key and enrol it with a new token")]
    Revoked(ClientId),
    /// No such client.
    #[error("there is no client {} of tenant {}", .0.client, .0.tenant)]
    Unknown(Peer),
    /// A renewal long before it is needed.
    #[error("the certificate has more than half of its life left; renew it when it has less")]
    NotDue,
    /// A renewal too many.
    #[error(
        "this certificate was renewed {RENEWALS_MAX} times already; use the newest of those, or \
         enrol again with a new token"
    )]
    RenewedTooOften,
    /// The token is no good, or the store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The authority failed.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

impl ClientError {
    /// The stable code for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Request(_) => "bad_certificate_request",
            Self::Proof => "bad_proof",
            Self::TenantKeyDiffers { .. } => "tenant_key_differs",
            Self::Revoked(_) => "revoked",
            Self::Unknown(_) => "unknown_client",
            Self::NotDue => "renewal_not_due",
            Self::RenewedTooOften => "renewed_too_often",
            Self::Store(StoreError::TokenUnknown) => "token_unknown",
            Self::Store(StoreError::TokenExpired) => "token_expired",
            Self::Store(StoreError::TokenUsed) => "token_used",
            Self::Store(StoreError::TokenOfOtherTenant(_)) => "token_of_other_tenant",
            Self::Store(StoreError::NoSuchTenant(_)) => "unknown_tenant",
            Self::Store(_) | Self::Authority(_) => "internal",
        }
    }

    /// As the client is told. What went wrong inside the coordinator is for its log alone.
    #[must_use]
    pub fn refused(&self) -> Refused {
        if self.code() == "internal" {
            let store = if let Self::Store(error) = self { Some(error) } else { None };
            return told_of_failure(self, store);
        }
        Refused::new(self.code(), &self.to_string())
    }
}

/// The enrolled clients of all tenants, and the authority that certifies them.
pub struct Clients {
    store: Arc<dyn Store>,
    authority: Authority,
    notice_key: IdentityPublic,
    certificate_life: Duration,
    changes: Mutex<()>,
}

impl Clients {
    /// Certificates of `authority` live for `certificate_life`.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        authority: Authority,
        notice_key: IdentityPublic,
        certificate_life: Duration,
    ) -> Self {
        Self { store, authority, notice_key, certificate_life, changes: Mutex::default() }
    }

    /// The authority.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Enrols the sender of a request: its token is redeemed, its client is kept, and it gets its
    /// first certificate. The same keys may come again while the token lives.
    pub async fn enrol(&self, request: &EnrolRequest) -> Result<Enrolled, ClientError> {
        request.verify().map_err(|_| ClientError::Proof)?;
        let certificate_request = CertificateRequest::parse(&request.certificate_request)?;
        let _changes = self.changes.lock().await;
        let token = Seed::new(request.token);
        let bound_to = bound_to(request, &certificate_request);
        let (expected, now) = (request.tenant.as_ref(), now_unix_ms());
        let tenant = self.store.redeem_token(&token, bound_to, expected, now).await?;
        let store = self.store.tenant(&tenant);
        let mut client = self.client_of(&*store, request).await?;
        let peer = Peer { tenant, client: client.client };
        let issued = self.issue(&certificate_request, &peer)?;
        remember(&mut client, &certificate_request, &issued);
        let event =
            AuditEvent::ClientEnrolled { client: peer.client, serial: issued.serial.clone() };
        put(&*store, "enrol", client, event).await?;
        tracing::info!(tenant = %peer.tenant, client = %peer.client, "client enrolled");
        Ok(Enrolled {
            certificate: issued.certificate.to_vec(),
            authority: self.authority.certificate().to_vec(),
            tenant: peer.tenant,
            notice_key: self.notice_key,
        })
    }

    /// A new certificate for a client that is connected and has shown this one. Only past half of
    /// its life (clients ask at two thirds), and only so often: each is an entry in the audit log.
    pub async fn renew(
        &self,
        shown: &PeerCertificate,
        request: &[u8],
    ) -> Result<Issued, ClientError> {
        let request = CertificateRequest::parse(request)?;
        if SystemTime::now() < shown.half_life() {
            return Err(ClientError::NotDue);
        }
        let peer = &shown.peer;
        let _changes = self.changes.lock().await;
        let mut client = self.find(peer).await?;
        let newer = client.certificates.iter().rev();
        if newer.take_while(|issued| issued.serial != shown.serial).count() >= RENEWALS_MAX {
            return Err(ClientError::RenewedTooOften);
        }
        let issued = self.issue(&request, peer)?;
        remember(&mut client, &request, &issued);
        let (client_id, serial) = (peer.client, issued.serial.clone());
        let event = AuditEvent::CertificateRenewed { client: client_id, serial };
        put(&*self.store.tenant(&peer.tenant), "renew", client, event).await?;
        Ok(issued)
    }

    /// The client that a certificate names, if it may still come in.
    pub async fn find(&self, peer: &Peer) -> Result<Client, ClientError> {
        let found = self.store.tenant(&peer.tenant).client(peer.client).await?;
        let client = found.ok_or_else(|| ClientError::Unknown(peer.clone()))?;
        match client.revoked_unix_ms {
            Some(_) => Err(ClientError::Revoked(peer.client)),
            None => Ok(client),
        }
    }

    /// Revokes a client for good; closing its connection is the caller's part. Idempotent.
    pub async fn revoke(&self, peer: &Peer) -> Result<Client, ClientError> {
        let _changes = self.changes.lock().await;
        let store = self.store.tenant(&peer.tenant);
        let found = store.client(peer.client).await?;
        let mut client = found.ok_or_else(|| ClientError::Unknown(peer.clone()))?;
        if client.revoked_unix_ms.is_none() {
            client.revoked_unix_ms = Some(now_unix_ms());
            let event = AuditEvent::ClientRevoked { client: peer.client };
            put(&*store, "revoke", client.clone(), event).await?;
            tracing::info!(tenant = %peer.tenant, client = %peer.client, "client revoked");
        }
        Ok(client)
    }

    /// The row of the client that enrols: a new one, or the one it has when it enrols again. A
    /// tenant has one tenant key; all its clients that are not revoked presented the same.
    async fn client_of(
        &self,
        store: &dyn TenantStore,
        request: &EnrolRequest,
    ) -> Result<Client, ClientError> {
        let clients = store.clients().await?;
        let other_key = clients
            .iter()
            .filter(|client| client.revoked_unix_ms.is_none())
            .find(|client| client.tenant_key != request.tenant_key);
        if let Some(other) = other_key {
            let known = other.tenant_key.fingerprint();
            return Err(ClientError::TenantKeyDiffers { tenant: store.tenant().clone(), known });
        }
        let id = client_id(&request.identity);
        match clients.into_iter().find(|client| client.client == id) {
            Some(client) if client.revoked_unix_ms.is_some() => Err(ClientError::Revoked(id)),
            Some(client) => Ok(client),
            None => Ok(Client {
                client: id,
                identity: request.identity,
                tenant_key: request.tenant_key,
                enrolled_unix_ms: now_unix_ms(),
                certificates: Vec::new(),
                revoked_unix_ms: None,
            }),
        }
    }

    fn issue(&self, request: &CertificateRequest, peer: &Peer) -> Result<Issued, AuthorityError> {
        let now = SystemTime::now();
        self.authority.certify_client(request, peer, now, self.certificate_life)
    }
}

/// What a token is bound to at its first use: all three keys of the request, so that a repeated
/// request enrols the same client again and nobody else.
fn bound_to(request: &EnrolRequest, certificate_request: &CertificateRequest) -> Digest {
    let keys = [request.identity.as_bytes(), request.tenant_key.as_bytes()];
    let key = certificate_request.key_hash();
    Digest::of("roundelay/enrol/bound-to", &[key.as_ref(), keys[0], keys[1]])
}

/// Adds a certificate to a client's row; the oldest are forgotten.
fn remember(client: &mut Client, request: &CertificateRequest, issued: &Issued) {
    client.certificates.push(IssuedCertificate {
        serial: issued.serial.clone(),
        key: request.key_hash(),
        not_after_unix_ms: unix_ms(issued.not_after),
    });
    let surplus = client.certificates.len().saturating_sub(CERTIFICATES_MAX);
    client.certificates.drain(..surplus);
}

async fn put(
    store: &dyn TenantStore,
    name: &'static str,
    client: Client,
    event: AuditEvent,
) -> Result<(), StoreError> {
    let unix_ms = now_unix_ms();
    let record = AuditRecord { unix_ms, federation: None, round: None, event };
    let to = vec![store.tenant().clone()];
    let audit = Write::Audit { to, record: Box::new(record) };
    store.transact(name, None, vec![Write::PutClient(Box::new(client)), audit]).await
}
