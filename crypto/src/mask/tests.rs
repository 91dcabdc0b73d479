use proptest::prelude::*;

use super::kernel::STRIP_BYTES;
use super::portable::write_keystream;
use super::*;
use crate::secret::Secret;
use crate::vectors::{list, text};

const RINGS: [Ring; 3] = [Ring::Z16, Ring::Z32, Ring::Z64];

fn cipher(seed: &Seed) -> aes::Aes256Enc {
    ctr::cipher::KeyInit::new(seed.expose().into())
}

fn key(byte: u8, sign: Sign) -> MaskKey {
    MaskKey { seed: Secret::new([byte; 32]), sign }
}

#[test]
fn the_keystream_agrees_with_sp_800_38a() {
    for case in list(text!("published/aes_256_ctr"), "cases") {
        let counter = u128::from_be_bytes(case.array("counter"));
        let mut bytes = vec![0xff; case.bytes("plaintext").len()];
        write_keystream(&cipher(&case.secret("key")), counter, &mut bytes);
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
        let offset: u64 = case.text("offset").parse().unwrap();
        for (name, kernel) in kernels() {
            let mut words = case.bytes("words");
            kernel.expand(&keys).add(&mut words, ring.unwrap(), offset);
            assert_eq!(words, case.bytes("masked"), "{name}: {ring:?} at {offset}");
        }
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
        write_keystream(&cipher(&key(byte, Sign::Plus).seed), 0, &mut stream);
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

    #[test]
    fn every_kernel_gives_the_bits_of_the_portable_one(
        (ring, words) in ring().prop_flat_map(|ring| (Just(ring), words(ring))),
        spec in prop_oneof![any_keys(), prop::collection::vec(any::<(u8, bool)>(), 30..40)],
        // Offsets up to the last block that a position in bytes can name.
        block in prop_oneof![0_u64..1 << 20, (1 << 32) - 2000..1_u64 << 32, (1 << 60) - 8192..1_u64 << 60],
    ) {
        let room = (u64::MAX - block * BLOCK_BYTES).min(words.len() as u64) as usize;
        let words = &words[..room / ring.bytes() * ring.bytes()];
        let masked = |kernel: Kernel| {
            let mut words = words.to_vec();
            kernel.expand(&keys(&spec)).add(&mut words, ring, block * BLOCK_BYTES);
            words
        };
        let expected = masked(Kernel::portable());
        for (name, kernel) in kernels() {
            prop_assert!(masked(kernel) == expected, "{} at block {block}", name);
        }
    }
}

/// The kernels that this processor can run; `tests/kernels.rs` tells which it can't.
fn kernels() -> impl Iterator<Item = (&'static str, Kernel)> {
    Kernel::all().into_iter().filter_map(|(name, kernel)| Some((name, kernel?)))
}

#[test]
fn pieces_on_several_threads_share_one_expansion() {
    use rayon::prelude::*;

    let keys = keys(&[(1, true), (2, false), (3, true)]);
    for (name, kernel) in kernels() {
        let masks = kernel.expand(&keys);
        let words: Vec<u8> = (0..40 * 1000 + 24_u32).map(|i| i as u8).collect();
        let (mut whole, mut pieces) = (words.clone(), words);
        masks.add(&mut whole, Ring::Z64, 160);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        pool.install(|| {
            pieces.par_chunks_mut(1600).enumerate().for_each(|(at, piece)| {
                masks.add(piece, Ring::Z64, 160 + 1600 * at as u64);
            });
        });
        assert!(whole == pieces, "{name}");
    }
}
