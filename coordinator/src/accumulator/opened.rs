//! From the masked sum to the aggregate that is published: the masks come off, the check lanes are
//! held against the survivors, and where the coordinator adds the noise, it is added before anyone is
//! shown the sum or a hash of it.

use roundelay_crypto::mask::MaskKey;
use roundelay_crypto::secret::Seed;
use roundelay_protocol::layout::Layout;
use roundelay_protocol::round::horizontal::coordinator::UnmaskOutcome;
use roundelay_protocol::transcript::aggregate_digest;

use super::{Shape, unmask};

/// Opens a sum in place. `noise` is fresh and serves this one sum. What is left after
/// [`UnmaskOutcome::Dirty`] is of no use.
pub fn open(
    sum: &mut [u8],
    layout: &Layout,
    survivors: u32,
    keys: &[MaskKey],
    noise: Seed,
) -> UnmaskOutcome {
    if layout.check_length(sum.len() as u64).is_err() {
        return UnmaskOutcome::Dirty;
    }
    unmask(sum, &Shape::all(layout), keys);
    let clean = layout.check_lanes(sum, survivors).is_ok();
    match clean && layout.add_noise(sum, noise).is_ok() {
        true => UnmaskOutcome::Clean(aggregate_digest(sum)),
        false => UnmaskOutcome::Dirty,
    }
}

#[cfg(test)]
mod tests {
    use roundelay_crypto::mask::{Ring, Sign, add_masks};
    use roundelay_crypto::secret::Secret;
    use roundelay_protocol::bounded::Text;
    use roundelay_protocol::layout::{Encoding, Segment};
    use roundelay_protocol::privacy::testing::privacy;
    use roundelay_protocol::privacy::{NoiseSource, Private};

    use super::*;

    fn layout(noise: NoiseSource) -> Layout {
        let private = Private::choose(&privacy(), Ring::Z32, 1000, 4, noise).unwrap();
        let words = private.words().unwrap();
        let encoding = Encoding::Private(private);
        let segment = Segment { name: Text::clipped("update"), ring: Ring::Z32, words, encoding };
        Layout::new(vec![segment], 4).unwrap()
    }

    fn key() -> MaskKey {
        MaskKey { seed: Secret::new([5; 32]), sign: Sign::Plus }
    }

    /// One client's upload of zeros under a mask, opened.
    fn opened(layout: &Layout, noise: u8) -> (Vec<u8>, UnmaskOutcome) {
        let mut sum = layout.blank();
        for chunk in layout.chunks() {
            add_masks(&mut sum[chunk.range()], chunk.ring, &[key()], chunk.offset as u64);
        }
        let off = MaskKey { sign: Sign::Minus, ..key() };
        let outcome = open(&mut sum, layout, 1, &[off], Secret::new([noise; 32]));
        (sum, outcome)
    }

    #[test]
    fn central_noise_is_in_the_sum_and_in_its_hash_before_anyone_sees_either() {
        let layout = layout(NoiseSource::Coordinator);
        let (sum, outcome) = opened(&layout, 1);
        assert_ne!(sum, layout.blank());
        assert_eq!(outcome, UnmaskOutcome::Clean(aggregate_digest(&sum)));
        let words: Vec<i32> =
            sum[..4000].as_chunks().0.iter().map(|w| i32::from_le_bytes(*w)).collect();
        let variance = words.iter().map(|word| f64::from(*word).powi(2)).sum::<f64>() / 1000.0;
        let (_, private) = layout.private().unwrap();
        assert!((variance / private.variance() - 1.0).abs() < 0.2);
        assert_ne!(opened(&layout, 2).0, sum, "noise is drawn for each sum");
    }

    #[test]
    fn a_sum_whose_clients_added_the_noise_is_left_as_it_is() {
        let layout = layout(NoiseSource::Clients { honest: 2 });
        assert_eq!(opened(&layout, 1).0, layout.blank());
    }
}
