use super::*;
use crate::vectors::{list, slices, text};

#[test]
fn hkdf_agrees_with_rfc_5869() {
    for case in list(text!("published/hkdf_sha256"), "cases") {
        let output: Secret<[u8; 42]> = expand(&case.bytes("material"), &case.bytes("info"));
        assert_eq!(output.expose(), &case.array("output"));
    }
}

#[test]
fn labels_and_contexts_agree_with_an_independent_implementation() {
    for case in list(text!("frozen/kdf"), "cases") {
        let (key, context) = (case.secret("key"), case.byte_lists("context"));
        let short: Secret<[u8; 32]> = derive(&key, case.text("label"), &slices(&context));
        let long: Secret<[u8; 64]> = derive(&key, case.text("label"), &slices(&context));
        assert_eq!(short.expose(), &case.array("output_32"));
        assert_eq!(long.expose(), &case.array("output_64"));
    }
}

#[test]
fn another_key_label_or_context_gives_another_key() {
    let (one, two) = (Secret::new([1; 32]), Secret::new([2; 32]));
    let keys: [Seed; 6] = [
        derive(&one, "a", &[b"bc"]),
        derive(&two, "a", &[b"bc"]),
        derive(&one, "ab", &[b"c"]),
        derive(&one, "a", &[b"b", b"c"]),
        derive(&one, "a", &[]),
        derive(&one, "a", &[b""]),
    ];
    for (place, key) in keys.iter().enumerate() {
        assert!(keys[..place].iter().all(|other| !key.ct_eq(other)), "key {place}");
    }
}
