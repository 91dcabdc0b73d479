use rand::SeedableRng;
use rand::rngs::ChaCha12Rng;

use super::*;
use crate::vectors::{Played, list, text};

const PLACE: Place<'static> =
    Place { tenant: b"t1", table: "rounds", row: b"7", column: "sum", version: 2 };

fn key(byte: u8) -> KeyEncryptionKey {
    KeyEncryptionKey::new(Secret::new([byte; 32]))
}

#[test]
fn an_envelope_agrees_with_an_independent_implementation() {
    for case in list(text!("frozen/envelope"), "cases") {
        let key = KeyEncryptionKey::new(case.secret("key_encryption_key"));
        let place = Place {
            tenant: case.text("tenant").as_bytes(),
            table: case.text("table"),
            row: case.text("row").as_bytes(),
            column: case.text("column"),
            version: case.number("version"),
        };
        let mut rng = Played(case.bytes("randomness").into());
        let envelope = key.seal(&place, &case.bytes("value"), &mut rng);
        assert_eq!(envelope, case.bytes("envelope"));
        let opened = key.open(&place, &envelope).ok().unwrap();
        assert_eq!(opened.expose(), &case.bytes("value"));
    }
}

#[test]
fn an_envelope_opens_at_its_own_place_alone() {
    let envelope = key(1).seal(&PLACE, b"value", &mut ChaCha12Rng::seed_from_u64(1));
    assert_eq!(envelope.len(), 5 + ENVELOPE_OVERHEAD_BYTES);
    assert!(key(1).open(&PLACE, &envelope).is_ok());
    let elsewhere = [
        Place { tenant: b"t2", ..PLACE },
        Place { table: "models", ..PLACE },
        Place { row: b"8", ..PLACE },
        Place { column: "set", ..PLACE },
        Place { version: 1, ..PLACE },
        Place { tenant: b"t1r", table: "ounds", ..PLACE },
    ];
    for place in elsewhere {
        assert_eq!(key(1).open(&place, &envelope).err(), Some(OpenError), "{place:?}");
    }
    assert_eq!(key(2).open(&PLACE, &envelope).err(), Some(OpenError));
}

#[test]
fn an_envelope_altered_or_cut_short_anywhere_does_not_open() {
    let envelope = key(1).seal(&PLACE, b"value", &mut ChaCha12Rng::seed_from_u64(1));
    for place in 0..envelope.len() {
        let mut altered = envelope.clone();
        altered[place] ^= 1;
        assert_eq!(key(1).open(&PLACE, &altered).err(), Some(OpenError), "byte {place}");
        assert_eq!(key(1).open(&PLACE, &envelope[..place]).err(), Some(OpenError));
    }
}

#[test]
fn one_value_sealed_twice_looks_different_and_parts_do_not_mix() {
    let mut rng = ChaCha12Rng::seed_from_u64(1);
    let [one, two] = [(); 2].map(|()| key(1).seal(&PLACE, b"value", &mut rng));
    assert_ne!(one, two);
    let mixed = [&one[..WRAPPED_BYTES], &two[WRAPPED_BYTES..]].concat();
    assert_eq!(key(1).open(&PLACE, &mixed).err(), Some(OpenError));
}

#[test]
fn rewrapping_moves_a_value_to_another_key_without_touching_it() {
    let mut rng = ChaCha12Rng::seed_from_u64(1);
    let old = key(1).seal(&PLACE, b"value", &mut rng);
    let new = key(1).rewrap(&key(2), &PLACE, &old, &mut rng).ok().unwrap();
    assert_eq!(old[WRAPPED_BYTES..], new[WRAPPED_BYTES..]);
    assert_eq!(key(2).open(&PLACE, &new).ok().unwrap().expose(), b"value");
    assert!(key(1).open(&PLACE, &new).is_err());
    assert!(key(2).rewrap(&key(1), &PLACE, &old, &mut rng).is_err());
}
