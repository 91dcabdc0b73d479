//! The command line of `roundelay-coordinator`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use roundelay_program::Output;
use roundelay_protocol::ids::TenantId;

use crate::admin::ClientText;

mod parameters;
mod render;
mod run;
mod serve;
#[cfg(test)]
mod tests;
mod waiting;

pub use parameters::AskParameters;
pub use run::run;

/// Hosts federations of tenants: carries their rounds and holds only masked vectors.
#[derive(Debug, Parser)]
#[command(name = "roundelay-coordinator", version, after_help = roundelay_protocol::exit::HELP)]
pub struct Cli {
    /// Options of all verbs.
    #[command(flatten)]
    pub options: Options,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Options of all verbs.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Data folder; `serve` and `tenant add` make it [default: roundelay-data, or as configured]
    #[arg(long, global = true, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Configuration file; docs/samples/coordinator.toml shows all keys
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How answers, errors and logs are written
    #[arg(long, global = true, value_enum, default_value_t = Output::Human)]
    pub output: Output,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the coordinator until SIGTERM or SIGINT
    Serve {
        /// Address and UDP port to listen on; port 0 takes a free one
        #[arg(long, value_name = "ADDRESS:PORT")]
        listen: Option<SocketAddr>,
    },
    /// Tenants of this installation
    #[command(subcommand)]
    Tenant(TenantVerb),
    /// Issue a one-time token with which one client of a tenant enrols
    EnrolToken {
        /// The tenant
        #[arg(long)]
        tenant: TenantId,
        /// Life of the token [default: 15, or as configured]
        #[arg(long)]
        minutes: Option<u32>,
        /// Where the client reaches the coordinator [default: as configured, or where it listens]
        #[arg(long, value_name = "HOST:PORT")]
        address: Option<String>,
    },
    /// Enrolled clients
    #[command(subcommand)]
    Client(ClientVerb),
    /// Federations
    #[command(subcommand)]
    Federation(FederationVerb),
    /// List the rounds of a federation
    Rounds {
        /// Its name or id
        federation: String,
        /// Only so many of the last [default: all]
        #[arg(long, value_name = "N")]
        last: Option<u32>,
    },
    /// Model versions
    #[command(subcommand)]
    Model(ModelVerb),
    /// Audit logs
    #[command(subcommand)]
    Audit(AuditVerb),
    /// Print the graph, threshold and quorum of a cohort, what they guarantee and what they cost
    Parameters(AskParameters),
}

/// Verbs about tenants.
#[derive(Debug, Subcommand)]
pub enum TenantVerb {
    /// Add a tenant and make its key
    Add {
        /// One DNS label: a-z, 0-9 and '-'
        name: TenantId,
    },
    /// List tenants
    List,
}

/// Verbs about clients.
#[derive(Debug, Subcommand)]
pub enum ClientVerb {
    /// List enrolled clients
    List {
        /// Of this tenant only
        #[arg(long)]
        tenant: Option<TenantId>,
    },
    /// Revoke a client for good and close its connection
    Revoke {
        /// Its tenant
        #[arg(long)]
        tenant: TenantId,
        /// Its id, 64 hexadecimal digits
        client: ClientText,
    },
}

/// Verbs about federations.
#[derive(Debug, Subcommand)]
pub enum FederationVerb {
    /// Draft a federation's manifest from the enrolled clients' keys
    Create(CreateFederation),
    /// Draft an amendment for the members to sign: join, leave, replace a lost key, other terms
    Amend {
        /// The federation's name or id
        federation: String,
        /// All members from then on [default: as before]; their clients' keys are read anew
        #[arg(long, value_delimiter = ',', value_name = "A,B,C")]
        members: Option<Vec<TenantId>>,
        /// Task file with the task and rules from then on [default: as before]
        #[arg(long, value_name = "FILE")]
        task: Option<PathBuf>,
    },
    /// Start rounds, once every member has signed
    Start {
        /// Its name or id
        federation: String,
        /// Safetensors file with the initial parameters of a TorchScript module
        #[arg(long, value_name = "FILE")]
        initial: Option<PathBuf>,
    },
    /// Stop rounds, until it is started again
    Stop {
        /// Its name or id
        federation: String,
    },
    /// Show how a federation stands
    Status {
        /// Its name or id
        federation: String,
    },
    /// List federations
    List,
}

/// What a new federation is made of.
#[derive(Debug, Args)]
pub struct CreateFederation {
    /// A name for people, one of its kind
    #[arg(long)]
    pub name: String,
    /// The tenant whose handle holds its rows
    #[arg(long)]
    pub owner: TenantId,
    /// Tenants whose enrolled clients take part, the owner included
    #[arg(long, required = true, value_delimiter = ',', value_name = "A,B,C")]
    pub members: Vec<TenantId>,
    /// Task file; docs/samples/task-*.toml show all keys
    #[arg(long, value_name = "FILE")]
    pub task: PathBuf,
    /// Honest clients in a published sum at least, in place of the task file's
    #[arg(long)]
    pub clients_min: Option<u16>,
    /// Peers that a client wants to see in a cohort at least, in place of the task file's
    #[arg(long)]
    pub pinned_peers_min: Option<u16>,
    /// Thousandths of the active roster that may drop, in place of the task file's
    #[arg(long)]
    pub dropout_permille: Option<u16>,
    /// Training rounds, in place of the task file's
    #[arg(long)]
    pub rounds: Option<u32>,
}

/// Verbs about models.
#[derive(Debug, Subcommand)]
pub enum ModelVerb {
    /// List the versions of a federation's model
    List {
        /// The federation's name or id
        federation: String,
        /// Only so many of the last [default: all]
        #[arg(long, value_name = "N")]
        last: Option<u32>,
    },
    /// Write a version to a safetensors file with named parameters
    Export {
        /// The federation's name or id
        federation: String,
        /// Which version [default: the newest]
        #[arg(long)]
        version: Option<u64>,
        /// The file
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
}

/// Verbs about audit logs.
#[derive(Debug, Subcommand)]
pub enum AuditVerb {
    /// Recompute the hash chains and name the first entry that does not follow
    Verify {
        /// Of this tenant only
        #[arg(long)]
        tenant: Option<TenantId>,
    },
}
