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
fn wrapped_keys_and_values_agree_with_an_independent_implementation() {
    for case in list(text!("frozen/envelope"), "cases") {
        let wrapping = KeyEncryptionKey::new(case.secret("key_encryption_key"));
        let place = Place {
            tenant: case.text("tenant").as_bytes(),
            table: case.text("table"),
            row: case.text("row").as_bytes(),
            column: case.text("column"),
            version: case.number("version"),
        };
        let mut rng = Played(case.bytes("randomness").into());
        let key = DataKey::random(&mut rng);
        let wrapped = wrapping.wrap(&place, &key, &mut rng);
        assert_eq!(wrapped, case.bytes("wrapped"));
        let sealed = key.seal(&place, &case.bytes("value"), &mut rng);
        assert_eq!(sealed, case.bytes("sealed"));
        let unwrapped = wrapping.unwrap(&place, &wrapped).ok().unwrap();
        assert_eq!(unwrapped.open(&place, &sealed).ok().unwrap().expose(), &case.bytes("value"));
    }
}

const ELSEWHERE: [Place<'static>; 6] = [
    Place { tenant: b"t2", ..PLACE },
    Place { table: "models", ..PLACE },
    Place { row: b"8", ..PLACE },
    Place { column: "set", ..PLACE },
    Place { version: 1, ..PLACE },
    Place { tenant: b"t1r", table: "ounds", ..PLACE },
];

#[test]
fn values_and_wrapped_keys_open_at_their_own_place_alone() {
    let mut rng = ChaCha12Rng::seed_from_u64(1);
    let data_key = DataKey::random(&mut rng);
    let wrapped = key(1).wrap(&PLACE, &data_key, &mut rng);
    let sealed = data_key.seal(&PLACE, b"value", &mut rng);
    assert!(data_key.open(&PLACE, &sealed).is_ok());
    assert!(key(1).unwrap(&PLACE, &wrapped).is_ok());
    for place in ELSEWHERE {
        assert_eq!(data_key.open(&place, &sealed).err(), Some(OpenError), "{place:?}");
        assert_eq!(key(1).unwrap(&place, &wrapped).err(), Some(OpenError), "{place:?}");
    }
    assert_eq!(key(2).unwrap(&PLACE, &wrapped).err(), Some(OpenError));
    assert_eq!(DataKey::random(&mut rng).open(&PLACE, &sealed).err(), Some(OpenError));
}

#[test]
fn what_is_altered_or_cut_short_anywhere_does_not_open() {
    let mut rng = ChaCha12Rng::seed_from_u64(1);
    let data_key = DataKey::random(&mut rng);
    let wrapped = key(1).wrap(&PLACE, &data_key, &mut rng);
    let sealed = data_key.seal(&PLACE, b"value", &mut rng);
    let altered = |bytes: &[u8], place: usize| {
        let mut bytes = bytes.to_vec();
        bytes[place] ^= 1;
        bytes
    };
    for place in 0..sealed.len() {
        assert!(data_key.open(&PLACE, &altered(&sealed, place)).is_err(), "byte {place}");
        assert!(data_key.open(&PLACE, &sealed[..place]).is_err(), "{place} bytes");
    }
    for place in 0..wrapped.len() {
        assert!(key(1).unwrap(&PLACE, &altered(&wrapped, place)).is_err(), "byte {place}");
        assert!(key(1).unwrap(&PLACE, &wrapped[..place]).is_err(), "{place} bytes");
    }
}

#[test]
fn a_sealed_value_is_no_wrapped_key_even_under_one_key_and_place() {
    let mut rng = ChaCha12Rng::seed_from_u64(1);
    let same = DataKey(Secret::new([1; 32]));
    let sealed = same.seal(&PLACE, &[7; 32], &mut rng);
    assert_eq!(key(1).unwrap(&PLACE, &sealed).err(), Some(OpenError));
}

#[test]
fn one_value_sealed_twice_looks_different() {
    let mut rng = ChaCha12Rng::seed_from_u64(1);
    let data_key = DataKey::random(&mut rng);
    let [one, two] = [(); 2].map(|()| data_key.seal(&PLACE, b"value", &mut rng));
    assert_ne!(one, two);
}

#[test]
fn a_value_opened_in_place_is_the_value_and_what_is_refused_stays_as_it_was() {
    let mut rng = ChaCha12Rng::seed_from_u64(5);
    let key = DataKey::random(&mut rng);
    for length in [0, 1, 100_000] {
        let value: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        let sealed = key.seal(&PLACE, &value, &mut rng);
        let mut opened = sealed.clone();
        assert_eq!(key.open_in_place(&PLACE, &mut opened).unwrap(), value);
        assert_eq!(key.open(&PLACE, &sealed).ok().unwrap().expose(), &value);

        let elsewhere = Place { version: 3, ..PLACE };
        let mut refused = sealed.clone();
        assert!(key.open_in_place(&elsewhere, &mut refused).is_err());
        assert_eq!(refused, sealed);
        assert!(key.open_in_place(&PLACE, &mut refused[..27]).is_err());
    }
}
