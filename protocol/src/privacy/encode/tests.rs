use proptest::prelude::*;
use roundelay_crypto::digest::Digest;
use roundelay_crypto::mask::Ring;
use roundelay_crypto::secret::Secret;

use super::*;
use crate::bounded::Text;
use crate::layout::{Encoding, Layout, Segment};
use crate::privacy::testing::privacy;
use crate::privacy::{Mechanism, Privacy};

const NAME: &str = "update";

fn rotation() -> Rotation {
    Rotation::from_state(&Digest([3; 32]))
}

fn seed(number: u64) -> Seed {
    let mut bytes = [9; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    Secret::new(bytes)
}

fn layout(privacy: &Privacy, ring: Ring, coordinates: u64, clients: u32, honest: u32) -> Layout {
    let noise = match privacy.mechanism {
        Mechanism::Distributed => NoiseSource::Clients { honest },
        Mechanism::Central => NoiseSource::Coordinator,
    };
    let private = Private::choose(privacy, ring, coordinates, clients, noise).unwrap();
    let (name, words) = (Text::clipped(NAME), private.words().unwrap());
    let segment = Segment { name, ring, words, encoding: Encoding::Private(private) };
    Layout::new(vec![segment], clients).unwrap()
}

fn sum(layout: &Layout, updates: &[Vec<f32>]) -> Vec<u8> {
    let mut total = vec![0_u8; usize::try_from(layout.total_bytes()).unwrap()];
    for (number, update) in updates.iter().enumerate() {
        let mut upload = layout.blank();
        layout.write_private(&mut upload, NAME, update, &rotation(), &seed(number as u64)).unwrap();
        for chunk in layout.chunks() {
            let (to, from) = (&mut total[chunk.range()], &upload[chunk.range()]);
            roundelay_crypto::mask::add_words(to, chunk.ring, from);
        }
    }
    total
}

fn updates(clients: usize, coordinates: usize) -> Vec<Vec<f32>> {
    let value = |client: usize, i: usize| ((client * 31 + i * 17) % 101) as f32 / 101.0 - 0.5;
    let scale = 1.0 / (coordinates as f32).sqrt();
    (0..clients).map(|c| (0..coordinates).map(|i| value(c, i) * scale).collect()).collect()
}

/// The deviation of each coordinate of a mean from the mean without noise, in the units of the update.
fn errors(layout: &Layout, updates: &[Vec<f32>], sum: &[u8]) -> Vec<f64> {
    let n = updates.len();
    let chunks: Vec<_> = layout.chunks_of(NAME).collect();
    let whole = (&rotation(), 0);
    let mean = layout.private_mean_of(sum, NAME, &chunks, n as u64, whole).unwrap();
    let mean = &mean[..updates[0].len()];
    let exact = |i: usize| updates.iter().map(|u| f64::from(u[i])).sum::<f64>() / n as f64;
    mean.iter().enumerate().map(|(i, found)| f64::from(*found) - exact(i)).collect()
}

#[test]
fn the_sum_decodes_to_the_mean_with_the_predicted_deviation() {
    for (ring, coordinates) in [(Ring::Z16, 1000), (Ring::Z32, 5000)] {
        let (clients, honest) = (9, 5);
        let layout = layout(&privacy(), ring, coordinates as u64, clients, honest);
        let (_, private) = layout.private().unwrap();
        let updates = updates(clients as usize, coordinates);
        let errors = errors(&layout, &updates, &sum(&layout, &updates));
        // Noise of all nine, and rounding by at most a quarter each.
        let variance = f64::from(clients) * (private.variance() + 0.25);
        let predicted = variance.sqrt() / (private.scale * f64::from(clients));
        let found = (errors.iter().map(|e| e * e).sum::<f64>() / errors.len() as f64).sqrt();
        assert!((found / predicted - 1.0).abs() < 0.06, "{ring:?}: {found} is not {predicted}");
        let mean = errors.iter().sum::<f64>() / errors.len() as f64;
        assert!(mean.abs() < 4.0 * predicted / (coordinates as f64).sqrt());
    }
}

#[test]
fn central_noise_is_added_once_to_the_sum_and_not_by_clients() {
    let privacy = Privacy { mechanism: Mechanism::Central, ..privacy() };
    let layout = layout(&privacy, Ring::Z32, 4000, 5, 1);
    let (_, private) = layout.private().unwrap();
    let updates = updates(5, 4000);
    let mut sum = sum(&layout, &updates);
    let deviation = |sum: &[u8]| {
        let errors = errors(&layout, &updates, sum);
        (errors.iter().map(|e| e * e).sum::<f64>() / errors.len() as f64).sqrt()
    };
    let unit = private.scale * 5.0;
    assert!(deviation(&sum) * unit < 5.0_f64.sqrt());
    layout.add_noise(&mut sum, seed(99)).unwrap();
    let predicted = private.variance().sqrt() / unit;
    assert!((deviation(&sum) / predicted - 1.0).abs() < 0.06);
    // Lanes are as they were.
    assert_eq!(layout.check_lanes(&sum, 5), Ok(()));
}

#[test]
fn a_layout_whose_clients_add_the_noise_takes_none_from_the_coordinator() {
    let layout = layout(&privacy(), Ring::Z32, 100, 5, 2);
    let before = sum(&layout, &updates(5, 100));
    let mut after = before.clone();
    layout.add_noise(&mut after, seed(99)).unwrap();
    assert_eq!(before, after);
}

#[test]
fn values_that_are_not_finite_or_too_few_are_refused() {
    let layout = layout(&privacy(), Ring::Z32, 3, 5, 2);
    let write = |values: &[f32]| {
        layout.write_private(&mut layout.blank(), NAME, values, &rotation(), &seed(1))
    };
    assert!(write(&[0.0, f32::NAN, 0.0]).is_err());
    assert!(write(&[0.0, 0.0]).is_err());
    assert!(write(&[1e38, -1e38, 1e38]).is_ok());
}

#[test]
fn rounding_that_never_comes_within_its_bound_ends_towards_zero() {
    let rotated = [0.95_f32, -0.95, 0.95, 0.95];
    assert_eq!(round(&rotated, 10.0, 1.0, &seed(1)), [9, -9, 9, 9]);
    assert_eq!(round(&rotated, 1.0, 0.0, &seed(1)), [0; 4]);
}

/// Many looks at the sum of one honest contributor's level and its noise: its neighbours add zero.
fn looks(private: &Private, value: f32, number: u64) -> Vec<f64> {
    let rounded = Rounded::new(private, &[value], &rotation(), &seed(number));
    let levels = vec![rounded.levels()[0]; 20_000];
    let mut rounded = Rounded { levels, ..rounded };
    rounded.noised(0..20_000).map(|word| word.cast_signed() as f64).collect()
}

#[test]
fn without_noise_neighbouring_sums_tell_a_client_and_with_it_the_measured_epsilon_is_bounded() {
    let layout = layout(&privacy(), Ring::Z32, 1, 3, 1);
    let (_, private) = layout.private().unwrap();
    let level = |value| Rounded::new(&private, &[value], &rotation(), &seed(0)).levels()[0];
    // Without noise one look at the sum is certain.
    assert!(level(0.0) == 0 && f64::from(level(1.0).abs()) > private.norm() - 1.0);
    // With it, P(seen | in) ≤ e^ε·P(seen | out) + δ at every threshold.
    let (sign, delta) = (f64::from(level(1.0).signum()), 1e-3);
    let (inside, outside) = (looks(&private, 1.0, 1), looks(&private, 0.0, 2));
    let rate = |looks: &[f64], at: f64| {
        looks.iter().filter(|look| sign * **look > at).count() as f64 / 20_000.0
    };
    let bound = private.release().curve().epsilon(delta);
    let measured = |scale: f64| {
        let ratios = (-4..=5).filter_map(|step| {
            let at = private.norm() * f64::from(step) / 2.0 * scale;
            let (hit, alarm) = (rate(&inside, at), rate(&outside, at));
            (alarm > 0.002).then(|| ((hit - delta) / alarm).ln())
        });
        ratios.fold(0.0, f64::max)
    };
    assert!(measured(1.0) < bound, "measured {}, promised {bound}", measured(1.0));
    // The test has teeth: it finds most of what noise of this size gives away.
    assert!(measured(1.0) > bound / 3.0, "measured {}, promised {bound}", measured(1.0));
    // A tenth of the noise would be found out.
    let quiet = Private { noise_multiplier: private.noise_multiplier / 10.0, ..private };
    let (inside, outside) = (looks(&quiet, 1.0, 3), looks(&quiet, 0.0, 4));
    let at = private.norm() * 0.5;
    let (hit, alarm) = (rate(&inside, at), rate(&outside, at).max(1e-4));
    assert!(((hit - delta) / alarm).ln() > bound);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_contribution_is_longer_than_its_sensitivity(
        values in proptest::collection::vec(-1e6_f32..1e6, 1..200),
        bits in prop_oneof![Just(Ring::Z16), Just(Ring::Z32)],
        clip in 1e-3_f32..1e3,
        number in 0_u64..1000,
    ) {
        let privacy = Privacy { l2_clip: clip, ..privacy() };
        let layout = layout(&privacy, bits, values.len() as u64, 7, 3);
        let (_, private) = layout.private().unwrap();
        let rounded = Rounded::new(&private, &values, &rotation(), &seed(number));
        let square: f64 = rounded.levels().iter().map(|level| f64::from(*level).powi(2)).sum();
        prop_assert!(square <= private.l2_squared());
        let l1: f64 = rounded.levels().iter().map(|level| f64::from(*level).abs()).sum();
        let words = private.words().unwrap() as f64;
        prop_assert!(l1 <= (words * private.l2_squared()).sqrt().min(private.l2_squared()));
    }
}
