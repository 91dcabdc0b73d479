//! Manifests over the network: listed to the clients that they name, signed by their tenants.

use roundelay_protocol::codec;
use roundelay_protocol::ids::TenantId;
use roundelay_protocol::limits::MANIFEST_BYTES_MAX;
use roundelay_protocol::manifest::{Manifest, SignedManifest};
use roundelay_protocol::model::ModelSpec;
use roundelay_protocol::session::{StreamHeader, ToClient, ToCoordinator, VectorKind};
use roundelay_protocol::testing;

use super::harness::{Client, Coordinator, Wire, tenant};
use crate::federations::{Changes, Draft, FederationError};

pub(crate) fn draft(name: &str, members: &[&str]) -> Draft {
    let members: Vec<TenantId> = members.iter().map(|name| tenant(name)).collect();
    Draft {
        name: name.to_owned(),
        owner: members[0].clone(),
        members,
        rules: testing::rules(),
        task: testing::task(testing::images(8, 10), ModelSpec::Softmax { seed: 1 }),
    }
}

pub(crate) async fn three(coordinator: &Coordinator) -> [Client; 3] {
    [
        coordinator.client("acme").await,
        coordinator.client("bank").await,
        coordinator.client("care").await,
    ]
}

/// The one federation that a client is told of.
async fn listed(wire: &mut Wire) -> (bool, SignedManifest) {
    wire.send(&ToCoordinator::ListFederations).await;
    let Ok(ToClient::Federations(summaries)) = wire.receive().await else { panic!("no list") };
    let [summary] = &*summaries else { panic!("{summaries:?}") };
    let mut stream = wire.connection.accept_uni().await.unwrap();
    let bytes = stream.read_to_end(MANIFEST_BYTES_MAX).await.unwrap();
    let mut rest = bytes.as_slice();
    let header = codec::FrameReader::new(4096).read(&mut rest).unwrap().unwrap();
    let header: StreamHeader = codec::decode(&header, 4096).unwrap();
    let StreamHeader::Vector { federation, kind, bytes } = header else { panic!("{header:?}") };
    assert_eq!((federation, bytes), (summary.federation, rest.len() as u64));
    assert_eq!(kind, VectorKind::Manifest(summary.manifest));
    let signed: SignedManifest = codec::decode(rest, MANIFEST_BYTES_MAX).unwrap();
    assert_eq!(signed.manifest.hash(), summary.manifest);
    (summary.complete, signed)
}

pub(crate) async fn sign(wire: &mut Wire, client: &Client, manifest: &Manifest) -> ToClient {
    let signature = manifest.sign(&client.tenant_key);
    let (federation, manifest) = (manifest.federation, manifest.hash());
    wire.send(&ToCoordinator::SignManifest { federation, manifest, signature }).await;
    wire.receive().await.unwrap()
}

#[tokio::test]
async fn a_manifest_is_listed_to_its_members_signed_by_each_and_then_complete() {
    let coordinator = Coordinator::open().await;
    let clients = three(&coordinator).await;
    let federations = &coordinator.installation.federations;
    let (located, _) =
        federations.create(draft("digits", &["acme", "bank", "care"])).await.unwrap();
    let mut manifest = None;
    for (signed, client) in clients.iter().enumerate() {
        let mut wire = Wire::welcomed(&coordinator, client).await;
        let (complete, shown) = listed(&mut wire).await;
        assert_eq!((complete, shown.signatures.len()), (false, signed));
        let taken = sign(&mut wire, client, &shown.manifest).await;
        let signatures = u16::try_from(signed + 1).unwrap();
        assert_eq!(taken, ToClient::SignatureTaken { signatures, required: 3 });
        manifest = Some(shown.manifest);
    }
    let mut wire = Wire::welcomed(&coordinator, &clients[0]).await;
    let (complete, shown) = listed(&mut wire).await;
    assert!(complete);
    assert_eq!(shown.verify(None), Ok(()));
    assert_eq!(Some(shown.manifest), manifest);
    assert!(federations.check_signed(&located).await.is_ok());
}

#[tokio::test]
async fn a_signature_by_another_key_or_under_another_manifest_is_refused_by_name() {
    let coordinator = Coordinator::open().await;
    let [acme, bank, _care] = three(&coordinator).await;
    let federations = &coordinator.installation.federations;
    let (located, manifest) =
        federations.create(draft("digits", &["acme", "bank", "care"])).await.unwrap();
    let mut wire = Wire::welcomed(&coordinator, &acme).await;
    let code = |answer| match answer {
        ToClient::Refused(refused) => refused.code.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(code(sign(&mut wire, &bank, &manifest).await), "bad_signature");
    let altered = Manifest { name: "altered".to_owned(), ..manifest };
    assert_eq!(code(sign(&mut wire, &acme, &altered).await), "manifest_changed");
    let error = federations.check_signed(&located).await.unwrap_err();
    assert!(matches!(error, FederationError::NotSigned { .. }), "{error}");
    assert!(error.to_string().contains("acme, bank, care"), "{error}");
}

#[tokio::test]
async fn a_federation_is_nobodys_business_but_its_members() {
    let coordinator = Coordinator::open().await;
    let [_, _, care] = three(&coordinator).await;
    let _second = (coordinator.client("acme").await, coordinator.client("bank").await);
    let federations = &coordinator.installation.federations;
    let (_, manifest) = federations.create(draft("digits", &["acme", "bank"])).await.unwrap();
    let newcomer = coordinator.client("acme").await;
    for client in [&care, &newcomer] {
        let mut wire = Wire::welcomed(&coordinator, client).await;
        wire.send(&ToCoordinator::ListFederations).await;
        let listed = wire.receive().await;
        assert_eq!(listed, Ok(ToClient::Federations(Default::default())), "{:?}", client.peer());
    }
    let mut wire = Wire::welcomed(&coordinator, &care).await;
    let ToClient::Refused(refused) = sign(&mut wire, &care, &manifest).await else {
        panic!("taken");
    };
    assert_eq!(&*refused.code, "not_named");
}

#[tokio::test]
async fn a_draft_that_cannot_work_is_refused_with_its_reason() {
    let coordinator = Coordinator::open().await;
    let federations = &coordinator.installation.federations;
    let error = federations.create(draft("digits", &["acme", "bank"])).await.unwrap_err();
    assert!(matches!(&error, FederationError::NoClients(who) if *who == tenant("acme")));
    let [_, bank, _] = three(&coordinator).await;
    let error = federations.create(draft("digits", &["acme", "bank"])).await.unwrap_err();
    assert_eq!(error.code(), "bad_manifest", "two clients are too few: {error}");
    let mut foreign = draft("digits", &["acme", "bank", "care"]);
    foreign.owner = tenant("other");
    assert_eq!(federations.create(foreign).await.unwrap_err().code(), "owner_not_member");
    let good = draft("digits", &["acme", "bank", "care"]);
    federations.create(good.clone()).await.unwrap();
    assert_eq!(federations.create(good).await.unwrap_err().code(), "name_taken");
    coordinator.server.revoke(&bank.peer()).await.unwrap();
    let error = federations.create(draft("more", &["acme", "bank", "care"])).await.unwrap_err();
    assert!(matches!(&error, FederationError::NoClients(who) if *who == tenant("bank")));
}

#[tokio::test]
async fn an_amendment_takes_members_in_and_out_once_everybody_agrees() {
    let coordinator = Coordinator::open().await;
    let federations = &coordinator.installation.federations;
    let [acme, bank, care] = three(&coordinator).await;
    let _more = (coordinator.client("acme").await, coordinator.client("bank").await);
    let (located, first) = federations.create(draft("digits", &["acme", "bank"])).await.unwrap();
    let leave = |members: &[&str]| Changes {
        members: Some(members.iter().map(|name| tenant(name)).collect()),
        terms: None,
    };
    let early = federations.amend(&located, leave(&["acme", "care"])).await.unwrap_err();
    assert_eq!(early.code(), "not_signed", "there is nothing in force to amend");
    for client in [&acme, &bank] {
        let mut wire = Wire::welcomed(&coordinator, client).await;
        assert!(matches!(sign(&mut wire, client, &first).await, ToClient::SignatureTaken { .. }));
    }
    let same = federations.amend(&located, Changes::default()).await.unwrap_err();
    assert_eq!(same.code(), "nothing_changes");
    let orphaned = federations.amend(&located, leave(&["bank", "care"])).await.unwrap_err();
    assert_eq!(orphaned.code(), "owner_not_member");

    let second = federations.amend(&located, leave(&["acme", "care"])).await.unwrap();
    assert_eq!((second.version, second.predecessor), (1, Some(first.hash())));
    assert!(federations.check_signed(&located).await.is_ok(), "the first is still in force");
    for (client, complete) in [(&care, false), (&bank, false), (&acme, false)] {
        let mut wire = Wire::welcomed(&coordinator, client).await;
        let (shown_complete, shown) = listed(&mut wire).await;
        assert_eq!((shown_complete, &shown.manifest), (complete, &second));
        let earlier = fetch(&mut wire, &first).await;
        assert_eq!(earlier.manifest, first);
        let taken = sign(&mut wire, client, &second).await;
        assert!(matches!(taken, ToClient::SignatureTaken { required: 3, .. }), "{taken:?}");
    }
    let rows = federations.rows(&located);
    assert_eq!(rows.members(second.federation).await.unwrap(), [tenant("acme"), tenant("care")]);
    let mut gone = Wire::welcomed(&coordinator, &bank).await;
    gone.send(&ToCoordinator::ListFederations).await;
    assert_eq!(gone.receive().await, Ok(ToClient::Federations(Default::default())));
}

async fn fetch(wire: &mut Wire, wanted: &Manifest) -> SignedManifest {
    let (federation, manifest) = (wanted.federation, wanted.hash());
    wire.send(&ToCoordinator::FetchManifest { federation, manifest }).await;
    let mut stream = wire.connection.accept_uni().await.unwrap();
    let bytes = stream.read_to_end(MANIFEST_BYTES_MAX).await.unwrap();
    let mut rest = bytes.as_slice();
    codec::FrameReader::new(4096).read(&mut rest).unwrap().unwrap();
    codec::decode(rest, MANIFEST_BYTES_MAX).unwrap()
}

#[tokio::test]
async fn a_signature_that_is_there_already_is_answered_and_leaves_no_trace() {
    let coordinator = Coordinator::open().await;
    let clients = three(&coordinator).await;
    let federations = &coordinator.installation.federations;
    let (_, manifest) =
        federations.create(draft("digits", &["acme", "bank", "care"])).await.unwrap();
    let mut wire = Wire::welcomed(&coordinator, &clients[0]).await;
    let mut lengths = Vec::new();
    for _ in 0..3 {
        let taken = sign(&mut wire, &clients[0], &manifest).await;
        assert_eq!(taken, ToClient::SignatureTaken { signatures: 1, required: 3 });
        lengths.push(audit_length(&coordinator, "care").await);
    }
    assert_eq!(lengths, [lengths[0]; 3], "the log of a member that does nothing");
    let ToClient::Refused(refused) = sign(&mut wire, &clients[1], &manifest).await else {
        panic!("another key's signature was taken for the one that is there");
    };
    assert_eq!(refused.code.as_str(), "bad_signature");
}

async fn audit_length(coordinator: &Coordinator, of: &str) -> usize {
    let store = coordinator.installation.store.tenant(&tenant(of));
    store.audit(0, 1_000).await.unwrap().len()
}
