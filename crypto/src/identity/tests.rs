use rand::SeedableRng;
use rand::rngs::ChaCha12Rng;

use super::*;
use crate::vectors::{list, text};

#[test]
fn ed25519_agrees_with_rfc_8032() {
    for case in list(text!("published/ed25519"), "cases") {
        let key = IdentityKey::from_seed(case.secret("seed"));
        let (message, signature) = (case.bytes("message"), Signature(case.array("signature")));
        assert_eq!(key.public(), IdentityPublic::parse(case.array("public")).unwrap());
        assert_eq!(key.sign(&message), signature);
        assert_eq!(key.public().verify(&message, &signature), Ok(()));
    }
}

#[test]
fn a_signature_fits_one_message_and_one_identity() {
    let mut rng = ChaCha12Rng::seed_from_u64(1);
    let (key, other) = (IdentityKey::random(&mut rng), IdentityKey::random(&mut rng));
    let signature = key.sign(b"survivors");
    assert_eq!(key.public().verify(b"survivors", &signature), Ok(()));
    assert_eq!(key.public().verify(b"survivor", &signature), Err(BadSignature));
    assert_eq!(other.public().verify(b"survivors", &signature), Err(BadSignature));
    for place in 0..64 {
        let mut altered = signature;
        altered.0[place] ^= 1;
        assert_eq!(key.public().verify(b"survivors", &altered), Err(BadSignature), "{place}");
    }
}

/// The order of the group, little endian: s + order verifies in lax implementations.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

#[test]
fn a_malleated_signature_is_refused() {
    let key = IdentityKey::from_seed(Secret::new([3; 32]));
    let mut signature = key.sign(b"once");
    let mut carry = 0;
    for (digit, addend) in signature.0[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*digit) + u16::from(addend) + carry;
        (*digit, carry) = (sum as u8, sum >> 8);
    }
    assert_eq!(carry, 0);
    assert_eq!(key.public().verify(b"once", &signature), Err(BadSignature));
}

#[test]
fn of_signatures_that_are_verified_together_the_first_bad_one_is_named() {
    let keys: Vec<_> =
        (1..=9).map(|byte| IdentityKey::from_seed(Secret::new([byte; 32]))).collect();
    let identities: Vec<_> = keys.iter().map(IdentityKey::public).collect();
    let message = |place: usize| vec![place as u8; 100 + place];
    let signatures: Vec<_> =
        keys.iter().enumerate().map(|(place, key)| key.sign(&message(place))).collect();
    let first_bad_of = |signatures: &[Signature]| {
        let signed = identities.iter().zip(signatures).enumerate();
        let signed: Vec<_> =
            signed.map(|(place, (identity, one))| (identity, message(place), one)).collect();
        first_bad(&signed)
    };
    assert_eq!(first_bad_of(&signatures), None);
    assert_eq!(first_bad_of(&[]), None);
    for place in 0..9 {
        let mut altered = signatures.clone();
        altered[place].0[7] ^= 1;
        altered[8].0[40] ^= 1;
        assert_eq!(first_bad_of(&altered), Some(place));
        // One that is valid, of another.
        let mut swapped = signatures.clone();
        swapped.swap(place, 8);
        assert_eq!(first_bad_of(&swapped), (place != 8).then_some(place));
    }
}

#[test]
fn small_order_unreduced_and_impossible_points_are_no_identities() {
    let mut identity = [0; 32];
    identity[0] = 1;
    let mut unreduced_identity = [0xff; 32];
    (unreduced_identity[0], unreduced_identity[31]) = (0xee, 0x7f);
    let mut unreduced_three = [0xff; 32];
    (unreduced_three[0], unreduced_three[31]) = (0xf0, 0x7f);
    let mut negative_zero = identity;
    negative_zero[31] = 0x80;
    let mut no_point = [0; 32];
    no_point[0] = 2;
    for bytes in [[0; 32], identity, unreduced_identity, unreduced_three, negative_zero, no_point] {
        assert_eq!(IdentityPublic::parse(bytes), Err(BadIdentity), "{}", hex::encode(bytes));
    }
}

#[test]
fn an_identity_comes_back_from_its_stored_seed() {
    let key = IdentityKey::random(&mut ChaCha12Rng::seed_from_u64(2));
    let stored = Secret::new(*key.seed().expose());
    assert_eq!(IdentityKey::from_seed(stored).public(), key.public());
}

#[test]
fn fingerprints_tell_identities_apart_and_debug_shows_them() {
    let [one, two] = [1, 2].map(|byte| IdentityKey::from_seed(Secret::new([byte; 32])).public());
    assert_ne!(one.fingerprint(), two.fingerprint());
    assert!(format!("{one:?}").contains(&one.fingerprint().to_string()));
    assert_eq!(one.cmp(&two), one.as_bytes().cmp(two.as_bytes()));
}
