use proptest::prelude::*;

use super::*;
use crate::privacy::testing::privacy;

fn chosen(ring: Ring, coordinates: u64, clients: u32, z: f64) -> Result<Private, PrivateError> {
    let privacy = Privacy { noise_multiplier: z, ..privacy() };
    let noise = NoiseSource::Clients { honest: (clients / 3).max(1) };
    Private::choose(&privacy, ring, coordinates, clients, noise)
}

#[test]
fn a_ring_of_32_bits_is_as_fine_as_is_of_any_use() {
    for (coordinates, clients) in [(10, 3), (1000, 10), (1_000_000, 100), (20_000_000, 1000)] {
        let private = chosen(Ring::Z32, coordinates, clients, 1.0).unwrap();
        let root = (private.words().unwrap() as f64).sqrt();
        let finest = NORM_WANTED.max(FINENESS_MAX * root);
        assert!(private.norm() <= finest && private.norm() > finest * 0.5, "{coordinates}");
        // Rounding costs next to nothing then.
        assert!(private.l2_squared() < 1.02 * private.norm().powi(2), "{coordinates}");
    }
}

#[test]
fn a_ring_of_16_bits_takes_what_fits_and_says_what_else_would_do() {
    let private = chosen(Ring::Z16, 1000, 10, 1.0).unwrap();
    assert!(private.fits(Ring::Z16, 10, NOISE_RATIO));
    let finer = Private { scale: private.scale * 1.25, ..private };
    assert!(!finer.fits(Ring::Z16, 10, NOISE_RATIO));

    let error = chosen(Ring::Z16, 1_000_000, 10, 30.0).unwrap_err();
    let said = error.to_string();
    assert!(said.contains("a ring of 32 bits, or a noise_multiplier of at most"), "{said}");
    let PrivateError::RingTooSmall { remedy, .. } = error else { panic!("{said}") };
    let named: f64 = remedy.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(chosen(Ring::Z16, 1_000_000, 10, named - 0.001).is_ok());
}

#[test]
fn the_scale_does_not_depend_on_how_many_are_honest() {
    let privacy = privacy();
    let with = |honest| {
        let noise = NoiseSource::Clients { honest };
        Private::choose(&privacy, Ring::Z32, 5000, 12, noise).unwrap()
    };
    assert_eq!(with(4).scale, with(9).scale);
    assert_eq!(with(4).release(), with(9).release());
    assert!((with(4).variance() - with(8).variance() * 2.0).abs() < 1e-6 * with(4).variance());
}

#[test]
fn the_l2_clip_sets_the_scale_and_nothing_else() {
    let with = |l2_clip| {
        let privacy = Privacy { l2_clip, ..privacy() };
        Private::choose(&privacy, Ring::Z16, 5000, 12, NoiseSource::Coordinator).unwrap()
    };
    assert_eq!(with(1.0).norm(), with(8.0).norm());
    assert_eq!(with(1.0).l2_squared(), with(8.0).l2_squared());
}

#[test]
fn encodings_from_outside_are_proved_again() {
    let private = chosen(Ring::Z16, 1000, 10, 1.0).unwrap();
    assert_eq!(private.prove(Ring::Z16, 1024, 10), Ok(()));
    assert_eq!(private.prove(Ring::Z16, 1000, 10), Err(PrivateError::Numbers));
    let wrong = [
        Private { scale: f64::NAN, ..private },
        Private { scale: -1.0, ..private },
        Private { l2_clip: f32::INFINITY, ..private },
        Private { noise_multiplier: 0.0, ..private },
        Private { noise: NoiseSource::Clients { honest: 0 }, ..private },
        Private { coordinates: 0, ..private },
    ];
    for wrong in wrong {
        assert_eq!(wrong.prove(Ring::Z16, 1024, 10), Err(PrivateError::Numbers), "{wrong:?}");
    }
    let louder = Private { noise: NoiseSource::Clients { honest: 1 }, ..private };
    assert_eq!(louder.prove(Ring::Z16, 1024, 100), Err(PrivateError::Contributors(100)));
}

proptest! {
    #[test]
    fn what_is_chosen_is_proved_for_every_cohort(
        coordinates in 1_u64..5_000_000,
        clients in 3_u32..2000,
        z in 0.1_f64..50.0,
    ) {
        for ring in [Ring::Z16, Ring::Z32] {
            let Ok(private) = chosen(ring, coordinates, clients, z) else { continue };
            let words = private.words().unwrap();
            for cohort in [clients, clients / 2 + 1] {
                let honest = (cohort / 3).max(1);
                let private = Private { noise: NoiseSource::Clients { honest }, ..private };
                // ⌊n/3⌋ of three to five clients is one, which the rules for thresholds exclude.
                if cohort <= 4 * honest {
                    prop_assert_eq!(private.prove(ring, words, cohort), Ok(()));
                }
            }
        }
    }
}
