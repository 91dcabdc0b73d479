//! What every newcomer does first: it opens a stream and sends one frame that says what it wants.

use std::sync::Arc;

use roundelay_protocol::limits::FRAME_BYTES_PREAUTH_MAX;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};

use super::closing::Closing;
use super::framing::{Frames, Meter};
use super::transport::{Connection, Outgoing};
use crate::config::Limits;

/// The stream that a newcomer opens, and the first frame on it.
pub struct Greeting<T> {
    /// The way back.
    pub outgoing: Box<dyn Outgoing>,
    /// What comes behind the first frame.
    pub frames: Frames,
    /// The bound on what the connection sends.
    pub meter: Arc<Meter>,
    /// The first frame.
    pub first: T,
}

/// Waits until `by` for the first frame of a newcomer; `what` names it in errors.
pub async fn greeting<T: DeserializeOwned>(
    connection: &dyn Connection,
    limits: &Limits,
    by: Instant,
    what: &str,
) -> Result<Greeting<T>, Closing> {
    let ms = limits.hello_ms;
    let meter = Meter::new(limits.control_bytes_per_minute);
    let opened = timeout_at(by, connection.accept_bi()).await;
    let opened = opened.map_err(|_| Closing::too_slow("opening a stream", ms))?;
    let (outgoing, incoming) = opened?;
    let frame_limit = FRAME_BYTES_PREAUTH_MAX;
    let mut frames = Frames::new(incoming, frame_limit, limits.frame_ms, Arc::clone(&meter));
    let first = frames.expect_by(what, by, ms).await?;
    Ok(Greeting { outgoing, frames, meter, first })
}
