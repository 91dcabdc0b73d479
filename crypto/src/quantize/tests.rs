use proptest::prelude::*;

use super::*;
use crate::mask::add_words;
use crate::vectors::{list, text};

fn spec(ring: Ring, clip: f32, contributors_max: u32, weight_max: u32) -> QuantizerSpec {
    QuantizerSpec { ring, clip, contributors_max, weight_max }
}

fn floats(bytes: &[Vec<u8>]) -> Vec<f32> {
    bytes.iter().map(|b| f32::from_le_bytes(b.as_slice().try_into().unwrap())).collect()
}

#[test]
fn words_and_means_agree_with_an_independent_implementation() {
    for case in list(text!("frozen/quantize"), "cases") {
        let ring = [Ring::Z16, Ring::Z32, Ring::Z64]
            .into_iter()
            .find(|ring| ring.bytes() as u64 == case.number("ring_bytes"))
            .unwrap();
        let number = |name| u32::try_from(case.number(name)).unwrap();
        let (contributors, weight_max) = (number("contributors_max"), number("weight_max"));
        let clip = case.float("clip") as f32;
        let quantizer = Quantizer::new(spec(ring, clip, contributors, weight_max)).unwrap();
        assert_eq!(quantizer.levels(), number("levels"));
        let values = floats(&case.byte_lists("values"));
        let mut words = vec![0; values.len() * ring.bytes()];
        quantizer.quantize(&values, number("weight"), &mut words).unwrap();
        assert_eq!(words, case.bytes("words"));
        let mut mean = vec![0.0; values.len()];
        quantizer.dequantize_mean(&words, case.number("weight"), &mut mean).unwrap();
        assert_eq!(mean, floats(&case.byte_lists("mean")));
    }
}

#[test]
fn the_bound_is_tight_in_every_ring() {
    for (ring, clients, weight, levels) in [
        (Ring::Z16, 10, 1, 3276),
        (Ring::Z16, 1, 32767, 1),
        (Ring::Z16, 1, 1, 32767),
        (Ring::Z32, 10, 1, 214_748_364),
        (Ring::Z64, 10, 1, 0x7fff_ffff),
    ] {
        let quantizer = Quantizer::new(spec(ring, 1.0, clients, weight)).unwrap();
        assert_eq!(quantizer.levels(), levels, "{ring:?}");
        let sum = 2 * u128::from(clients) * u128::from(levels) * u128::from(weight);
        assert!(sum < 1 << ring.bits());
    }
}

#[test]
fn a_ring_that_cannot_hold_one_level_is_refused() {
    let refused = Quantizer::new(spec(Ring::Z16, 1.0, 2, 16384));
    let expected = QuantizeError::RingTooSmall { bits: 16, contributors_max: 2, weight_max: 16384 };
    assert_eq!(refused, Err(expected));
    // Each number that the refusal names would do, and the next one would not.
    let said = expected.to_string();
    let named = "a ring of 32 bits, or at most 1 contributors, or weights up to 16383 would do";
    assert!(said.ends_with(named), "{said}");
    assert!(Quantizer::new(spec(Ring::Z32, 1.0, 2, 16384)).is_ok());
    assert!(Quantizer::new(spec(Ring::Z16, 1.0, 1, 16384)).is_ok());
    assert!(Quantizer::new(spec(Ring::Z16, 1.0, 2, 16383)).is_ok());
    let nothing = Quantizer::new(spec(Ring::Z16, 1.0, u32::MAX, u32::MAX)).unwrap_err();
    assert!(nothing.to_string().ends_with("fewer and lighter contributors would do"), "{nothing}");
    assert!(Quantizer::new(spec(Ring::Z64, 1.0, u32::MAX, u32::MAX)).is_err());
    assert!(Quantizer::new(spec(Ring::Z64, 1.0, u32::MAX, 1 << 30)).is_ok());
}

#[test]
fn a_clip_that_is_no_positive_number_and_empty_counts_are_refused() {
    for clip in [0.0, -1.0, f32::INFINITY] {
        let refused = Quantizer::new(spec(Ring::Z32, clip, 1, 1));
        assert_eq!(refused, Err(QuantizeError::Clip(clip)));
    }
    assert!(Quantizer::new(spec(Ring::Z32, f32::NAN, 1, 1)).is_err());
    assert_eq!(Quantizer::new(spec(Ring::Z32, 1.0, 0, 1)), Err(QuantizeError::Empty));
    assert_eq!(Quantizer::new(spec(Ring::Z32, 1.0, 1, 0)), Err(QuantizeError::Empty));
    // The smallest clips still have a step of their own.
    let tiny = Quantizer::new(spec(Ring::Z32, f32::from_bits(1), 1, 1)).unwrap();
    assert!(tiny.step() > 0.0);
}

#[test]
fn a_value_that_is_not_finite_is_refused_with_its_position() {
    let quantizer = Quantizer::new(spec(Ring::Z32, 1.0, 3, 1)).unwrap();
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let refused = quantizer.quantize(&[0.0, 1.0, bad, bad], 1, &mut [0; 16]);
        assert_eq!(refused, Err(QuantizeError::NotFinite { index: 2 }), "{bad}");
    }
}

#[test]
fn weights_and_lengths_outside_the_proof_are_refused() {
    let quantizer = Quantizer::new(spec(Ring::Z32, 1.0, 3, 5)).unwrap();
    let refused = |weight| quantizer.quantize(&[0.0], weight, &mut [0; 4]).unwrap_err();
    assert_eq!(refused(6), QuantizeError::Weight { weight: 6, weight_max: 5 });
    assert_eq!(refused(0), QuantizeError::Weight { weight: 0, weight_max: 5 });
    let length = quantizer.quantize(&[0.0, 0.0], 1, &mut [0; 4]).unwrap_err();
    assert_eq!(length, QuantizeError::Length { values: 2, expected: 8, bytes: 4 });
    let mean = |weight_sum| quantizer.dequantize_mean(&[0; 4], weight_sum, &mut [0.0]);
    assert_eq!(mean(15), Ok(()));
    assert_eq!(mean(16), Err(QuantizeError::Weight { weight: 16, weight_max: 15 }));
    assert_eq!(mean(0), Err(QuantizeError::Weight { weight: 0, weight_max: 15 }));
}

#[test]
fn a_sum_that_its_weights_cannot_have_made_is_refused() {
    let quantizer = Quantizer::new(spec(Ring::Z32, 1.0, 4, 1)).unwrap();
    let largest = 2 * quantizer.levels();
    let mut out = [0.0; 2];
    let honest = [0_u32.to_le_bytes(), largest.to_le_bytes()].concat();
    assert_eq!(quantizer.dequantize_mean(&honest, 2, &mut out), Ok(()));
    assert_eq!(out, [0.0, 1.0]);
    let masked = [0_u32.to_le_bytes(), (largest + 1).to_le_bytes()].concat();
    let refused = quantizer.dequantize_mean(&masked, 2, &mut out);
    assert_eq!(refused, Err(QuantizeError::OutOfRange { index: 1 }));
}

fn setup() -> impl Strategy<Value = (QuantizerSpec, Vec<(u32, f32)>)> {
    let ring = prop::sample::select(&[Ring::Z16, Ring::Z32, Ring::Z64][..]);
    (ring, 1e-3_f32..1e3, 1_u32..40, 1_u32..40).prop_flat_map(|(ring, clip, clients, weight)| {
        let client = (1..=weight, -1.5 * clip..1.5 * clip);
        let clients_here = prop::collection::vec(client, 1..=clients as usize);
        (Just(spec(ring, clip, clients, weight)), clients_here)
    })
}

proptest! {
    #[test]
    fn the_mean_of_clipped_values_comes_back_within_half_a_step((spec, clients) in setup()) {
        let quantizer = Quantizer::new(spec).unwrap();
        let mut sum = vec![0; spec.ring.bytes()];
        let (mut weighted, mut weights) = (0.0, 0_u64);
        for (weight, value) in clients {
            let mut words = vec![0; spec.ring.bytes()];
            quantizer.quantize(&[value], weight, &mut words).unwrap();
            add_words(&mut sum, spec.ring, &words);
            weighted += f64::from(weight) * f64::from(value.clamp(-spec.clip, spec.clip));
            weights += u64::from(weight);
        }
        let mut mean = [0.0];
        quantizer.dequantize_mean(&sum, weights, &mut mean).unwrap();
        let exact = weighted / weights as f64;
        let last_place = f64::from(mean[0].abs()) * f64::from(f32::EPSILON) / 2.0;
        let bound = quantizer.step() * (0.5 + 2_f64.powi(-18)) + last_place;
        prop_assert!((f64::from(mean[0]) - exact).abs() <= bound, "{} {exact}", mean[0]);
    }

    #[test]
    fn all_clients_at_the_clip_do_not_wrap_round((spec, _) in setup(), up: bool) {
        let quantizer = Quantizer::new(spec).unwrap();
        let value = if up { spec.clip } else { -spec.clip };
        let (mut words, mut sum) = (vec![0; spec.ring.bytes()], vec![0; spec.ring.bytes()]);
        quantizer.quantize(&[value * 2.0], spec.weight_max, &mut words).unwrap();
        for _ in 0..spec.contributors_max {
            add_words(&mut sum, spec.ring, &words);
        }
        let mut mean = [0.0];
        let weights = u64::from(spec.contributors_max) * u64::from(spec.weight_max);
        quantizer.dequantize_mean(&sum, weights, &mut mean).unwrap();
        prop_assert_eq!(mean[0], value);
    }

    #[test]
    fn rounding_without_the_library_agrees_with_the_library(value in -1_f32..1.0) {
        let quantizer = Quantizer::new(spec(Ring::Z32, 1.0, 2, 1)).unwrap();
        let expected = (f64::from(value) / quantizer.step()).round_ties_even();
        prop_assert_eq!(quantizer.level(value) as f64, expected);
    }

    #[test]
    fn vectors_of_values_become_the_words_of_single_ones(
        (spec, _) in setup(),
        bits in prop::collection::vec(any::<u32>(), 0..100),
        scaled in prop::collection::vec((-3_f32..3.0, -40_i32..3), 0..100),
        weight in 1_u32..40,
    ) {
        let quantizer = Quantizer::new(spec).unwrap();
        // Any floats at all, floats around the clip, and floats on both sides of each half step.
        let any = bits.iter().map(|bits| f32::from_bits(*bits)).filter(|value| value.is_finite());
        let scaled = scaled.into_iter().map(|(value, power)| value * spec.clip * 2_f32.powi(power));
        let level = |bits: u32| f64::from(bits % (2 * quantizer.levels() + 1)) - f64::from(quantizer.levels());
        let half = bits.iter().flat_map(|bits| {
            let value = ((level(*bits) + 0.5) * quantizer.step()) as f32;
            [value.next_down(), value, value.next_up()]
        });
        let x: Vec<f32> = any.chain(scaled).chain(half).collect();
        let (mut wide, mut plain) = (vec![0; x.len() * spec.ring.bytes()], vec![0; x.len() * spec.ring.bytes()]);
        prop_assert!(quantizer.write(&x, weight, &mut wide));
        prop_assert!(quantizer.write_portably(&x, weight, &mut plain));
        prop_assert!(wide == plain);
    }

    #[test]
    fn one_value_in_a_hundred_that_is_not_finite_is_found_where_it_is(
        at in 0_usize..100,
        bad in prop::sample::select(&[f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY][..]),
        ring in prop::sample::select(&[Ring::Z16, Ring::Z32, Ring::Z64][..]),
    ) {
        let mut x = [f32::MAX; 100];
        x[at] = bad;
        let quantizer = Quantizer::new(spec(ring, 1.0, 3, 1)).unwrap();
        let refused = quantizer.quantize(&x, 1, &mut vec![0; 100 * ring.bytes()]);
        prop_assert_eq!(refused, Err(QuantizeError::NotFinite { index: at }));
    }
}
