//! Enrolment: a one-time token is exchanged for a certificate, over a connection that trusts only
//! the authority that the token names. Every key is made here and never leaves.

use std::sync::Arc;
use std::time::Duration;

use roundelay_protocol::close::CloseCode;
use roundelay_protocol::enrol::{Token, authority_fingerprint, client_id};
use roundelay_protocol::ids::{ClientId, TenantId};
use roundelay_protocol::limits::FRAME_BYTES_PREAUTH_MAX;
use roundelay_protocol::session::{EnrolRequest, EnrolResponse, Enrolled, Refused};

use crate::checkpoint::{CheckpointError, StateDir};
use crate::gate::{Gate, GateError, Line};
use crate::identity::certificate::{CertificateError, PendingKey};
use crate::identity::enrolment::{Enrolment, save_authority};
use crate::identity::{identity_key_or_new, tenant_key_or_new};
use crate::session::connection::{Connection, Dialer, Lost};
use crate::session::frames::Frames;
use crate::session::{QuicDialer, SessionError, tls};

/// The coordinator has this long to answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// Why enrolment failed.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The coordinator could not be reached or trusted.
    #[error("{0}")]
    Session(#[from] SessionError),
    /// The coordinator refused the token.
    #[error("{}", .0.message)]
    Refused(Refused),
    /// Another coordinator answers than the one that issued the token.
    #[error(
        "the token belongs to another coordinator: the one that answers at {0} has another authority \
         and is not trusted; ask its operator for a new token"
    )]
    ForeignToken(String),
    /// The directory belongs to another coordinator.
    #[error(
        "this directory is enrolled with another coordinator ({0}); choose another one with --dir"
    )]
    OtherCoordinator(String),
    /// The token was for another tenant than the directory.
    #[error(
        "the token is for tenant {token}, but this directory is enrolled for {directory}; nothing \
         was changed here: choose another directory with --dir and ask for a new token"
    )]
    OtherTenant {
        /// The tenant of the token.
        token: TenantId,
        /// The tenant of the directory.
        directory: TenantId,
    },
    /// The answer is not what the token promised.
    #[error(
        "the coordinator's authority is not the one that the token names; it is not trusted and \
         nothing was changed here"
    )]
    OtherAuthority,
    /// The certificate is not this client's.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The state directory can't be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

/// Who this client is from now on.
#[derive(Debug, Clone)]
pub struct Enrolee {
    /// The settled facts.
    pub enrolment: Enrolment,
    /// This client.
    pub client: ClientId,
}

/// Enrols with a token. Repeated after a failure, it goes on with the same keys; in a directory
/// that is enrolled already it only fetches a new certificate.
///
/// # Errors
/// Nothing answers, the token is refused, or the answer is not to be trusted. What was there
/// before is kept.
pub async fn enrol(dir: &StateDir, token: &Token) -> Result<Enrolee, EnrolError> {
    let tls = tls::enrolling(token.authority)
        .map_err(|error| SessionError::Lost(Lost::Broken(error.to_string())))?;
    let dialer = QuicDialer::new(tls).map_err(SessionError::Lost)?;
    enrol_over(&dialer, dir, token).await
}

pub(crate) async fn enrol_over(
    dialer: &dyn Dialer,
    dir: &StateDir,
    token: &Token,
) -> Result<Enrolee, EnrolError> {
    let before = Enrolment::load(dir)?;
    if let Some(before) = before.as_ref().filter(|before| before.authority != token.authority) {
        return Err(EnrolError::OtherCoordinator(before.coordinator.clone()));
    }
    let (identity, tenant_key) = (identity_key_or_new(dir)?, tenant_key_or_new(dir)?);
    let client = client_id(&identity.public());
    let pending = PendingKey::kept(dir)?;
    let tenant = before.as_ref().map(|before| before.tenant.clone());
    let request = pending.request()?;
    let request = EnrolRequest::new(&token.secret, tenant, request, &identity, &tenant_key);
    let gate = Gate::open(&dir.file("ledger"))?;
    let enrolled = ask(dialer, &token.address, &gate, &request).await?;
    let Enrolled { certificate, authority, tenant, notice_key } = enrolled;
    if authority_fingerprint(&authority) != token.authority {
        return Err(EnrolError::OtherAuthority);
    }
    if let Some(before) = before.filter(|before| before.tenant != tenant) {
        return Err(EnrolError::OtherTenant { token: tenant, directory: before.tenant });
    }
    pending.certified(dir, &certificate, &tenant, client)?;
    save_authority(dir, &authority)?;
    let coordinator = token.address.clone();
    let authority = token.authority;
    let enrolment = Enrolment { coordinator, moved_to: None, tenant, authority, notice_key };
    // Last: a directory with this file is an enrolled one.
    enrolment.save(dir)?;
    gate.sync().await?;
    Ok(Enrolee { enrolment, client })
}

async fn ask(
    dialer: &dyn Dialer,
    address: &str,
    gate: &Gate,
    request: &EnrolRequest,
) -> Result<Enrolled, EnrolError> {
    let connection = dialer.dial(address).await.map_err(|lost| match lost {
        // The authority that the token names is all that is trusted so far.
        Lost::ForeignAuthority(address) => EnrolError::ForeignToken(address),
        lost => SessionError::Lost(lost).into(),
    })?;
    let answer = tokio::time::timeout(ANSWER_DEADLINE, exchange(&connection, gate, request)).await;
    connection.close(CloseCode::Done);
    match answer.map_err(|_| SessionError::TooSlow)?? {
        EnrolResponse::Enrolled(enrolled) => Ok(*enrolled),
        EnrolResponse::Refused(refused) => Err(EnrolError::Refused(refused)),
    }
}

async fn exchange(
    connection: &Arc<dyn Connection>,
    gate: &Gate,
    request: &EnrolRequest,
) -> Result<EnrolResponse, SessionError> {
    let (sending, receiving) = connection.control().await?;
    let line = Line::new(Arc::clone(connection), sending);
    gate.send_on(&line, request).await.map_err(|error| match error {
        GateError::Lost(lost) => SessionError::Lost(lost),
        other => SessionError::Gate(other),
    })?;
    let answer = Frames::new(receiving, FRAME_BYTES_PREAUTH_MAX).next().await?;
    answer.ok_or(SessionError::Lost(Lost::StreamEnded))
}

#[cfg(test)]
pub(crate) mod tests;
