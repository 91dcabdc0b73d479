use super::*;
use crate::vectors::{list, slices, text};

#[test]
fn aes_256_gcm_agrees_with_the_vectors_of_nist() {
    for case in list(text!("published/aes_256_gcm"), "cases") {
        let (key, nonce, aad) = (case.secret("key"), case.array("nonce"), case.bytes("aad"));
        let sealed = [case.bytes("ciphertext"), case.bytes("tag")].concat();
        assert_eq!(encrypt(&key, nonce, &aad, &case.bytes("plaintext")), sealed);
        let opened = decrypt(&key, nonce, &aad, &sealed).ok().unwrap();
        assert_eq!(opened.expose(), &case.bytes("plaintext"));
    }
}

#[test]
fn boxes_agree_with_an_independent_implementation() {
    for case in list(text!("frozen/sealed"), "cases") {
        let (key, nonce) = (case.secret("key"), case.array("nonce"));
        let (aad, plaintext) = (case.byte_lists("aad"), case.bytes("plaintext"));
        assert_eq!(seal(&key, nonce, &slices(&aad), &plaintext), case.bytes("sealed"));
        assert_eq!(seal_once(&key, &slices(&aad), &plaintext), case.bytes("sealed_once"));
        let opened = open_once(&key, &slices(&aad), &case.bytes("sealed_once")).ok().unwrap();
        assert_eq!(opened.expose(), &plaintext);
    }
}

#[test]
fn a_box_opens_only_whole_with_its_key_its_nonce_and_its_place() {
    let (key, other) = (Secret::new([1; 32]), Secret::new([2; 32]));
    let aad: &[&[u8]] = &[b"sender", b"receiver"];
    let sealed = seal(&key, [3; 12], aad, b"shares");
    assert!(open(&key, [3; 12], aad, &sealed).is_ok());
    assert!(open(&other, [3; 12], aad, &sealed).is_err());
    assert!(open(&key, [4; 12], aad, &sealed).is_err());
    assert!(open(&key, [3; 12], &[b"receiver", b"sender"], &sealed).is_err());
    assert!(open(&key, [3; 12], &[b"senderr", b"eceiver"], &sealed).is_err());
    for place in 0..sealed.len() {
        let mut altered = sealed.clone();
        altered[place] ^= 1;
        assert_eq!(open(&key, [3; 12], aad, &altered).err(), Some(OpenError), "byte {place}");
        assert_eq!(open(&key, [3; 12], aad, &sealed[..place]).err(), Some(OpenError));
    }
}
