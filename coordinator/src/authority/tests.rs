use std::sync::Arc;

use proptest::prelude::*;
use roundelay_protocol::ids::ClientId;
use rustls::RootCertStore;
use rustls::pki_types::UnixTime;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use super::*;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000)
}

fn peer() -> Peer {
    let client = ClientId(Digest::of("test/client", &[]));
    Peer { tenant: "acme".parse().unwrap(), client }
}

fn request(key: &KeyPair) -> Vec<u8> {
    CertificateParams::default().serialize_request(key).unwrap().der().to_vec()
}

fn verifier(authority: &Authority) -> Arc<dyn ClientCertVerifier> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap()
}

fn verifies(authority: &Authority, certificate: &CertificateDer<'_>, at: SystemTime) -> bool {
    let at = UnixTime::since_unix_epoch(at.duration_since(SystemTime::UNIX_EPOCH).unwrap());
    verifier(authority).verify_client_cert(certificate, &[], at).is_ok()
}

fn issued(authority: &Authority) -> Issued {
    let key = KeyPair::generate().unwrap();
    let request = CertificateRequest::parse(&request(&key)).unwrap();
    authority.certify_client(&request, &peer(), now(), CLIENT_LIFE).unwrap()
}

#[test]
fn a_client_certificate_names_its_tenant_and_client_and_verifies_for_its_life_only() {
    let authority = Authority::create(now()).unwrap();
    let issued = issued(&authority);
    let read = PeerCertificate::parse(&issued.certificate).unwrap();
    assert_eq!(read.peer, peer());
    assert_eq!(read.serial, issued.serial);
    assert_eq!(read.not_after, now() + CLIENT_LIFE);
    let minute = Duration::from_secs(60);
    assert!(verifies(&authority, &issued.certificate, now()));
    assert!(verifies(&authority, &issued.certificate, now() - minute));
    assert!(verifies(&authority, &issued.certificate, now() + CLIENT_LIFE - minute));
    assert!(!verifies(&authority, &issued.certificate, now() + CLIENT_LIFE + minute));
    assert!(!verifies(&authority, &issued.certificate, now() - CLOCK_SKEW - minute));
}

#[test]
fn a_certificate_of_another_authority_does_not_verify() {
    let (ours, theirs) = (Authority::create(now()).unwrap(), Authority::create(now()).unwrap());
    assert!(!verifies(&ours, &issued(&theirs).certificate, now()));
    assert_ne!(ours.fingerprint(), theirs.fingerprint());
}

#[test]
fn the_coordinators_certificate_is_no_clients_certificate() {
    let authority = Authority::create(now()).unwrap();
    let server = authority.certify_server(now()).unwrap();
    assert!(!verifies(&authority, &server.chain[0], now()));
    assert_eq!(PeerCertificate::parse(&server.chain[0]), Err(BadPeer));
    assert_eq!(PeerCertificate::parse(authority.certificate()), Err(BadPeer));
}

#[test]
fn an_authority_survives_the_store() {
    let made = Authority::create(now()).unwrap();
    let kept = Authority::from_secret(&made.to_secret()).unwrap();
    assert_eq!(kept.fingerprint(), made.fingerprint());
    assert!(verifies(&made, &issued(&kept).certificate, now()));
    for cut in [0, 3, 4, 100] {
        let bytes = made.to_secret().expose()[..cut].to_vec();
        assert!(Authority::from_secret(&Secret::new(bytes)).is_err());
    }
}

#[test]
fn renewals_of_one_key_have_serial_numbers_of_their_own() {
    let authority = Authority::create(now()).unwrap();
    let request = request(&KeyPair::generate().unwrap());
    let request = CertificateRequest::parse(&request).unwrap();
    let one = authority.certify_client(&request, &peer(), now(), CLIENT_LIFE).unwrap();
    let two = authority.certify_client(&request, &peer(), now(), CLIENT_LIFE).unwrap();
    assert_ne!(one.serial, two.serial);
    assert_eq!(one.serial.len(), 16);
}

#[test]
fn what_a_request_asks_for_beyond_its_key_is_ignored() {
    let authority = Authority::create(now()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut greedy = CertificateParams::new(vec!["other.example.org".to_owned()]).unwrap();
    greedy.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    greedy
        .subject_alt_names
        .push(SanType::URI("spiffe://roundelay/tenant/other/client/0".try_into().unwrap()));
    let request = greedy.serialize_request(&key).unwrap().der().to_vec();
    let request = CertificateRequest::parse(&request).unwrap();
    let issued = authority.certify_client(&request, &peer(), now(), CLIENT_LIFE).unwrap();
    assert_eq!(PeerCertificate::parse(&issued.certificate).unwrap().peer, peer());
}

#[test]
fn a_request_needs_the_proof_that_its_key_is_held() {
    let mut der = request(&KeyPair::generate().unwrap());
    assert!(CertificateRequest::parse(&der).is_ok());
    let last = der.len() - 1;
    der[last] ^= 1;
    assert_eq!(CertificateRequest::parse(&der).err(), Some(BadRequest::Malformed));
    let long = vec![0; 3000];
    assert_eq!(CertificateRequest::parse(&long).err(), Some(BadRequest::TooLong { bytes: 3000 }));
    let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    assert_eq!(CertificateRequest::parse(&request(&p384)).err(), Some(BadRequest::KeyKind));
    let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    assert!(CertificateRequest::parse(&request(&ed25519)).is_ok());
}

#[test]
fn names_that_are_not_exactly_a_client_are_refused() {
    let authority = Authority::create(now()).unwrap();
    let good = peer().uri();
    let upper = good.replace(&peer().client.to_string(), &peer().client.to_string().to_uppercase());
    let bad = [
        upper,
        good.replace("acme", "Acme"),
        good.replace("spiffe", "https"),
        good.replace("/client/", "/"),
        format!("{good}/x"),
        format!("{good}0"),
    ];
    for uri in bad {
        let key = KeyPair::generate().unwrap();
        let (mut params, _) = params("x", now(), CLIENT_LIFE).unwrap();
        params.subject_alt_names = vec![SanType::URI(uri.as_str().try_into().unwrap())];
        let certificate = params.signed_by(&key, &authority.issuer).unwrap();
        assert_eq!(PeerCertificate::parse(certificate.der()), Err(BadPeer), "{uri}");
    }
    let key = KeyPair::generate().unwrap();
    let (mut params, _) = params("x", now(), CLIENT_LIFE).unwrap();
    let uri = SanType::URI(good.as_str().try_into().unwrap());
    params.subject_alt_names = vec![uri.clone(), uri];
    let certificate = params.signed_by(&key, &authority.issuer).unwrap();
    assert_eq!(PeerCertificate::parse(certificate.der()), Err(BadPeer), "two names");
}

proptest! {
    #[test]
    fn no_bytes_make_the_certificate_parsers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = PeerCertificate::parse(&bytes);
        let _ = CertificateRequest::parse(&bytes);
    }

    #[test]
    fn no_altered_byte_makes_the_certificate_parsers_panic(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut der = request(&KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap());
        let at = at.index(der.len());
        der[at] = to;
        let _ = CertificateRequest::parse(&der);
    }
}
