//! The demo: tenants' processes train one model, and a page shows what came of it.

pub mod baseline;
pub mod chart;
pub mod data;
pub mod federation;
pub mod model;
pub mod options;
pub mod report;
pub mod run;
pub mod task;
pub mod view;
