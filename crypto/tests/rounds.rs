//! The parts together, as a round uses them.

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::ChaCha12Rng;
use roundelay_crypto::agreement::{AgreementSecret, decapsulate, encapsulate};
use roundelay_crypto::mask::{MaskKey, Ring, Sign, add_masks};
use roundelay_crypto::secret::{Secret, Seed};
use roundelay_crypto::shamir::{Threshold, combine, split};

#[test]
fn both_ends_of_an_edge_derive_one_pair_seed_and_their_masks_cancel() {
    let (low, high) = (Secret::new([1; 32]), Secret::new([2; 32]));
    let low = AgreementSecret::derive(&low, "mask");
    let high = AgreementSecret::derive(&high, "mask");
    let (ciphertext, sent) = encapsulate(&low, high.public(), &Secret::new([3; 32])).unwrap();
    let received = decapsulate(&high, low.public(), &ciphertext).unwrap();
    let seeds = [sent, received].map(|secret| secret.pair_seed("pair", &[b"round 1"]));
    assert!(seeds[0].ct_eq(&seeds[1]));

    let mut words = vec![9; 40_000];
    for (seed, sign) in seeds.into_iter().zip([Sign::Plus, Sign::Minus]) {
        add_masks(&mut words, Ring::Z32, &[MaskKey { seed, sign }], 160);
    }
    assert_eq!(words, vec![9; 40_000]);
}

proptest! {
    #[test]
    fn any_t_shares_of_a_seed_rebuild_it(
        secret: [u8; 32],
        seed: u64,
        shares in 2_u16..20,
        needed in 2_u16..20,
        order in Just((0..20_usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        prop_assume!(needed <= shares);
        let secret: Seed = Secret::new(secret);
        let threshold = Threshold::new(needed, shares).unwrap();
        let shares = split(&secret, threshold, &mut ChaCha12Rng::seed_from_u64(seed));
        let chosen: Vec<_> = order
            .iter()
            .filter_map(|i| shares.get(*i))
            .take(needed.into())
            .map(|share| (share.index, share.value.expose()))
            .collect();
        prop_assert!(combine(&chosen, needed).unwrap().ct_eq(&secret));
    }
}
