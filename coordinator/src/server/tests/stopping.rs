//! A coordinator that stops: what its clients hear, in which order, and what begins no more.

use std::time::{Duration, Instant};

use roundelay_crypto::digest::Digest;
use roundelay_protocol::close::CloseCode;
use roundelay_protocol::ids::{FederationId, RoundNumber};
use roundelay_protocol::lineage::Standing;
use roundelay_protocol::manifest::Manifest;
use roundelay_protocol::message::{self, ToClient as RoundToClient};
use roundelay_protocol::session::{Join, ToClient, ToCoordinator};

use super::harness::{Coordinator, Wire};
use super::manifests::{draft, sign, three};

/// A federation that runs, with its three clients joined.
async fn joined(coordinator: &Coordinator) -> (FederationId, Vec<Wire>) {
    let clients = three(coordinator).await;
    let federations = &coordinator.installation.federations;
    let (located, manifest) =
        federations.create(draft("digits", &["acme", "bank", "care"])).await.unwrap();
    let mut wires = Vec::new();
    for client in &clients {
        let mut wire = Wire::welcomed(coordinator, client).await;
        let taken = sign(&mut wire, client, &manifest).await;
        assert!(matches!(taken, ToClient::SignatureTaken { .. }), "{taken:?}");
        wires.push(wire);
    }
    let (owner, federation) = (located.owner.clone(), manifest.federation);
    coordinator.server.driver().start_federation(&owner, federation, None).await.unwrap();
    for wire in &mut wires {
        wire.send(&ToCoordinator::Join(join(&manifest))).await;
        let answer = wire.receive().await;
        assert!(matches!(answer, Ok(ToClient::Joined { .. })), "{answer:?}");
    }
    (federation, wires)
}

fn join(manifest: &Manifest) -> Join {
    Join {
        federation: manifest.federation,
        manifest: manifest.hash(),
        highest_round: RoundNumber(0),
        resumable: Vec::new().try_into().unwrap(),
        standing: Standing::initial(Digest([0; 32])),
        attestation: None,
        schema: manifest.task.schema.digest(),
    }
}

/// Messages until the connection closes, and its code.
async fn until_closed(wire: &mut Wire) -> (Vec<ToClient>, Option<CloseCode>) {
    let mut heard = Vec::new();
    loop {
        match wire.receive().await {
            Ok(message) => heard.push(message),
            Err(code) => return (heard, code),
        }
    }
}

#[tokio::test]
async fn joined_clients_hear_a_signed_notice_last_and_then_the_end_and_no_round_begins() {
    let coordinator = Coordinator::open().await;
    let (_, mut wires) = joined(&coordinator).await;
    let pinned = coordinator.installation.notice_key.public();
    let began = Instant::now();
    let stopping = tokio::spawn(coordinator.stop(None));
    for wire in &mut wires {
        let (heard, code) = until_closed(wire).await;
        assert_eq!(code, Some(CloseCode::ShuttingDown));
        let Some(ToClient::RetryAfter(notice)) = heard.last() else { panic!("{heard:?}") };
        assert_eq!(notice.verify(&pinned), Ok(()));
        let aborted = |message: &ToClient| {
            let ended = |message: &message::ToClient| matches!(message, RoundToClient::Aborted(_));
            matches!(message, ToClient::Round { message, .. } if ended(message))
        };
        assert!(!heard.iter().any(aborted), "a round in flight is left to be resumed: {heard:?}");
    }
    stopping.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_client_that_does_not_read_does_not_hold_the_end_up() {
    let coordinator = Coordinator::open().await;
    let (_, wires) = joined(&coordinator).await;
    let began = Instant::now();
    coordinator.stop(Some("fl2.example.org:4433")).await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    drop(wires);
}
