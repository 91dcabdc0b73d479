use proptest::prelude::*;

use super::*;
use crate::secret::Secret;
use crate::vectors::{list, text};

const RINGS: [Ring; 3] = [Ring::Z16, Ring::Z32, Ring::Z64];

fn key(byte: u8, sign: Sign) -> MaskKey {
    MaskKey { seed: Secret::new([byte; 32]), sign }
}

#[test]
fn the_keystream_agrees_with_sp_800_38a() {
    for case in list(text!("published/aes_256_ctr"), "cases") {
        let key = MaskKey { seed: case.secret("key"), sign: Sign::Plus };
        let mut stream = Keystream::new(&key, u128::from_be_bytes(case.array("counter")));
        let mut bytes = vec![0xff; case.bytes("plaintext").len()];
        stream.write(&mut bytes);
        let text = case.bytes("plaintext");
        let cipher: Vec<u8> = bytes.iter().zip(text).map(|(stream, text)| stream ^ text).collect();
        assert_eq!(cipher, case.bytes("ciphertext"));
    }
}

#[test]
fn masks_agree_with_an_independent_implementation() {
    for case in list(text!("frozen/mask"), "cases") {
        let ring = RINGS.into_iter().find(|ring| ring.bytes() as u64 == case.number("ring_bytes"));
        let sign = |sign| if sign == 1 { Sign::Plus } else { Sign::Minus };
        let keys: Vec<MaskKey> = case
            .cases("keys")
            .iter()
            .map(|key| MaskKey { seed: key.secret("seed"), sign: sign(key.sign("sign")) })
            .collect();
        let mut words = case.bytes("words");
        add_masks(&mut words, ring.unwrap(), &keys, case.text("offset").parse().unwrap());
        assert_eq!(words, case.bytes("masked"), "{ring:?} at {}", case.text("offset"));
    }
}

#[test]
fn a_mask_makes_the_extremes_look_alike() {
    for value in [0x00, 0xff, 0x7f] {
        let mut words = vec![value; 256 * 1024];
        add_masks(&mut words, Ring::Z32, &[key(1, Sign::Plus)], 0);
        let mut counts = [0_f64; 256];
        words.iter().for_each(|byte| counts[usize::from(*byte)] += 1.0);
        let expected = words.len() as f64 / 256.0;
        let chi_squared: f64 = counts.iter().map(|c| (c - expected).powi(2) / expected).sum();
        // 255 degrees of freedom: above 350 by chance once in 25,000.
        assert!(chi_squared < 350.0, "{value:#x}: {chi_squared}");
    }
}

#[test]
#[should_panic(expected = "starts at a block")]
fn an_offset_inside_a_block_is_a_bug_of_the_caller() {
    add_masks(&mut [0; 16], Ring::Z16, &[], 8);
}

#[test]
#[should_panic(expected = "whole words")]
fn half_a_word_is_a_bug_of_the_caller() {
    add_masks(&mut [0; 6], Ring::Z32, &[], 0);
}

#[test]
#[should_panic(expected = "one length")]
fn vectors_of_two_lengths_are_a_bug_of_the_caller() {
    add_words(&mut [0; 8], Ring::Z32, &[0; 4]);
}

fn ring() -> impl Strategy<Value = Ring> {
    prop::sample::select(&RINGS[..])
}

/// Words of a ring: lengths around the strip, which is where pieces might be joined wrongly.
fn words(ring: Ring) -> impl Strategy<Value = Vec<u8>> {
    let lengths =
        prop_oneof![0..600_usize, STRIP_BYTES - 40..STRIP_BYTES + 40, 60_000..70_000_usize];
    (lengths, any::<u8>()).prop_map(move |(length, salt)| {
        let length = length / ring.bytes() * ring.bytes();
        (0..length).map(|i| (i * 31 + usize::from(salt)) as u8).collect()
    })
}

fn any_keys() -> impl Strategy<Value = Vec<(u8, bool)>> {
    prop::collection::vec((any::<u8>(), any::<bool>()), 0..4)
}

fn keys(spec: &[(u8, bool)]) -> Vec<MaskKey> {
    let sign = |plus| if plus { Sign::Plus } else { Sign::Minus };
    spec.iter().map(|(byte, plus)| key(*byte, sign(*plus))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn masks_of_the_other_sign_cancel(
        (ring, words) in ring().prop_flat_map(|ring| (Just(ring), words(ring))),
        spec in any_keys(),
        block in 0_u64..1 << 40,
    ) {
        let mut masked = words.clone();
        add_masks(&mut masked, ring, &keys(&spec), block * BLOCK_BYTES);
        let reversed: Vec<_> =
            keys(&spec).into_iter().map(|k| MaskKey { sign: k.sign.reversed(), ..k }).collect();
        add_masks(&mut masked, ring, &reversed, block * BLOCK_BYTES);
        prop_assert_eq!(masked, words);
    }

    #[test]
    fn pieces_give_the_same_words_as_one_call(
        (ring, words) in ring().prop_flat_map(|ring| (Just(ring), words(ring))),
        spec in any_keys(),
        piece_blocks in 1_usize..2000,
    ) {
        let mut whole = words.clone();
        add_masks(&mut whole, ring, &keys(&spec), 0);
        let mut pieces = words;
        let piece_bytes = piece_blocks * 16;
        // From the last to the first: no piece depends on another.
        let count = pieces.len().div_ceil(piece_bytes);
        for (index, piece) in pieces.chunks_mut(piece_bytes).enumerate().rev() {
            prop_assert!(index < count);
            add_masks(piece, ring, &keys(&spec), (index * piece_bytes) as u64);
        }
        prop_assert_eq!(pieces, whole);
    }

    #[test]
    fn a_mask_is_the_keystream_added_word_by_word(
        (ring, words) in ring().prop_flat_map(|ring| (Just(ring), words(ring))),
        byte: u8,
    ) {
        let mut stream = vec![0; words.len()];
        Keystream::new(&key(byte, Sign::Plus), 0).write(&mut stream);
        let (mut masked, mut added, mut subtracted) = (words.clone(), words.clone(), words);
        add_masks(&mut masked, ring, &[key(byte, Sign::Plus)], 0);
        add_words(&mut added, ring, &stream);
        prop_assert_eq!(&masked, &added);
        sub_words(&mut added, ring, &stream);
        prop_assert_eq!(&added, &subtracted);
        add_masks(&mut added, ring, &[key(byte, Sign::Minus)], 0);
        sub_words(&mut subtracted, ring, &stream);
        prop_assert_eq!(added, subtracted);
    }

    #[test]
    fn all_clients_of_a_complete_graph_sum_to_their_words(
        ring in ring(),
        clients in 2_usize..7,
        salt: u8,
    ) {
        let words = |client: usize| -> Vec<u8> {
            (0..200 * ring.bytes()).map(|i| (i * 7 + client * 13 + usize::from(salt)) as u8).collect()
        };
        let edge = |low: usize, high: usize| (low * 16 + high) as u8;
        let (mut masked_sum, mut sum) = (vec![0; 200 * ring.bytes()], vec![0; 200 * ring.bytes()]);
        for client in 0..clients {
            let keys: Vec<_> = (0..clients)
                .filter(|other| *other != client)
                .map(|other| match other > client {
                    true => key(edge(client, other), Sign::Plus),
                    false => key(edge(other, client), Sign::Minus),
                })
                .collect();
            let mut upload = words(client);
            add_words(&mut sum, ring, &upload);
            add_masks(&mut upload, ring, &keys, 0);
            prop_assert_ne!(&upload, &words(client));
            add_words(&mut masked_sum, ring, &upload);
        }
        prop_assert_eq!(masked_sum, sum);
    }

    #[cfg(feature = "rayon")]
    #[test]
    fn all_cores_give_the_same_words_as_one(
        ring in ring(),
        strips in 0_usize..40,
        spec in any_keys(),
        block in 0_u64..1 << 40,
    ) {
        let words: Vec<u8> = (0..strips * STRIP_BYTES + 8 * 77).map(|i| (i * 31) as u8).collect();
        let (mut one, mut all) = (words.clone(), words);
        add_masks(&mut one, ring, &keys(&spec), block * BLOCK_BYTES);
        add_masks_parallel(&mut all, ring, &keys(&spec), block * BLOCK_BYTES);
        prop_assert!(one == all);
    }
}
