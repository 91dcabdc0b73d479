//! Enrolment connections: one stream, one request, one answer.

use std::time::Duration;

use roundelay_protocol::close::CloseCode;
use roundelay_protocol::limits::FRAME_BYTES_PREAUTH_MAX;
use roundelay_protocol::session::{EnrolRequest, EnrolResponse};
use tokio::time::{Instant, timeout_at};

use super::closing::Closing;
use super::endpoint::Waiting;
use super::framing::send;
use super::greeting::greeting;
use super::places::Places;
use super::transport::Connection;
use crate::clients::{ClientError, Clients};
use crate::config::Limits;

/// What a peer is given to take its answer, however late it asked.
const ANSWER: Duration = Duration::from_secs(2);

/// Serves one enrolment. The peer has shown nothing yet, so everything about it is small and
/// short, and it gives its place among the handshakes back for one among the strangers.
pub async fn serve(
    connection: &dyn Connection,
    waiting: Waiting,
    strangers: &Places,
    clients: &Clients,
    limits: &Limits,
) -> Closing {
    // A handshake that is done has proved the address.
    let Ok(_place) = strangers.take(connection.remote().ip(), true) else {
        return Closing::new(CloseCode::Busy, "too many enrol at this moment; try again later");
    };
    drop(waiting.place);
    match enrol(connection, waiting.hello_by, clients, limits).await {
        Ok(()) => Closing::new(CloseCode::Done, "enrolment is over"),
        Err(closing) => closing,
    }
}

async fn enrol(
    connection: &dyn Connection,
    by: Instant,
    clients: &Clients,
    limits: &Limits,
) -> Result<(), Closing> {
    let asked = greeting(connection, limits, by, "the enrolment request").await?;
    let (mut outgoing, request): (_, EnrolRequest) = (asked.outgoing, asked.first);
    let answer = answer(&request, clients, connection).await;
    let by = by.max(Instant::now() + ANSWER);
    let sent = send(&mut *outgoing, &answer, FRAME_BYTES_PREAUTH_MAX, limits.hello_ms);
    let sent = timeout_at(by, sent).await;
    sent.map_err(|_| Closing::too_slow("taking the answer", limits.hello_ms))??;
    outgoing.finish();
    // The answer is on its way or the peer has gone; either way this is the end.
    let _ = timeout_at(by, outgoing.delivered()).await;
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
