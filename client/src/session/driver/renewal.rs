//! The certificate is renewed at two thirds of its life over the connection that is open, with a
//! new key, and without a restart: the next connection shows the new one.

use std::time::{Duration, SystemTime};

use crate::gate::Gate;
use crate::identity::certificate::{Certificate, CertificateError, PendingKey};
use crate::outbound::RenewCertificate;
use crate::session::site::Site;

/// No timer is set further ahead: the wall clock may be set meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(600);
/// A request that was not answered is repeated after this long.
const REPEAT: Duration = Duration::from_secs(60);

/// A renewal that is due or under way.
#[derive(Default)]
pub(super) struct Renewal {
    pending: Option<(PendingKey, tokio::time::Instant)>,
}

impl Renewal {
    /// How long until there is something to do.
    pub(super) fn due_in(&self, certificate: &Certificate) -> Duration {
        if let Some((_, asked)) = &self.pending {
            return REPEAT.saturating_sub(asked.elapsed());
        }
        let due = certificate.renew_at().duration_since(SystemTime::now());
        due.unwrap_or(Duration::ZERO).min(LOOK_AGAIN)
    }

    /// Asks for a new certificate, if that is due.
    pub(super) async fn ask(
        &mut self,
        gate: &Gate,
        certificate: &Certificate,
    ) -> Result<(), CertificateError> {
        if self.due_in(certificate) > Duration::ZERO {
            return Ok(());
        }
        let pending = PendingKey::new()?;
        let certificate_request = pending.request()?;
        // A connection that is lost shows itself to its reader; the request is repeated.
        let _ = gate.send(&RenewCertificate { certificate_request }).await;
        self.pending = Some((pending, tokio::time::Instant::now()));
        Ok(())
    }

    /// Takes the new certificate, if it is for the key that was asked for.
    pub(super) fn answered(
        &mut self,
        site: &mut Site,
        certificate: &[u8],
    ) -> Result<(), CertificateError> {
        // Of two requests the second one counts; the answer to the first is for another key.
        let Some((pending, _)) = self.pending.take() else { return Ok(()) };
        let (tenant, client) = (&site.enrolment.tenant, site.client);
        site.certificate = pending.certified(&site.dir, certificate, tenant, client)?;
        Ok(())
    }
}
