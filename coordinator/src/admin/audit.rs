//! Verbs about audit logs.

use roundelay_protocol::ids::TenantId;

use super::{Admin, AdminError, Answer, AuditView};

impl Admin {
    pub(super) async fn verify_audit(
        &self,
        tenant: Option<TenantId>,
    ) -> Result<Answer, AdminError> {
        let mut views = Vec::new();
        for rows in self.tenants_of(tenant).await? {
            let head = rows.verify_audit().await?;
            views.push(AuditView {
                tenant: rows.tenant().to_string(),
                entries: head.entries,
                head: head.link.to_string(),
            });
        }
        Ok(Answer::Audit(views))
    }
}
