use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::ChaCha12Rng;

use super::field::{invert, multiply};
use super::*;
use crate::vectors::{Played, list, text};

fn shares_of(secret: [u8; 32], needed: u16, shares: u16, seed: u64) -> Vec<Share> {
    let threshold = Threshold::new(needed, shares).unwrap();
    split(&Secret::new(secret), threshold, &mut ChaCha12Rng::seed_from_u64(seed))
}

fn views(shares: &[Share]) -> Vec<(u16, &[u8; 32])> {
    shares.iter().map(|share| (share.index, share.value.expose())).collect()
}

/// A share with one element changed by `delta`.
fn forge(share: &mut Share, element: usize, delta: u16) {
    let mut value = *share.value.expose();
    value[2 * element] ^= delta.to_le_bytes()[0];
    value[2 * element + 1] ^= delta.to_le_bytes()[1];
    share.value = Secret::new(value);
}

#[test]
fn products_in_the_field_agree_with_an_independent_implementation() {
    for case in list(text!("frozen/products"), "cases") {
        for product in case.numbers("products") {
            let [a, b, expected] = [0, 1, 2].map(|i| u16::try_from(product[i]).unwrap());
            assert_eq!(multiply(a, b), expected);
            assert_eq!(multiply(b, a), expected);
        }
    }
}

#[test]
fn every_element_but_zero_has_its_inverse() {
    assert_eq!(invert(0), 0);
    for a in 1..=u16::MAX {
        assert_eq!(multiply(a, invert(a)), 1, "{a}");
    }
}

#[test]
fn shares_agree_with_an_independent_implementation() {
    for case in list(text!("frozen/shamir"), "cases") {
        let number = |name| u16::try_from(case.number(name)).unwrap();
        let (needed, count) = (number("needed"), number("shares"));
        let secret: Seed = case.secret("secret");
        let mut rng = Played(case.bytes("randomness").into());
        let threshold = Threshold::new(needed, count).unwrap();
        let shares = split(&secret, threshold, &mut rng);
        assert!(rng.0.is_empty());
        assert_eq!(shares.len(), usize::from(count));
        for point in case.cases("points") {
            let index = u16::try_from(point.number("index")).unwrap();
            let share = &shares[usize::from(index) - 1];
            assert_eq!(share.index, index);
            assert_eq!(share.value.expose(), &point.array("value"));
        }
        let last = &shares[shares.len() - usize::from(needed)..];
        assert!(combine(&views(last), needed).ok().unwrap().ct_eq(&secret));
    }
}

#[test]
fn thresholds_that_share_nothing_or_ask_for_too_many_are_refused() {
    for (needed, shares) in [(0, 3), (1, 3), (4, 3), (1, 1), (2, 1)] {
        let refused = Threshold::new(needed, shares);
        assert_eq!(refused, Err(ShamirError::Threshold { needed, shares }));
    }
    assert!(Threshold::new(2, 2).is_ok());
}

#[test]
fn too_few_repeated_and_zero_indices_are_refused() {
    let shares = shares_of([7; 32], 3, 5, 1);
    let views = views(&shares);
    let error = |shares: &[(u16, &[u8; 32])]| combine(shares, 3).err().unwrap();
    assert_eq!(error(&views[..2]), ShamirError::TooFew { at_hand: 2, needed: 3 });
    assert_eq!(error(&[views[0], views[1], views[0]]), ShamirError::DuplicateIndex(1));
    assert_eq!(error(&[views[0], views[1], (0, views[2].1)]), ShamirError::IndexZero);
    let weights = LagrangeWeights::new(&[1, 2, 3]).unwrap();
    let refused = weights.combine(&[views[0].1]).err();
    assert_eq!(refused, Some(ShamirError::OtherIndices { at_hand: 1, indices: 3 }));
    let verified = combine_verified(&[views[0], views[0], views[1]], 2, |_| true);
    assert_eq!(verified.err(), Some(ShamirError::DuplicateIndex(1)));
}

#[test]
fn weights_of_one_set_rebuild_many_secrets() {
    let weights = LagrangeWeights::new(&[5, 1, 4]).unwrap();
    for byte in 0..20 {
        let shares = shares_of([byte; 32], 3, 6, byte.into());
        let values: Vec<_> =
            [5, 1, 4].iter().map(|index| shares[index - 1].value.expose()).collect();
        assert_eq!(weights.combine(&values).ok().unwrap().expose(), &[byte; 32]);
    }
}

#[test]
fn the_largest_field_index_is_a_share_like_any_other() {
    let threshold = Threshold::new(2, u16::MAX).unwrap();
    let secret = Secret::new([9; 32]);
    let shares = split(&secret, threshold, &mut ChaCha12Rng::seed_from_u64(1));
    assert_eq!(shares.last().unwrap().index, u16::MAX);
    let ends = [&shares[0], shares.last().unwrap()].map(|s| (s.index, s.value.expose()));
    assert!(combine(&ends, 2).ok().unwrap().ct_eq(&secret));
}

/// t − 1 shares of one secret over many splits: their bytes are uniform whatever the secret is.
#[test]
fn fewer_shares_than_the_threshold_look_uniform_whatever_the_secret() {
    for secret in [[0; 32], [0xff; 32]] {
        let mut counts = vec![0_f64; 256];
        let threshold = Threshold::new(3, 3).unwrap();
        let mut rng = ChaCha12Rng::seed_from_u64(11);
        for _ in 0..2000 {
            let shares = split(&Secret::new(secret), threshold, &mut rng);
            let pairs = shares[0].value.expose().iter().zip(shares[1].value.expose());
            for (a, b) in pairs {
                // A byte of either share, and what ties the two together.
                for byte in [*a, *b, a ^ b] {
                    counts[usize::from(byte)] += 1.0;
                }
            }
        }
        let expected = counts.iter().sum::<f64>() / 256.0;
        let chi_squared: f64 = counts.iter().map(|c| (c - expected).powi(2) / expected).sum();
        // 255 degrees of freedom: above 350 by chance once in 25,000.
        assert!(chi_squared < 350.0, "{chi_squared}");
    }
}

#[test]
fn liars_who_keep_the_seed_right_cannot_hide_behind_honest_shares() {
    // Two liars among the first t shift their shares so that these still give the seed.
    let secret = Secret::new([5; 32]);
    let mut shares = shares_of([5; 32], 4, 8, 3);
    let indices = [1, 2, 3, 4];
    let weight = |own: u16| {
        indices
            .iter()
            .filter(|x| **x != own)
            .fold(1, |product, x| multiply(product, multiply(*x, invert(own ^ x))))
    };
    forge(&mut shares[0], 6, 0x1234);
    let balance = multiply(multiply(0x1234, weight(1)), invert(weight(2)));
    forge(&mut shares[1], 6, balance);
    assert!(combine(&views(&shares), 4).ok().unwrap().ct_eq(&secret));
    let (rebuilt, wrong) =
        combine_verified(&views(&shares), 4, |seed| seed.ct_eq(&secret)).ok().unwrap();
    assert!(rebuilt.ct_eq(&secret));
    assert_eq!(wrong, [1, 2]);
}

#[test]
fn more_lies_than_spare_shares_give_no_seed() {
    let secret = Secret::new([5; 32]);
    let mut shares = shares_of([5; 32], 4, 6, 3);
    for (share, delta) in shares.iter_mut().zip([0x1234, 0x0777, 0xbeef]) {
        forge(share, 0, delta);
    }
    let refused = combine_verified(&views(&shares), 4, |seed| seed.ct_eq(&secret));
    assert_eq!(refused.err(), Some(ShamirError::NotRebuilt { at_hand: 6, needed: 4 }));
}

#[test]
fn half_of_the_spare_shares_of_a_large_cohort_may_lie() {
    // 100 clients, t = 67: far too many subsets to try, but 16 lies are within (100 − 67) / 2.
    let secret = Secret::new([6; 32]);
    let mut shares = shares_of([6; 32], 67, 100, 4);
    let liars: Vec<u16> = (0..16).map(|i| 1 + 6 * i).collect();
    for (number, liar) in liars.iter().enumerate() {
        forge(&mut shares[usize::from(*liar) - 1], number, 0x8001 ^ liar);
    }
    let (rebuilt, wrong) =
        combine_verified(&views(&shares), 67, |seed| seed.ct_eq(&secret)).ok().unwrap();
    assert!(rebuilt.ct_eq(&secret));
    assert_eq!(wrong, liars);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever secret one thinks of, there are shares of it that contain the t − 1 known ones.
    #[test]
    fn fewer_shares_than_the_threshold_fit_every_secret(
        (needed, count) in (2_u16..12).prop_flat_map(|t| (Just(t), t..14)),
        secret: [u8; 32],
        other: [u8; 32],
        seed: u64,
    ) {
        let mut shares = shares_of(secret, needed, count, seed);
        let known = usize::from(needed) - 1;
        // The polynomial that vanishes at the known shares and is secret + other at zero.
        for j in known..shares.len() {
            let index = shares[j].index;
            let factor = shares[..known].iter().fold(1, |product, share| {
                multiply(product, multiply(index ^ share.index, invert(share.index)))
            });
            let mut shift = Row::read(&std::array::from_fn(|i| secret[i] ^ other[i]));
            shift.scale(factor);
            shift.add(&Row::read(shares[j].value.expose()));
            shares[j].value = Secret::fill_with(|bytes| shift.write(bytes));
        }
        let (rebuilt, wrong) = combine_verified(&views(&shares), needed, |_| true).ok().unwrap();
        prop_assert_eq!(rebuilt.expose(), &other);
        prop_assert!(wrong.is_empty());
    }

    #[test]
    fn wrong_shares_are_found_while_enough_right_ones_remain(
        (needed, count) in (2_u16..8).prop_flat_map(|t| (Just(t), t + 1..11)),
        lies in prop::collection::vec((0_usize..16, 1_u16..), 10),
        liars in Just((0..10_usize).collect::<Vec<_>>()).prop_shuffle(),
        seed: u64,
    ) {
        let secret = Secret::new([3; 32]);
        let mut shares = shares_of([3; 32], needed, count, seed);
        // As many as unique decoding allows, and at least one.
        let number = (usize::from(count - needed) / 2).max(1);
        let mut liars: Vec<_> =
            liars.into_iter().filter(|liar| *liar < usize::from(count)).take(number).collect();
        for (liar, (element, delta)) in liars.iter().zip(lies) {
            forge(&mut shares[*liar], element, delta);
        }
        liars.sort_unstable();
        let (rebuilt, wrong) =
            combine_verified(&views(&shares), needed, |seed| seed.ct_eq(&secret)).ok().unwrap();
        prop_assert!(rebuilt.ct_eq(&secret));
        prop_assert_eq!(wrong, liars.iter().map(|i| shares[*i].index).collect::<Vec<_>>());
    }
}
