//! The one handler of all verbs.

use std::sync::Arc;

use roundelay_protocol::ids::TenantId;

use super::{AdminError, Answer, Kind, Request};
use crate::authority::Peer;
use crate::installation::Installation;
use crate::server::Server;
use crate::store::TenantStore;

/// What a handler has beyond the store while the coordinator runs.
pub type Live = Arc<Server>;

/// Answers verbs.
pub struct Admin {
    pub(super) installation: Arc<Installation>,
    pub(super) live: Option<Live>,
    pub(super) address: Option<String>,
    pub(super) token_minutes: u32,
}

impl Admin {
    /// A handler for an open installation. Tokens carry `address`, if it is known, and live for
    /// `token_minutes` unless a verb says otherwise. `live`: the coordinator that runs on it.
    #[must_use]
    pub fn new(
        installation: Arc<Installation>,
        live: Option<Live>,
        address: Option<String>,
        token_minutes: u32,
    ) -> Self {
        Self { installation, live, address, token_minutes }
    }

    /// Answers one verb.
    pub async fn handle(&self, request: Request) -> Result<Answer, AdminError> {
        match request {
            Request::TenantAdd { tenant } => self.add_tenant(tenant).await,
            Request::TenantList => self.tenants().await,
            Request::EnrolToken { tenant, minutes, address } => {
                self.enrol_token(tenant, minutes, address).await
            }
            Request::ClientList { tenant } => self.clients(tenant).await,
            Request::ClientRevoke { tenant, client } => {
                self.revoke(Peer { tenant, client: client.0 }).await
            }
            Request::FederationCreate { name, owner, members, task, rules } => {
                self.create_federation(name, owner, members, *task, *rules).await
            }
            Request::FederationAmend { federation, members, terms } => {
                self.amend_federation(&federation, members, terms.map(|terms| *terms)).await
            }
            Request::FederationStart { federation, initial } => {
                self.start_federation(&federation, initial.as_deref()).await
            }
            Request::FederationStop { federation } => self.stop_federation(&federation).await,
            Request::FederationStatus { federation } => self.status(&federation).await,
            Request::FederationList => self.federations().await,
            Request::Rounds { federation, last } => self.rounds(&federation, last).await,
            Request::ModelList { federation, last } => self.models(&federation, last).await,
            Request::ModelExport { federation, version, to } => {
                self.export(&federation, version, &to).await
            }
            Request::AuditVerify { tenant } => self.verify_audit(tenant).await,
        }
    }

    /// The running coordinator, for verbs that need one.
    pub(super) fn running(&self) -> Result<&Live, AdminError> {
        self.live.as_ref().ok_or_else(|| {
            let data = self.installation.data().display();
            let message = format!(
                "no coordinator runs on {data}; start it with `roundelay-coordinator serve`"
            );
            AdminError::new(Kind::Unreachable, "coordinator_not_running", message)
        })
    }

    /// The handle of one tenant, which must exist, or of all.
    pub(super) async fn tenants_of(
        &self,
        tenant: Option<TenantId>,
    ) -> Result<Vec<Arc<dyn TenantStore>>, AdminError> {
        if let Some(tenant) = tenant {
            return Ok(vec![self.installation.tenant(&tenant).await?]);
        }
        let store = &self.installation.store;
        let tenants = store.tenants().await?;
        Ok(tenants.iter().map(|tenant| store.tenant(&tenant.tenant)).collect())
    }
}
