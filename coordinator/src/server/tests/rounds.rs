//! Whole rounds over QUIC, by clients that speak it by hand: what one of them does wrong is its own
//! fault, and nobody reaches a federation without a seat in it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use roundelay_crypto::identity::IdentityKey;
use roundelay_crypto::secret::Seed;
use roundelay_protocol::close::CloseCode;
use roundelay_protocol::codec::FrameReader;
use roundelay_protocol::error::Fault;
use roundelay_protocol::ids::{FederationId, RoundNumber, TenantId};
use roundelay_protocol::limits::FRAME_BYTES_MAX;
use roundelay_protocol::message;
use roundelay_protocol::round::horizontal::terms::Terms;
use roundelay_protocol::session::{
    Assembler, Roster, RosterKind, StreamHeader, ToClient, ToCoordinator, VectorKind,
};
use roundelay_protocol::time::Time;

use super::connections::hasty;
use super::harness::{Client, Coordinator, Wire, stream, tenant};
use super::manifests::draft;
use crate::clock::now_unix_ms;
use crate::engine::audit::State;
use crate::testing::{Out, TestClient};

/// Long enough for a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a client sends its masked vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Upload {
    Whole,
    /// More bytes than it announced, and no end.
    Longer,
    /// Announces more than anybody may send.
    Boastful,
}

/// Clients of one federation, enrolled, that have signed its manifest.
pub(crate) struct Scene {
    pub(crate) coordinator: Coordinator,
    clients: Vec<Client>,
    owner: TenantId,
    terms: Arc<Terms>,
}

impl Scene {
    /// A federation of one round with a client for each of these tenants, started.
    pub(crate) async fn started(coordinator: Coordinator, tenants: &[&str]) -> Self {
        let mut clients = Vec::new();
        for of in tenants {
            clients.push(coordinator.client(of).await);
        }
        let federations = &coordinator.installation.federations;
        let mut members = tenants.to_vec();
        members.dedup();
        let mut draft = draft("small", &members);
        draft.task.rounds = 1;
        let (located, manifest) = federations.create(draft).await.unwrap();
        for client in &clients {
            let signature = manifest.sign(&client.tenant_key);
            let hash = manifest.hash();
            federations.sign(&client.peer(), manifest.federation, hash, signature).await.unwrap();
        }
        let (owner, federation) = (located.owner, manifest.federation);
        let driver = coordinator.server.driver();
        driver.start_federation(&owner, federation, None).await.unwrap();
        Self { coordinator, clients, owner, terms: Arc::new(Terms::new(manifest)) }
    }

    pub(crate) fn federation(&self) -> FederationId {
        self.terms.federation()
    }

    /// A connection of a client that has joined.
    pub(crate) async fn seated(&self, at: usize) -> Wire {
        let mut wire = Wire::welcomed(&self.coordinator, &self.clients[at]).await;
        wire.send(&ToCoordinator::Join(self.client(at).join())).await;
        let joined = wire.receive::<ToClient>().await.unwrap();
        assert!(matches!(joined, ToClient::Joined { .. }), "{joined:?}");
        wire
    }

    fn client(&self, at: usize) -> TestClient {
        let identity =
            IdentityKey::from_seed(Seed::new(*self.clients[at].identity.seed().expose()));
        TestClient::new(&self.terms, &Arc::new(identity), at as u64 + 1)
    }
}

/// One client until its federation has ended; its connection is still open then.
async fn take_part(mut wire: Wire, mut client: TestClient, upload: Upload) -> Wire {
    let connection = wire.connection.clone();
    wire.send(&ToCoordinator::Join(client.join())).await;
    let (mut open, mut waiting, mut aggregates) = (Vec::new(), VecDeque::new(), VecDeque::new());
    loop {
        let mut outs = Vec::new();
        tokio::select! {
            said = wire.receive::<ToClient>() => match said.expect("the connection lives") {
                // Whoever is found at fault hears it, and takes part no more.
                ToClient::Round { message: message::ToClient::Expelled(_), .. }
                | ToClient::FederationEnded { .. } => return wire,
                ToClient::Round { round, message, .. } => waiting.push_back((round, message)),
                _ => continue,
            },
            incoming = connection.accept_uni() => {
                let bytes = incoming.unwrap().read_to_end(1 << 20).await.unwrap();
                match arrived(&bytes) {
                    Arrived::Roster(round, roster) => outs = client.take(now(), round, roster),
                    Arrived::Aggregate(round, bytes) => aggregates.push_back((round, bytes)),
                }
            }
        }
        // What comes behind a result waits until it is applied, as in a session; an aggregate may
        // overtake its announcement.
        loop {
            if client.is_applying() {
                let Some((round, bytes)) = aggregates.pop_front() else { break };
                outs.extend(client.aggregate(now(), round, &bytes));
            } else {
                let Some((round, message)) = waiting.pop_front() else { break };
                outs.extend(client.take(now(), round, message));
            }
        }
        for out in outs {
            open.extend(send(&mut wire, client.join().federation, out, upload).await);
        }
    }
}

fn now() -> Time {
    Time(now_unix_ms())
}

/// A stream of the coordinator.
enum Arrived {
    Roster(RoundNumber, message::ToClient),
    Aggregate(RoundNumber, Vec<u8>),
}

fn arrived(mut bytes: &[u8]) -> Arrived {
    let mut reader = FrameReader::new(FRAME_BYTES_MAX);
    let header = reader.read(&mut bytes).unwrap().unwrap();
    match roundelay_protocol::codec::decode(&header, FRAME_BYTES_MAX).unwrap() {
        StreamHeader::Roster { round, kind, items, .. } => {
            let mut assembler = Assembler::new(kind, items).unwrap();
            while let Some(item) = reader.read(&mut bytes).unwrap() {
                assembler.push(&item).unwrap();
            }
            Arrived::Roster(round, assembler.finish().unwrap().into_to_client().unwrap())
        }
        StreamHeader::Vector { kind: VectorKind::Aggregate(round), .. } => {
            Arrived::Aggregate(round, bytes.to_vec())
        }
        header => panic!("{header:?}"),
    }
}

/// Sends what a client has to say; the stream of a wrong vector stays open.
async fn send(
    wire: &mut Wire,
    federation: FederationId,
    out: Out,
    upload: Upload,
) -> Option<quinn::SendStream> {
    match out {
        Out::Send(round, message) => {
            say(wire, federation, round, message).await;
            None
        }
        Out::Upload(round, mut bytes) => {
            let kind = VectorKind::MaskedInput(round);
            let whole = bytes.len() as u64;
            let announced = if upload == Upload::Boastful { u64::MAX } else { whole };
            bytes.resize(bytes.len() + if upload == Upload::Longer { 1 } else { 0 }, 0);
            let header = StreamHeader::Vector { federation, kind, bytes: announced };
            let mut stream = stream(&wire.connection, &header, &bytes).await;
            if upload == Upload::Whole {
                stream.finish().unwrap();
            }
            Some(stream)
        }
    }
}

async fn say(
    wire: &mut Wire,
    federation: FederationId,
    round: RoundNumber,
    message: message::FromClient,
) {
    match Roster::from_client(message) {
        Ok(roster) => {
            let mut stream = wire.connection.open_uni().await.unwrap();
            for frame in roster.frames(federation, round) {
                stream.write_all(&frame.unwrap()).await.unwrap();
            }
            stream.finish().unwrap();
        }
        Err(message) => wire.send(&ToCoordinator::Round { federation, round, message }).await,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vector_that_is_longer_than_it_should_be_expels_its_client_and_the_others_finish() {
    for wrong in [Upload::Longer, Upload::Boastful] {
        let coordinator = Coordinator::open().await;
        let scene = Scene::started(coordinator, &["acme", "acme", "bank", "bank", "care"]).await;
        let mut taking_part = Vec::new();
        for at in 0..5 {
            let upload = if at == 2 { wrong } else { Upload::Whole };
            let wire = Wire::welcomed(&scene.coordinator, &scene.clients[at]).await;
            taking_part.push(tokio::spawn(take_part(wire, scene.client(at), upload)));
        }
        let driver = scene.coordinator.server.driver();
        let mut status = driver.watch(&scene.owner, scene.federation()).unwrap();
        let finished = status.wait_for(|status| {
            let engine = status.engine.as_ref();
            engine.is_some_and(|engine| engine.state == State::Finished)
        });
        let finished = tokio::time::timeout(PATIENCE, finished).await.is_ok();
        let stands = driver.status(&scene.owner, scene.federation()).unwrap();
        assert!(finished, "stands at {stands:?}");
        let engine = stands.engine.unwrap();
        assert_eq!(engine.model_version, 1);
        let [expelled] = engine.expelled.as_slice() else { panic!("{:?}", engine.expelled) };
        assert_eq!(expelled.client, scene.clients[2].id(), "it is named");
        assert!(matches!(expelled.fault, Fault::WrongLength { .. }), "{}", expelled.fault);
        for (at, wire) in taking_part.into_iter().enumerate() {
            let wire = wire.await.unwrap();
            assert_eq!(wire.connection.close_reason(), None, "the connection of {at} lives");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_roster_of_a_client_without_a_seat_is_not_taken_in() {
    let scene = Scene::started(Coordinator::open().await, &["acme", "acme", "bank"]).await;
    let (federation, round) = (scene.federation(), RoundNumber(1));
    let stranger = scene.coordinator.client("care").await;
    let mut wire = Wire::welcomed(&scene.coordinator, &stranger).await;
    // It knows the federation's id and asks to join; it is told no more than that it may not.
    let join = scene.client(0).join();
    wire.send(&ToCoordinator::Join(join)).await;
    let refused = wire.receive::<ToClient>().await.unwrap();
    assert!(matches!(&refused, ToClient::Refused(refused) if &*refused.code == "not_a_member"));
    let header = StreamHeader::Roster { federation, round, kind: RosterKind::Shares, items: 2 };
    let roster = stream(&wire.connection, &header, &[]).await;
    let stopped = tokio::time::timeout(Duration::from_secs(5), roster.stopped()).await;
    let code = stopped.expect("nobody reads it").unwrap().expect("it was not taken");
    assert_eq!(CloseCode::of(code.into_inner()), Some(CloseCode::Done));
    wire.send(&ToCoordinator::ListFederations).await;
    let listed = wire.receive::<ToClient>().await;
    assert!(matches!(listed, Ok(ToClient::Federations(_))), "the connection lives");
    assert_eq!(stranger.tenant, tenant("care"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_roster_that_none_can_be_closes_its_clients_connection_with_the_reason() {
    let coordinator = Coordinator::with(&hasty(), Duration::from_secs(3600)).await;
    let scene = Scene::started(coordinator, &["acme", "acme", "bank"]).await;
    let (federation, round, kind) = (scene.federation(), RoundNumber(1), RosterKind::Shares);
    let cases: [(u32, Vec<u8>, CloseCode); 4] = [
        (100_000, vec![], CloseCode::Malformed),
        (2, vec![0xff; 4], CloseCode::TooLarge),
        (2, vec![1, 0, 0, 0, 9], CloseCode::Malformed),
        (2, vec![], CloseCode::TooSlow),
    ];
    for (items, rest, expected) in cases {
        let wire = scene.seated(0).await;
        let header = StreamHeader::Roster { federation, round, kind, items };
        let _open = stream(&wire.connection, &header, &rest).await;
        assert_eq!(wire.closed().await, Some(expected), "{items} {rest:?}");
    }
}
