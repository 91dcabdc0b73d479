//! Enrolment against a coordinator in the same process.

use bytes::Bytes;
use rcgen::{CertificateParams, CertificateSigningRequestParams, Issuer, KeyPair, SanType};
use roundelay_crypto::digest::Digest;
use roundelay_crypto::secret::Secret;
use roundelay_protocol::codec::{encode, frame};
use rustls::pki_types::CertificateSigningRequestDer;

use super::*;
use crate::identity::certificate::Certificate;
use crate::identity::enrolment::load_authority;
use crate::identity::{identity_key, os_rng};
use crate::session::connection::Sending;
use crate::session::memory::network;

/// An authority like a coordinator's.
pub(crate) struct Authority {
    pub(crate) notices: roundelay_crypto::identity::IdentityKey,
    key: KeyPair,
    params: CertificateParams,
    certificate: Vec<u8>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let notices = roundelay_crypto::identity::IdentityKey::random(&mut os_rng());
        let (key, params) = (KeyPair::generate().unwrap(), CertificateParams::default());
        let certificate = params.self_signed(&key).unwrap().der().to_vec();
        Self { notices, key, params, certificate }
    }

    fn token(&self) -> Token {
        Token {
            address: "there:4433".to_owned(),
            authority: authority_fingerprint(&self.certificate),
            secret: Secret::new([9; 32]),
        }
    }

    fn answer(&self, request: &EnrolRequest, tenant: &str) -> EnrolResponse {
        request.verify().unwrap();
        let asked = CertificateSigningRequestDer::from(request.certificate_request.as_slice());
        let asked = CertificateSigningRequestParams::from_der(&asked).unwrap();
        let mut params = CertificateParams::default();
        let client = client_id(&request.identity);
        let uri = format!("spiffe://roundelay/tenant/{tenant}/client/{client}");
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&asked.public_key, &issuer).unwrap().der().to_vec();
        EnrolResponse::Enrolled(Box::new(Enrolled {
            certificate,
            authority: self.certificate.clone(),
            tenant: tenant.parse().unwrap(),
            notice_key: self.notices.public(),
        }))
    }
}

/// Enrols `dir` with `token` at a coordinator that answers as told.
async fn enrol_at(
    dir: &StateDir,
    token: &Token,
    answer: impl FnOnce(&EnrolRequest) -> EnrolResponse,
) -> Result<Enrolee, EnrolError> {
    let (dialer, mut dialled) = network();
    let answering = async {
        let Some(mut there) = dialled.recv().await else { return };
        assert_eq!(there.address, "there:4433");
        let (asked, mut control) = there.control.recv().await.unwrap();
        let mut frames = Frames::new(Box::new(asked), FRAME_BYTES_PREAUTH_MAX);
        let request: EnrolRequest = frames.next().await.unwrap().unwrap();
        let answer = frame(&encode(&answer(&request)), FRAME_BYTES_PREAUTH_MAX).unwrap();
        control.send(Bytes::from(answer)).await.unwrap();
    };
    let enrolling = async {
        let enrolled = enrol_over(&*dialer, dir, token).await;
        drop(dialer);
        enrolled
    };
    tokio::join!(enrolling, answering).0
}

/// A directory that is enrolled for tenant acme.
pub(crate) async fn enrolled(authority: &Authority) -> (tempfile::TempDir, StateDir) {
    let (root, dir) = dir();
    let answer = |request: &EnrolRequest| authority.answer(request, "acme");
    enrol_at(&dir, &authority.token(), answer).await.unwrap();
    (root, dir)
}

fn dir() -> (tempfile::TempDir, StateDir) {
    let root = tempfile::tempdir().unwrap();
    let dir = StateDir::create(root.path()).unwrap();
    (root, dir)
}

#[tokio::test]
async fn a_token_is_exchanged_for_a_certificate_that_names_this_client() {
    let ((_root, dir), authority) = (dir(), Authority::new());
    let token = authority.token();
    let enrolee = enrol_at(&dir, &token, |request| authority.answer(request, "acme")).await;
    let Enrolee { enrolment, client } = enrolee.unwrap();
    assert_eq!(Enrolment::load(&dir).unwrap().unwrap(), enrolment);
    assert_eq!(client, client_id(&identity_key(&dir).unwrap().unwrap().public()));
    Certificate::load(&dir, &enrolment.tenant, client).unwrap();
    let kept = load_authority(&dir, enrolment.authority).unwrap();
    assert_eq!(kept.as_ref(), authority.certificate);
}

#[tokio::test]
async fn a_refused_token_gives_the_coordinators_words_and_can_be_repeated_with_the_same_keys() {
    let ((_root, dir), authority) = (dir(), Authority::new());
    let token = authority.token();
    let words = "the token has expired; ask for a new one";
    let refused =
        enrol_at(&dir, &token, |_| EnrolResponse::Refused(Refused::new("token_expired", words)));
    assert_eq!(refused.await.unwrap_err().to_string(), words);
    assert!(Enrolment::load(&dir).unwrap().is_none());
    let identity = identity_key(&dir).unwrap().unwrap().public();
    enrol_at(&dir, &token, |request| {
        assert_eq!(request.identity, identity);
        authority.answer(request, "acme")
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn enrolling_again_fetches_a_new_certificate_and_keeps_the_keys() {
    let ((_root, dir), authority) = (dir(), Authority::new());
    let token = authority.token();
    let first = enrol_at(&dir, &token, |request| authority.answer(request, "acme")).await.unwrap();
    let again = enrol_at(&dir, &token, |request| authority.answer(request, "acme")).await.unwrap();
    assert_eq!(again.client, first.client);
}

#[tokio::test]
async fn a_token_of_another_coordinator_or_tenant_leaves_the_directory_as_it_was() {
    let ((_root, dir), authority) = (dir(), Authority::new());
    let token = authority.token();
    let before = enrol_at(&dir, &token, |request| authority.answer(request, "acme")).await.unwrap();
    let other = Authority::new();
    let refused = enrol_at(&dir, &other.token(), |_| panic!("nothing is sent there")).await;
    assert!(matches!(refused, Err(EnrolError::OtherCoordinator(_))));
    let refused = enrol_at(&dir, &token, |request| authority.answer(request, "umbrella")).await;
    let words = refused.unwrap_err().to_string();
    assert!(words.contains("tenant umbrella") && words.contains("for acme"), "{words}");
    assert_eq!(Enrolment::load(&dir).unwrap().unwrap(), before.enrolment);
    Certificate::load(&dir, &before.enrolment.tenant, before.client).unwrap();
}

#[tokio::test]
async fn an_answer_with_another_authority_than_the_tokens_is_not_trusted() {
    let ((_root, dir), authority) = (dir(), Authority::new());
    let token = Token { authority: Digest([1; 32]), ..authority.token() };
    let refused = enrol_at(&dir, &token, |request| authority.answer(request, "acme")).await;
    assert!(matches!(refused, Err(EnrolError::OtherAuthority)));
    assert!(Enrolment::load(&dir).unwrap().is_none());
}
