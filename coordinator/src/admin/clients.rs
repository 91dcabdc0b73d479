//! Verbs about tenants, tokens and clients.

use roundelay_crypto::secret::Seed;
use roundelay_protocol::enrol::{Token, is_address};
use roundelay_protocol::ids::TenantId;

use super::views::instant;
use super::{Admin, AdminError, Answer, ClientView, Kind, TenantView, TokenView};
use crate::authority::Peer;
use crate::clock::now_unix_ms;
use crate::store::{AuditEvent, AuditRecord, Tenant, TenantStore, Write};

/// Longest life of a token: a day.
const TOKEN_MINUTES_MAX: u32 = 1440;

impl Admin {
    pub(super) async fn add_tenant(&self, tenant: TenantId) -> Result<Answer, AdminError> {
        let created_unix_ms = now_unix_ms();
        let store = &self.installation.store;
        store.add_tenant(Tenant { tenant: tenant.clone(), created_unix_ms }).await?;
        log(&*store.tenant(&tenant), AuditEvent::TenantAdded).await?;
        let created = instant(created_unix_ms);
        let tenant = tenant.to_string();
        Ok(Answer::Tenants(vec![TenantView { tenant, created, clients: 0 }]))
    }

    pub(super) async fn tenants(&self) -> Result<Answer, AdminError> {
        let store = &self.installation.store;
        let mut views = Vec::new();
        for row in store.tenants().await? {
            let clients = store.tenant(&row.tenant).clients().await?;
            views.push(TenantView {
                tenant: row.tenant.to_string(),
                created: instant(row.created_unix_ms),
                clients: clients.iter().filter(|one| one.revoked_unix_ms.is_none()).count(),
            });
        }
        Ok(Answer::Tenants(views))
    }

    pub(super) async fn enrol_token(
        &self,
        tenant: TenantId,
        minutes: Option<u32>,
        address: Option<String>,
    ) -> Result<Answer, AdminError> {
        let rows = self.installation.tenant(&tenant).await?;
        let address = self.reachable(address)?;
        if !is_address(&address) {
            let message = "the address must read HOST:PORT with a port above 0 (--address)";
            return Err(AdminError::new(Kind::Invalid, "bad_address", message));
        }
        let minutes = minutes.unwrap_or(self.token_minutes);
        if !(1..=TOKEN_MINUTES_MAX).contains(&minutes) {
            let message = format!("a token lives 1 to {TOKEN_MINUTES_MAX} minutes, not {minutes}");
            return Err(AdminError::new(Kind::Invalid, "bad_minutes", message));
        }
        let authority = self.installation.clients.authority().fingerprint();
        let token = Token { address, authority, secret: Seed::new(rand::random()) };
        let text = token.to_text();
        let now_unix_ms = now_unix_ms();
        let expires_unix_ms = now_unix_ms + u64::from(minutes) * 60_000;
        let store = &self.installation.store;
        store.add_token(&token.secret, &tenant, expires_unix_ms, now_unix_ms).await?;
        log(&*rows, AuditEvent::TokenIssued { expires_unix_ms }).await?;
        Ok(Answer::Token(TokenView {
            token: text,
            tenant: tenant.to_string(),
            expires: instant(expires_unix_ms),
            authority: authority.to_string(),
        }))
    }

    /// The address that a token carries: as given, as configured, or where the coordinator
    /// listens, if clients can connect there.
    fn reachable(&self, given: Option<String>) -> Result<String, AdminError> {
        let known = given.or_else(|| self.address.clone()).or_else(|| {
            let listens = self.live.as_ref().map(|server| server.listens_on());
            listens.filter(|at| !at.ip().is_unspecified()).map(|at| at.to_string())
        });
        known.ok_or_else(|| {
            let message = "it is not known where clients reach the coordinator; set `address` in \
                           the configuration, or give --address HOST:PORT";
            AdminError::new(Kind::Invalid, "no_address", message)
        })
    }

    pub(super) async fn clients(&self, tenant: Option<TenantId>) -> Result<Answer, AdminError> {
        let now = now_unix_ms();
        let mut views = Vec::new();
        for rows in self.tenants_of(tenant).await? {
            for client in rows.clients().await? {
                let peer = Peer { tenant: rows.tenant().clone(), client: client.client };
                views.push(ClientView::new(&peer, &client, self.is_connected(&peer), now));
            }
        }
        Ok(Answer::Clients(views))
    }

    pub(super) async fn revoke(&self, peer: Peer) -> Result<Answer, AdminError> {
        let rows = self.installation.tenant(&peer.tenant).await?;
        match &self.live {
            Some(server) => server.revoke(&peer).await?,
            None => self.installation.clients.revoke(&peer).await?.client,
        };
        let client = rows.client(peer.client).await?.ok_or_else(|| {
            let message = format!("there is no client {} of {}", peer.client, peer.tenant);
            AdminError::new(Kind::NotFound, "unknown_client", message)
        })?;
        Ok(Answer::Revoked(ClientView::new(&peer, &client, false, now_unix_ms())))
    }

    fn is_connected(&self, peer: &Peer) -> bool {
        self.live.as_ref().is_some_and(|server| server.is_connected(peer))
    }
}

/// Appends to a tenant's log.
pub(super) async fn log(rows: &dyn TenantStore, event: AuditEvent) -> Result<(), AdminError> {
    let unix_ms = now_unix_ms();
    let record = AuditRecord { unix_ms, federation: None, round: None, event };
    let to = vec![rows.tenant().clone()];
    rows.transact("log", None, vec![Write::Audit { to, record: Box::new(record) }]).await?;
    Ok(())
}
