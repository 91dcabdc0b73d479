//! Enrolment over the network: what a token is good for, and for whom.

use std::time::Duration;

use roundelay_crypto::identity::IdentityKey;
use roundelay_crypto::secret::Seed;
use roundelay_protocol::close::CloseCode;
use roundelay_protocol::session::{ALPN_ENROL, EnrolRequest, EnrolResponse};

use super::harness::{Client, Coordinator, Wire, enrol, tenant};
use crate::authority::PeerCertificate;
use crate::config::Limits;
use crate::server::tls;
use crate::store::AuditEvent;

#[tokio::test]
async fn a_token_enrols_a_client_of_its_tenant_with_everything_that_it_pins() {
    let coordinator = Coordinator::open().await;
    let client = Client::new("acme");
    let token = coordinator.token("acme", 60_000).await;
    let enrolled = client.enrol(&coordinator, &token).await.unwrap();
    let named = PeerCertificate::parse(&enrolled.certificate).unwrap();
    assert_eq!(named.peer, client.peer());
    assert_eq!(enrolled.tenant, tenant("acme"));
    assert_eq!(
        enrolled.authority,
        coordinator.installation.clients.authority().certificate().to_vec()
    );
    assert_eq!(enrolled.notice_key, coordinator.installation.notice_key.public());

    let acme = coordinator.installation.store.tenant(&tenant("acme"));
    let kept = acme.client(client.id()).await.unwrap().unwrap();
    assert_eq!(kept.identity, client.identity.public());
    assert_eq!(kept.tenant_key, client.tenant_key.public());
    assert_eq!(kept.certificates[0].serial, named.serial);
    let log = acme.audit(0, 10).await.unwrap();
    let enrolment = |event: &AuditEvent| matches!(event, AuditEvent::ClientEnrolled { .. });
    assert_eq!(log.iter().filter(|item| enrolment(&item.record.event)).count(), 1);
}

#[tokio::test]
async fn a_request_whose_answer_was_lost_is_granted_again_and_another_is_not() {
    let coordinator = Coordinator::open().await;
    let (client, thief) = (Client::new("acme"), Client::new("acme"));
    let token = coordinator.token("acme", 60_000).await;
    let first = client.enrol(&coordinator, &token).await.unwrap();
    let second = client.enrol(&coordinator, &token).await.unwrap();
    assert_ne!(first.certificate, second.certificate, "each has a serial number of its own");
    assert_eq!(thief.enrol(&coordinator, &token).await.unwrap_err(), "token_used");
    let acme = coordinator.installation.store.tenant(&tenant("acme"));
    assert_eq!(acme.clients().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_used_token_does_not_take_another_identity_under_the_same_certificate_key() {
    let coordinator = Coordinator::open().await;
    let client = Client::new("acme");
    let token = coordinator.token("acme", 60_000).await;
    client.enrol(&coordinator, &token).await.unwrap();
    let other = IdentityKey::from_seed(Seed::new([3; 32]));
    let request =
        EnrolRequest::new(&token, None, client.certificate_request(), &other, &client.tenant_key);
    assert_eq!(enrol(&coordinator, &request).await.unwrap_err(), "token_used");
}

#[tokio::test]
async fn expired_and_foreign_tokens_are_refused_by_name() {
    let coordinator = Coordinator::open().await;
    let client = Client::new("acme");
    let expired = coordinator.token("acme", 0).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(client.enrol(&coordinator, &expired).await.unwrap_err(), "token_expired");
    let foreign = Seed::new([9; 32]);
    assert_eq!(client.enrol(&coordinator, &foreign).await.unwrap_err(), "token_unknown");
    let acme = coordinator.installation.store.tenant(&tenant("acme"));
    assert_eq!(acme.clients().await.unwrap(), []);
}

#[tokio::test]
async fn a_client_of_one_tenant_is_not_enrolled_for_another_and_the_token_stays_unused() {
    let coordinator = Coordinator::open().await;
    let enrolled = coordinator.client("acme").await;
    let token = coordinator.token("bank", 60_000).await;
    let request = EnrolRequest::new(
        &token,
        Some(tenant("acme")),
        enrolled.certificate_request(),
        &enrolled.identity,
        &enrolled.tenant_key,
    );
    assert_eq!(enrol(&coordinator, &request).await.unwrap_err(), "token_of_other_tenant");
    let bank = coordinator.installation.store.tenant(&tenant("bank"));
    assert_eq!(bank.clients().await.unwrap(), []);
    assert!(Client::new("bank").enrol(&coordinator, &token).await.is_ok());
}

#[tokio::test]
async fn a_request_that_proves_nothing_leaves_its_token_unused() {
    let coordinator = Coordinator::open().await;
    let client = Client::new("acme");
    let token = coordinator.token("acme", 60_000).await;
    let good = client.request(&token);
    let other = IdentityKey::from_seed(Seed::new([3; 32])).public();
    let unproven = EnrolRequest { identity: other, ..good.clone() };
    assert_eq!(enrol(&coordinator, &unproven).await.unwrap_err(), "bad_proof");
    let no_request =
        EnrolRequest::new(&token, None, vec![1, 2, 3], &client.identity, &client.tenant_key);
    assert_eq!(enrol(&coordinator, &no_request).await.unwrap_err(), "bad_certificate_request");
    assert!(enrol(&coordinator, &good).await.is_ok());
}

#[tokio::test]
async fn clients_of_one_tenant_bring_one_tenant_key() {
    let coordinator = Coordinator::open().await;
    let first = coordinator.client("acme").await;
    let mut second = Client::new("acme");
    second.tenant_key = IdentityKey::from_seed(Seed::new([5; 32]));
    let token = coordinator.token("acme", 60_000).await;
    assert_eq!(second.enrol(&coordinator, &token).await.unwrap_err(), "tenant_key_differs");
    // A tenant that lost its key starts over when its clients are revoked.
    coordinator.server.revoke(&first.peer()).await.unwrap();
    let token = coordinator.token("acme", 60_000).await;
    assert!(second.enrol(&coordinator, &token).await.is_ok());
}

#[tokio::test]
async fn a_revoked_client_does_not_enrol_again_under_the_same_identity() {
    let coordinator = Coordinator::open().await;
    let client = coordinator.client("acme").await;
    coordinator.server.revoke(&client.peer()).await.unwrap();
    let token = coordinator.token("acme", 60_000).await;
    assert_eq!(client.enrol(&coordinator, &token).await.unwrap_err(), "revoked");
}

#[tokio::test]
async fn an_enrolment_that_is_too_long_too_slow_or_garbage_is_closed_with_its_reason() {
    let limits = Limits { hello_ms: 300, frame_ms: 200, ..Limits::default() };
    let coordinator = Coordinator::with(&limits, Duration::from_secs(3600)).await;
    let key = Client::new("acme").tls;
    let cases: [(&[u8], CloseCode); 4] = [
        (&5_000_u32.to_le_bytes(), CloseCode::TooLarge),
        (&[4, 0, 0, 0, 1, 2, 3, 4], CloseCode::Malformed),
        (&[4, 0, 0, 0, 1], CloseCode::TooSlow),
        (&[], CloseCode::TooSlow),
    ];
    for (bytes, expected) in cases {
        let provider = tls::provider();
        let connection = coordinator.connect_as(None, &key, ALPN_ENROL, &provider).await.unwrap();
        let mut wire = Wire::open(connection).await;
        wire.send.write_all(bytes).await.unwrap();
        let closed = wire.receive::<EnrolResponse>().await.unwrap_err();
        assert_eq!(closed, Some(expected), "{bytes:?}");
    }
}
