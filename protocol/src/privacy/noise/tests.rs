use super::*;

fn bits(seed: u8) -> Bits {
    Bits::new(Secret::new([seed; 32]))
}

/// ln(k!) as a sum.
fn log_factorial(k: u64) -> f64 {
    (2..=k).map(|factor| (factor as f64).ln()).sum()
}

fn probability(mean: f64, k: u64) -> f64 {
    (k as f64 * mean.ln() - mean - log_factorial(k)).exp()
}

/// P(X − Y = k) for two Poisson variables.
fn skellam_probability(variance: f64, k: i64) -> f64 {
    let mean = variance / 2.0;
    let shift = k.unsigned_abs();
    (0..shift + 200).map(|y| probability(mean, y) * probability(mean, y + shift)).sum()
}

#[test]
fn uniform_numbers_fill_the_unit_interval_evenly() {
    let mut bits = bits(1);
    let mut counts = [0_u32; 64];
    (0..64_000).for_each(|_| counts[(bits.unit() * 64.0) as usize] += 1);
    let chi: f64 = counts.iter().map(|count| (f64::from(*count) - 1000.0).powi(2) / 1000.0).sum();
    assert!(chi < 110.0, "{chi}");
}

#[test]
fn a_number_is_rounded_to_a_neighbour_and_to_itself_on_average() {
    let mut bits = bits(2);
    let mean = (0..100_000).map(|_| bits.round(-2.3)).sum::<f64>() / 1e5;
    assert!((mean + 2.3).abs() < 0.01, "{mean}");
    assert_eq!(bits.round(4.0), 4.0);
}

#[test]
fn densities_agree_with_sums_of_logarithms() {
    for mean in [10.0, 37.5, 900.0] {
        for k in [0, 1, 9, 15, 16, 17, 40, 900, 1100] {
            let expected = k as f64 * f64::ln(mean) - mean - log_factorial(k);
            let found = Poisson::new(mean).log_probability(k as f64);
            assert!((expected - found).abs() < 1e-9 * expected.abs().max(1.0), "{mean} {k}");
        }
    }
}

#[test]
fn skellam_draws_follow_their_distribution_at_small_and_large_means() {
    // Means of the two Poisson variables on both sides of the change of method.
    for (seed, variance) in [(3, 0.5), (4, 6.0), (5, 19.0), (6, 24.0), (7, 120.0)] {
        let (mut bits, skellam, draws) = (bits(seed), Skellam::new(variance), 40_000);
        let edge = (3.0 * f64::sqrt(variance)).ceil() as i64;
        let mut counts = vec![0_u32; (2 * edge + 1) as usize];
        let mut outside = 0_u32;
        for _ in 0..draws {
            match skellam.draw(&mut bits) {
                drawn if drawn.abs() > edge => outside += 1,
                drawn => counts[(drawn + edge) as usize] += 1,
            }
        }
        let probabilities: Vec<f64> =
            (-edge..=edge).map(|k| skellam_probability(variance, k)).collect();
        let rest = 1.0 - probabilities.iter().sum::<f64>();
        let cells = counts.iter().zip(&probabilities).chain([(&outside, &rest)]);
        let large = cells.filter(|(_, probability)| **probability * f64::from(draws) >= 5.0);
        let terms: Vec<f64> = large
            .map(|(count, probability)| {
                let expected = probability * f64::from(draws);
                (f64::from(*count) - expected).powi(2) / expected
            })
            .collect();
        let (chi, cells) = (terms.iter().sum::<f64>(), terms.len() as f64);
        // Four deviations of the chi-square distribution above its mean.
        assert!(chi < cells + 4.0 * (2.0 * cells).sqrt(), "{variance}: {chi} of {cells} cells");
    }
}

#[test]
fn skellam_draws_have_mean_zero_their_variance_and_little_excess_at_any_size() {
    for (seed, variance) in [(8, 1.0), (9, 1e3), (10, 1e7), (11, 1e12), (12, VARIANCE_MAX)] {
        let (mut bits, skellam, draws) = (bits(seed), Skellam::new(variance), 40_000);
        let scaled: Vec<f64> =
            (0..draws).map(|_| skellam.draw(&mut bits) as f64 / variance.sqrt()).collect();
        let moment = |power| scaled.iter().map(|x| x.powi(power)).sum::<f64>() / f64::from(draws);
        assert!(moment(1).abs() < 0.02, "{variance}: mean {}", moment(1));
        assert!((moment(2) - 1.0).abs() < 0.04, "{variance}: variance {}", moment(2));
        // The fourth moment of a Skellam variable is 3μ² + μ.
        let fourth = 3.0 + 1.0 / variance;
        assert!((moment(4) - fourth).abs() < 0.4, "{variance}: fourth moment {}", moment(4));
    }
}

#[test]
fn gaussian_draws_have_the_moments_of_the_normal_distribution() {
    let mut bits = bits(13);
    let drawn: Vec<f64> = (0..40_000).map(|_| bits.gaussian()).collect();
    let moment = |power| drawn.iter().map(|x| x.powi(power)).sum::<f64>() / 40_000.0;
    assert!(moment(1).abs() < 0.02 && (moment(2) - 1.0).abs() < 0.03);
    assert!((moment(4) - 3.0).abs() < 0.2);
}

#[test]
fn the_same_seed_gives_the_same_noise_and_another_seed_another() {
    let drawn = |seed| {
        let (mut bits, skellam) = (bits(seed), Skellam::new(1e6));
        (0..5000).map(|_| skellam.draw(&mut bits)).collect::<Vec<_>>()
    };
    assert_eq!(drawn(14), drawn(14));
    let same = drawn(14).iter().zip(drawn(15)).filter(|(one, other)| **one == *other).count();
    assert!(same < 20);
}
