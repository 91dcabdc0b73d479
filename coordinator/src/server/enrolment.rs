//! Enrolment connections: one stream, one request, one answer.

use roundelay_protocol::close::CloseCode;
use roundelay_protocol::limits::FRAME_BYTES_PREAUTH_MAX;
use roundelay_protocol::session::{EnrolRequest, EnrolResponse};
use tokio::time::timeout;

use super::closing::Closing;
use super::framing::{Frames, Meter, send};
use super::transport::Connection;
use crate::clients::{ClientError, Clients};
use crate::config::Limits;

/// Serves one enrolment. The peer has shown nothing yet, so everything about it is small and
/// short.
pub async fn serve(connection: &dyn Connection, clients: &Clients, limits: &Limits) -> Closing {
    match enrol(connection, clients, limits).await {
        Ok(()) => Closing::new(CloseCode::Done, "enrolment is over"),
        Err(closing) => closing,
    }
}

async fn enrol(
    connection: &dyn Connection,
    clients: &Clients,
    limits: &Limits,
) -> Result<(), Closing> {
    let opened = timeout(Limits::duration(limits.hello_ms), connection.accept_bi()).await;
    let opened = opened.map_err(|_| Closing::too_slow("opening a stream", limits.hello_ms))?;
    let (mut outgoing, incoming) = opened?;
    let meter = Meter::new(limits.control_bytes_per_minute);
    let mut frames = Frames::new(incoming, FRAME_BYTES_PREAUTH_MAX, limits.frame_ms, meter);
    let request: EnrolRequest = frames.expect("the enrolment request", limits.hello_ms).await?;
    let answer = answer(&request, clients, connection).await;
    send(&mut *outgoing, &answer, FRAME_BYTES_PREAUTH_MAX, limits.hello_ms).await?;
    outgoing.finish();
    // The answer is on its way or the peer has gone; either way this is the end.
    let _ = timeout(Limits::duration(limits.hello_ms), outgoing.delivered()).await;
    Ok(())
}

async fn answer(
    request: &EnrolRequest,
    clients: &Clients,
    connection: &dyn Connection,
) -> EnrolResponse {
    match clients.enrol(request).await {
        Ok(enrolled) => EnrolResponse::Enrolled(Box::new(enrolled)),
        Err(error) => EnrolResponse::Refused(refused(&error, connection)),
    }
}

fn refused(
    error: &ClientError,
    connection: &dyn Connection,
) -> roundelay_protocol::session::Refused {
    tracing::warn!(remote = %connection.remote(), code = error.code(), "enrolment refused");
    error.refused()
}
