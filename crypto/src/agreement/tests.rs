use ml_kem::kem::{Decapsulate, KeyExport};
use ml_kem::ml_kem_768;
use proptest::prelude::*;

use super::*;
use crate::vectors::{list, slices, text};

fn with_scalar(scalar: &Seed) -> AgreementSecret {
    AgreementSecret::from_halves(scalar, &Secret::new([9; 64]))
}

fn with_x25519(u: [u8; 32]) -> AgreementPublic {
    let template = with_scalar(&Secret::new([8; 32]));
    AgreementPublic { x25519: u, kem: template.public.kem.clone() }
}

#[test]
fn x25519_agrees_with_rfc_7748() {
    for case in list(text!("published/x25519"), "cases") {
        let own = with_scalar(&case.secret("scalar"));
        let shared = own.exchange(&with_x25519(case.array("u"))).ok().unwrap();
        assert_eq!(shared.0.expose(), &case.array("result"));
        let portable = own.x25519.exchange_portably(&case.array("u")).unwrap();
        assert_eq!(portable.expose(), &case.array("result"));
    }
    // The two sides of section 6.1 also name their public keys.
    for case in list(text!("published/x25519"), "cases").iter().skip(2) {
        assert_eq!(with_scalar(&case.secret("scalar")).public.x25519, case.array("public"));
    }
}

#[test]
fn ml_kem_keys_agree_with_the_vectors_of_fips_203() {
    for case in list(text!("published/ml_kem_768"), "key_generation") {
        let d_and_z: Vec<u8> = [case.bytes("d"), case.bytes("z")].concat();
        let d_and_z = Secret::from_slice(&d_and_z).unwrap();
        let secret = AgreementSecret::from_halves(&Secret::new([7; 32]), &d_and_z);
        assert_eq!(
            secret.public.kem.as_bytes().as_slice(),
            case.bytes("ek"),
            "case {}",
            case.number("tcId")
        );
    }
}

#[test]
fn ml_kem_encapsulation_agrees_with_the_vectors_of_fips_203() {
    let own = with_scalar(&Secret::new([7; 32]));
    for case in list(text!("published/ml_kem_768"), "encapsulation") {
        let x25519 = with_scalar(&Secret::new([6; 32])).public.x25519;
        let peer =
            AgreementPublic { x25519, kem: EncapsulationKey::parse(&case.array("ek")).unwrap() };
        let (ciphertext, secret) = encapsulate(&own, &peer, &case.secret("m")).ok().unwrap();
        assert_eq!(ciphertext.as_bytes().as_slice(), case.bytes("c"), "{}", case.number("tcId"));
        assert_eq!(secret.0.expose()[32..], case.bytes("k"), "case {}", case.number("tcId"));
    }
}

#[test]
fn the_hybrid_agrees_with_an_independent_implementation() {
    for case in list(text!("frozen/agreement"), "cases") {
        let label = case.text("key_label");
        let [low, high] = [0, 1].map(|side| {
            let seed = Secret::from_slice(&case.byte_lists("seeds")[side]).unwrap();
            let key = AgreementSecret::derive(&seed, label);
            assert_eq!(key.public().to_bytes().as_slice(), case.byte_lists("publics")[side]);
            key
        });
        let (label, context) = (case.text("pair_label"), case.byte_lists("context"));
        let seed = |secret: HybridSecret| secret.pair_seed(label, &slices(&context));

        let sent = encapsulate(&low, high.public(), &case.secret("message"));
        let (ciphertext, secret) = sent.ok().unwrap();
        assert_eq!(ciphertext.as_bytes().as_slice(), case.bytes("ciphertext"));
        assert_eq!(seed(secret).expose(), &case.array("pair_seed"));

        let received = decapsulate(&high, low.public(), &ciphertext).ok().unwrap();
        assert_eq!(seed(received).expose(), &case.array("pair_seed"));

        let mut altered = ciphertext.clone();
        altered.0[0] ^= 1;
        let rejected = decapsulate(&high, low.public(), &altered).ok().unwrap();
        assert_eq!(seed(rejected).expose(), &case.array("pair_seed_of_altered_ciphertext"));
    }
}

#[test]
fn points_of_small_order_are_refused_on_both_sides() {
    let points =
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/published/x25519.json"));
    let points: serde_json::Value = serde_json::from_str(points).unwrap();
    let points: Vec<String> = serde_json::from_value(points["low_order"].clone()).unwrap();
    assert_eq!(points.len(), 7);
    let own = with_scalar(&Secret::new([7; 32]));
    let ciphertext = KemCiphertext::new(Box::new([0; KemCiphertext::BYTES]));
    for point in points {
        let mut u: [u8; 32] = hex::decode(&point).unwrap().try_into().unwrap();
        let peer = with_x25519(u);
        assert_eq!(AgreementPublic::parse(&peer.to_bytes()), Err(AgreementError::LowOrder));
        u[31] |= 0x80;
        let respelt = with_x25519(u).to_bytes();
        assert_eq!(AgreementPublic::parse(&respelt), Err(AgreementError::LowOrder));
        let sent = encapsulate(&own, &peer, &Secret::new([1; 32]));
        assert_eq!(sent.err(), Some(AgreementError::LowOrder), "{point}");
        let received = decapsulate(&own, &peer, &ciphertext);
        assert_eq!(received.err(), Some(AgreementError::LowOrder), "{point}");
    }
}

proptest! {
    #[test]
    fn both_libraries_of_x25519_give_the_same_for_any_scalar_and_point(
        scalar: [u8; 32],
        point: [u8; 32],
        is_unreduced: bool,
    ) {
        let own = SecretScalar::new(&Secret::new(scalar));
        let mut point = point;
        if is_unreduced {
            // From 2^255 - 19 on, below the highest bit, which is not read.
            point[1..31].fill(0xff);
            point[0] |= 0xed;
            point[31] |= 0x7f;
        }
        let (one, other) = (own.exchange(&point), own.exchange_portably(&point));
        prop_assert_eq!(one.as_ref().map(Secret::expose), other.as_ref().map(Secret::expose));
    }
}

#[test]
fn an_encapsulation_key_with_a_coefficient_outside_the_field_is_refused() {
    let mut bytes = with_scalar(&Secret::new([7; 32])).public().to_bytes();
    assert!(AgreementPublic::parse(&bytes).is_ok());
    // The first coefficient becomes 3329, which is zero written unreduced.
    (bytes[32], bytes[33]) = (0x01, bytes[33] & 0xf0 | 0x0d);
    assert_eq!(AgreementPublic::parse(&bytes), Err(AgreementError::BadKey));
}

#[test]
fn every_coefficient_is_held_against_the_field_as_another_implementation_does() {
    let valid = with_scalar(&Secret::new([7; 32])).public().to_bytes();
    for place in 0..768 {
        for value in [0_u16, 3328, 3329, 4095] {
            let mut bytes = valid.clone();
            let at = 32 + place / 2 * 3;
            let [low, high] = value.to_le_bytes();
            if place % 2 == 0 {
                (bytes[at], bytes[at + 1]) = (low, bytes[at + 1] & 0xf0 | high);
            } else {
                bytes[at + 1] = bytes[at + 1] & 0x0f | low << 4;
                bytes[at + 2] = low >> 4 | high << 4;
            }
            let kem: [u8; kem::KEY_BYTES] = bytes[32..].try_into().unwrap();
            let theirs = ml_kem_768::EncapsulationKey::new(&kem.into()).is_ok();
            assert_eq!(theirs, value < 3329, "{place} {value}");
            assert_eq!(AgreementPublic::parse(&bytes).is_ok(), theirs, "{place} {value}");
        }
    }
}

#[test]
fn one_exchange_serves_both_directions_of_a_pair() {
    let (one, other) = (with_scalar(&Secret::new([7; 32])), with_scalar(&Secret::new([8; 32])));
    let (ours, theirs) =
        (one.exchange(other.public()).ok().unwrap(), other.exchange(one.public()).ok().unwrap());
    let (ciphertext, sent) = encapsulate_after(&ours, other.public(), &Secret::new([1; 32]));
    let received = decapsulate_after(&theirs, &other, &ciphertext);
    let plainly = decapsulate(&other, one.public(), &ciphertext).ok().unwrap();
    let seed = |secret: &HybridSecret| *secret.pair_seed("test", &[]).expose();
    assert_eq!(seed(&sent), seed(&received));
    assert_eq!(seed(&sent), seed(&plainly));
}

#[test]
fn keys_of_one_seed_with_distinct_labels_have_nothing_in_common() {
    let seed = Secret::new([4; 32]);
    let [mask, boxes] = ["mask", "box"].map(|label| AgreementSecret::derive(&seed, label));
    assert_ne!(mask.public().x25519, boxes.public().x25519);
    assert!(mask.public().kem != boxes.public().kem);
    assert_eq!(AgreementSecret::derive(&seed, "mask").public(), mask.public());
}

#[test]
fn a_third_party_and_another_context_get_other_pair_seeds() {
    let [low, high, third] =
        [1, 2, 3].map(|byte| AgreementSecret::derive(&Secret::new([byte; 32]), "mask"));
    let sent = encapsulate(&low, high.public(), &Secret::new([5; 32]));
    let (ciphertext, secret) = sent.ok().unwrap();
    let seed = secret.pair_seed("pair", &[b"model 1"]);
    assert!(!seed.ct_eq(&secret.pair_seed("pair", &[b"model 2"])));
    for (own, peer) in [(&third, &low), (&high, &third)] {
        let other = decapsulate(own, peer.public(), &ciphertext).ok().unwrap();
        assert!(!seed.ct_eq(&other.pair_seed("pair", &[b"model 1"])));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn keys_ciphertexts_and_secrets_are_those_of_another_implementation(
        d_and_z: [[u8; 32]; 2], message: [u8; 32], flipped in 0..kem::CIPHERTEXT_BYTES,
    ) {
        let d_and_z: [u8; 64] = d_and_z.concat().try_into().unwrap();
        let (ours, public) = DecapsulationKey::from_seed(&Secret::new(d_and_z));
        let theirs = ml_kem_768::DecapsulationKey::from_seed(d_and_z.into());
        let their_public = theirs.encapsulation_key();
        let their_bytes = their_public.to_bytes();
        prop_assert_eq!(public.as_bytes().as_slice(), their_bytes.as_slice());

        let (mut ciphertext, secret) = public.encapsulate(&Secret::new(message));
        let (their_ciphertext, their_secret) =
            their_public.encapsulate_deterministic(&message.into());
        prop_assert_eq!(ciphertext.as_slice(), their_ciphertext.as_slice());
        prop_assert_eq!(secret.as_slice(), their_secret.as_slice());
        prop_assert_eq!(&ours.decapsulate(&ciphertext), &secret);

        ciphertext[flipped] ^= 1;
        let rejected = ours.decapsulate(&ciphertext);
        prop_assert_ne!(&rejected, &secret);
        let their_rejected = theirs.decapsulate(&(*ciphertext).into());
        prop_assert_eq!(rejected.as_slice(), their_rejected.as_slice());
    }
}
