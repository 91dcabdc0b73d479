//! Whole federations of real processes on loopback: a coordinator and its clients, each with its
//! own folder, started, killed and started again. The end-to-end tests, the demo and the benches
//! all stand on this.

mod children;
mod coordinator;
mod process;
mod programs;
mod site;
mod skip;

pub use children::{child, folder_of_child, on_small_disk};
pub use coordinator::{Coordinator, FederationRequest};
pub use process::{Process, json_of, wait_until};
pub use programs::{Programs, digits_file};
pub use site::{Site, SiteSettings};
pub use skip::skip;
