//! Verbs about federations and their rounds.

use std::path::Path;

use roundelay_protocol::ids::TenantId;
use roundelay_protocol::manifest::{Rules, Task};
use serde_json::Value;

use super::views::{instant, last_of, latest, state};
use super::{Admin, AdminError, Answer, FederationView, Kind, RoundView, StatusView};
use crate::engine::audit::State as EngineState;
use crate::federations::{Changes, Draft, Located};
use crate::server::driver::{DriverError, FederationStatus};

/// The driver knows ids alone; its user asked by a name.
fn by_name(name: &str, error: DriverError) -> AdminError {
    let message = match &error {
        DriverError::NotRunning(_) => format!(
            "federation `{name}` is not running; `roundelay-coordinator federation start {name}` \
             starts it"
        ),
        DriverError::Finished(_) => {
            format!("federation `{name}` has finished all rounds of its task")
        }
        _ => return error.into(),
    };
    AdminError { message, ..error.into() }
}

impl Admin {
    pub(super) async fn create_federation(
        &self,
        name: String,
        owner: TenantId,
        members: Vec<TenantId>,
        task: Task,
        rules: Rules,
    ) -> Result<Answer, AdminError> {
        for tenant in members.iter().chain([&owner]) {
            self.installation.tenant(tenant).await?;
        }
        let draft = Draft { name, owner, members, rules, task };
        let (located, _) = self.installation.federations.create(draft).await?;
        Ok(Answer::Federation(self.view(&located).await?))
    }

    pub(super) async fn amend_federation(
        &self,
        name: &str,
        members: Option<Vec<TenantId>>,
        terms: Option<(Task, Rules)>,
    ) -> Result<Answer, AdminError> {
        for tenant in members.iter().flatten() {
            self.installation.tenant(tenant).await?;
        }
        let located = self.installation.federations.find(name).await?;
        self.installation.federations.amend(&located, Changes { members, terms }).await?;
        Ok(Answer::Federation(self.view(&located).await?))
    }

    pub(super) async fn start_federation(
        &self,
        name: &str,
        initial: Option<&Path>,
    ) -> Result<Answer, AdminError> {
        let federations = &self.installation.federations;
        let located = federations.find(name).await?;
        federations.check_signed(&located).await?;
        let server = self.running()?;
        let module = match initial {
            Some(file) => Some(self.initial_parameters(&located, file).await?),
            None => None,
        };
        let id = located.federation.federation;
        let started = server.driver().start_federation(&located.owner, id, module).await;
        started.map_err(|error| by_name(name, error))?;
        Ok(Answer::Federation(self.view(&federations.find(name).await?).await?))
    }

    pub(super) async fn stop_federation(&self, name: &str) -> Result<Answer, AdminError> {
        let federations = &self.installation.federations;
        let located = federations.find(name).await?;
        let server = self.running()?;
        let id = located.federation.federation;
        let stopped = server.driver().stop_federation(&located.owner, id).await;
        stopped.map_err(|error| by_name(name, error))?;
        Ok(Answer::Federation(self.view(&federations.find(name).await?).await?))
    }

    pub(super) async fn federations(&self) -> Result<Answer, AdminError> {
        let mut views = Vec::new();
        for located in self.installation.federations.all().await? {
            views.push(self.view(&located).await?);
        }
        Ok(Answer::Federations(views))
    }

    pub(super) async fn status(&self, name: &str) -> Result<Answer, AdminError> {
        let located = self.installation.federations.find(name).await?;
        let rows = self.installation.federations.rows(&located);
        let id = located.federation.federation;
        let driven = self.live.as_ref().and_then(|server| {
            // A federation that was never started is in no driver, and its row says so.
            server.driver().status(&located.owner, id).ok()
        });
        let mut federation = self.view(&located).await?;
        let stalls = |status: &FederationStatus| {
            status.engine.as_ref().is_some_and(|engine| engine.state == EngineState::Stalled)
        };
        if driven.as_ref().is_some_and(stalls) {
            "stalled".clone_into(&mut federation.state);
        }
        let engine = driven.as_ref().map(|status| serde_json::to_value(&status.engine));
        let engine = engine.transpose().map_err(|error| {
            AdminError::new(Kind::Internal, "status", format_args!("internal error: {error}"))
        })?;
        Ok(Answer::Status(Box::new(StatusView {
            federation,
            coordinator_running: self.live.is_some(),
            engine: engine.unwrap_or(Value::Null),
            trouble: driven.and_then(|status| status.trouble),
            model: rows.models(id).await?.last().map(Into::into),
            last_round: latest(&rows.rounds(id).await?).map(Into::into),
        })))
    }

    pub(super) async fn rounds(&self, name: &str, last: Option<u32>) -> Result<Answer, AdminError> {
        let located = self.installation.federations.find(name).await?;
        let rows = self.installation.federations.rows(&located);
        let rounds = rows.rounds(located.federation.federation).await?;
        Ok(Answer::Rounds(last_of(&rounds, last).iter().map(RoundView::from).collect()))
    }

    async fn view(&self, located: &Located) -> Result<FederationView, AdminError> {
        let (signed, standing) = self.installation.federations.standing(located).await?;
        let federation = &located.federation;
        Ok(FederationView {
            federation: federation.federation.to_string(),
            name: federation.name.clone(),
            owner: located.owner.to_string(),
            state: state(federation).to_owned(),
            created: instant(federation.created_unix_ms),
            manifest_version: signed.manifest.version,
            manifest: signed.manifest.hash().to_string(),
            clients: signed.manifest.client_count(),
            signatures: standing.signatures,
            required: standing.required,
            missing: standing.missing.iter().map(ToString::to_string).collect(),
        })
    }
}
