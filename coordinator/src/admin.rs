//! The operator's verbs: what may be asked, what is answered, and the one handler that answers.
//!
//! A verb reaches a running coordinator over a socket in its data folder ([`socket`]); where none
//! runs, the same handler opens the folder itself. So a verb has one meaning, whoever answers it.

use std::path::PathBuf;

use roundelay_protocol::ids::{ClientId, TenantId};
use roundelay_protocol::manifest::{Rules, Task};
use serde::{Deserialize, Serialize};

mod audit;
mod clients;
mod error;
mod export_file;
mod federations;
mod handler;
mod models;
pub mod socket;
#[cfg(test)]
mod tests;
mod views;

pub use error::{AdminError, Kind};
pub use handler::{Admin, Live};
pub use views::{
    AuditView, ClientView, FederationView, LeftView, ModelView, RoundView, StatusView, TenantView,
    TokenView, instant,
};

/// What an operator asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Adds a tenant and makes its key.
    TenantAdd {
        /// Its name.
        tenant: TenantId,
    },
    /// All tenants.
    TenantList,
    /// A one-time token with which one client of a tenant enrols.
    EnrolToken {
        /// Whose.
        tenant: TenantId,
        /// Its life; the configured one if none is given.
        minutes: Option<u32>,
        /// The `host:port` in it; the configured one if none is given.
        address: Option<String>,
    },
    /// Enrolled clients, of one tenant or of all.
    ClientList {
        /// Whose.
        tenant: Option<TenantId>,
    },
    /// Revokes a client.
    ClientRevoke {
        /// Whose.
        tenant: TenantId,
        /// Which.
        client: ClientText,
    },
    /// Drafts a federation's manifest.
    FederationCreate {
        /// A name for people.
        name: String,
        /// Whose handle holds its rows.
        owner: TenantId,
        /// Whose clients take part.
        members: Vec<TenantId>,
        /// What is learned.
        task: Box<Task>,
        /// Floors and rules.
        rules: Box<Rules>,
    },
    /// Drafts an amendment of a federation's manifest.
    FederationAmend {
        /// Its name or id.
        federation: String,
        /// All members from then on; the same as before if none are given.
        members: Option<Vec<TenantId>>,
        /// Task and rules from then on; the same as before if none are given.
        terms: Option<Box<(Task, Rules)>>,
    },
    /// Starts rounds.
    FederationStart {
        /// Its name or id.
        federation: String,
        /// Safetensors file with the initial parameters of a TorchScript module.
        initial: Option<PathBuf>,
    },
    /// Stops rounds.
    FederationStop {
        /// Its name or id.
        federation: String,
    },
    /// How one federation stands.
    FederationStatus {
        /// Its name or id.
        federation: String,
    },
    /// All federations.
    FederationList,
    /// The rounds of a federation.
    Rounds {
        /// Its name or id.
        federation: String,
        /// So many of the last; all if none is given.
        #[serde(default)]
        last: Option<u32>,
    },
    /// The model versions of a federation.
    ModelList {
        /// Its name or id.
        federation: String,
        /// So many of the last; all if none is given.
        #[serde(default)]
        last: Option<u32>,
    },
    /// Writes a model version to a file.
    ModelExport {
        /// The federation's name or id.
        federation: String,
        /// Which; the newest if none is given.
        version: Option<u64>,
        /// Where to.
        to: PathBuf,
    },
    /// Recomputes the audit logs of one tenant or of all.
    AuditVerify {
        /// Whose.
        tenant: Option<TenantId>,
    },
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Tenants.
    Tenants(Vec<TenantView>),
    /// A token.
    Token(TokenView),
    /// Clients.
    Clients(Vec<ClientView>),
    /// A client was revoked.
    Revoked(ClientView),
    /// A federation was drafted, started or stopped.
    Federation(FederationView),
    /// Federations.
    Federations(Vec<FederationView>),
    /// How a federation stands.
    Status(Box<StatusView>),
    /// Rounds.
    Rounds(Vec<RoundView>),
    /// Model versions.
    Models(Vec<ModelView>),
    /// A model was written to a file.
    Exported {
        /// The version.
        version: u64,
        /// The file.
        file: PathBuf,
        /// Its length.
        bytes: u64,
    },
    /// Audit logs that hold.
    Audit(Vec<AuditView>),
}

/// A client id as 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClientText(pub ClientId);

impl From<ClientText> for String {
    fn from(text: ClientText) -> Self {
        text.0.to_string()
    }
}

impl TryFrom<String> for ClientText {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl std::str::FromStr for ClientText {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digest = text.parse().map_err(|_| "a client id has 64 hexadecimal digits")?;
        Ok(Self(ClientId(digest)))
    }
}
