//! Public values in serde: fixed numbers of bytes without a length, and nothing invalid comes in.

use roundelay_crypto::agreement::{AgreementPublic, AgreementSecret, KemCiphertext, encapsulate};
use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::{IdentityKey, IdentityPublic, Signature};
use roundelay_crypto::secret::Secret;
use roundelay_crypto::tree::{PATH_STEPS_MAX, Path, path};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, from_value, to_value};

fn comes_back<T: Serialize + DeserializeOwned + PartialEq>(value: &T, bytes: usize) {
    let json = to_value(value).unwrap();
    assert_eq!(json.as_array().unwrap().len(), bytes);
    assert!(from_value::<T>(json.clone()).unwrap() == *value);
    let mut longer = json.clone();
    longer.as_array_mut().unwrap().push(Value::from(0));
    assert!(from_value::<T>(longer).is_err(), "a byte too many");
    let mut shorter = json;
    shorter.as_array_mut().unwrap().pop();
    assert!(from_value::<T>(shorter).is_err(), "a byte too few");
}

fn keys() -> (AgreementSecret, AgreementSecret) {
    let key = |byte| AgreementSecret::derive(&Secret::new([byte; 32]), "mask");
    (key(1), key(2))
}

#[test]
fn public_values_are_their_bytes_and_come_back() {
    let identity = IdentityKey::from_seed(Secret::new([1; 32]));
    comes_back(&Digest::of("x", &[]), 32);
    comes_back(&identity.public(), 32);
    comes_back(&identity.sign(b"x"), 64);
    let (low, high) = keys();
    comes_back(high.public(), AgreementPublic::BYTES);
    let (ciphertext, _) = encapsulate(&low, high.public(), &Secret::new([3; 32])).ok().unwrap();
    comes_back(&ciphertext, KemCiphertext::BYTES);
    let bytes: Vec<u8> = from_value(to_value(high.public()).unwrap()).unwrap();
    assert_eq!(bytes, high.public().to_bytes().as_slice());
}

#[test]
fn an_identity_that_is_no_point_does_not_come_in() {
    let error = from_value::<IdentityPublic>(to_value([0_u8; 32]).unwrap()).unwrap_err();
    assert!(error.to_string().contains("Ed25519"), "{error}");
    // Any 64 bytes are a signature until it is verified.
    let signature = Signature([0xff; 64]);
    assert_eq!(from_value::<Signature>(to_value(signature).unwrap()).unwrap(), signature);
}

#[test]
fn an_agreement_key_outside_the_field_does_not_come_in() {
    let mut json = to_value(keys().0.public()).unwrap();
    json[32] = Value::from(0xff);
    json[33] = Value::from(0xff);
    let error = from_value::<AgreementPublic>(json).unwrap_err();
    assert!(error.to_string().contains("ML-KEM"), "{error}");
}

#[test]
fn a_path_comes_back_but_not_with_more_steps_than_any_list_needs() {
    let leaves = [Digest([1; 32]), Digest([2; 32]), Digest([3; 32])];
    let path = path(&leaves, 1).unwrap();
    assert_eq!(from_value::<Path>(to_value(&path).unwrap()).unwrap(), path);
    let steps = vec![[0_u8; 32]; PATH_STEPS_MAX + 1];
    assert!(from_value::<Path>(to_value(steps).unwrap()).is_err());
}
