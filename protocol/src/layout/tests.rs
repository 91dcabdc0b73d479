use proptest::prelude::*;
use roundelay_crypto::mask::{add_words, sub_words};

use super::*;
use crate::codec::{decode, encode};
use crate::limits::CHUNK_BYTES_MAX;
use crate::model::ModelSpec;
use crate::plan::PlanKind;
use crate::schema::{Column, ColumnKind, Schema};
use crate::testing::{self, images};

fn segment(name: &str, ring: Ring, words: u64, encoding: Encoding) -> Segment {
    Segment { name: Text::clipped(name), ring, words, encoding }
}

fn count(name: &str, ring: Ring, words: u64, max: u64) -> Segment {
    segment(name, ring, words, Encoding::Count { max })
}

fn fixed(ring: Ring, words: u64, fraction_bits: u8, max: u64) -> Segment {
    segment("fixed", ring, words, Encoding::Fixed { fraction_bits, max })
}

fn quantised(ring: Ring, words: u64) -> Segment {
    segment("update", ring, words, Encoding::Quantised { clip: 1.0, weight_max: 4 })
}

#[test]
fn the_sum_of_counters_is_proved_to_stay_in_its_ring_to_the_last_one() {
    let at = |max| Layout::new(vec![count("c", Ring::Z16, 1, max)], 100);
    assert!(at(655).is_ok());
    let refused = at(656).unwrap_err();
    assert!(refused.to_string().contains("100 contributions of at most 655, not 656"), "{refused}");
    assert!(Layout::new(vec![count("c", Ring::Z64, 1, u64::MAX)], 1).is_ok());
    assert!(Layout::new(vec![count("c", Ring::Z64, 1, u64::MAX)], 2).is_err());
}

#[test]
fn the_sum_of_signed_words_is_proved_to_stay_in_half_its_ring_to_the_last_one() {
    // 2·n·max + 1 ≤ 2^16 with n = 7: max ≤ 4681 (2·7·4681 + 1 = 65535).
    assert!(Layout::new(vec![fixed(Ring::Z16, 1, 4, 4681)], 7).is_ok());
    assert!(Layout::new(vec![fixed(Ring::Z16, 1, 4, 4682)], 7).is_err());
    assert!(Layout::new(vec![fixed(Ring::Z16, 1, 53, 1)], 7).is_err());
    assert!(Layout::new(vec![quantised(Ring::Z64, 1)], 7).is_err());
    let heavy = Encoding::Quantised { clip: 1.0, weight_max: 40_000 };
    assert!(Layout::new(vec![segment("u", Ring::Z16, 1, heavy)], 7).is_err());
}

#[test]
fn a_layout_without_segments_names_words_or_contributors_is_refused() {
    let one = || count("c", Ring::Z64, 1, 1);
    let refused = [
        (vec![], 3),
        (vec![one(); SEGMENTS_MAX + 1], 3),
        (vec![one(), one()], 3),
        (vec![count("", Ring::Z64, 1, 1)], 3),
        (vec![count("c", Ring::Z64, 0, 1)], 3),
        (vec![one()], 0),
        (vec![one()], COHORT_MAX as u32 + 1),
        (vec![count("c", Ring::Z64, u64::MAX, 1)], 3),
        (vec![count("c", Ring::Z64, UPLOAD_BYTES_MAX / 8, 1)], 3),
    ];
    for (segments, contributors) in refused {
        assert!(Layout::new(segments, contributors).is_err());
    }
}

#[test]
fn a_layout_from_outside_is_proved_again() {
    let layout = Layout::new(vec![count("c", Ring::Z16, 3, 655)], 100).unwrap();
    let bytes = encode(&layout);
    assert_eq!(decode(&bytes, 4096), Ok(layout));
    let mut forged = bytes;
    let last = forged.len() - 4;
    forged[last..].copy_from_slice(&101_u32.to_le_bytes());
    assert!(decode::<Layout>(&forged, 4096).is_err());
}

#[test]
fn chunks_follow_each_other_in_whole_blocks_and_lanes_have_8_to_22_bytes() {
    let words = CHUNK_PAYLOAD_BYTES / 4 * 2 + 5;
    let layout = Layout::new(
        vec![quantised(Ring::Z32, words), count("w", Ring::Z64, 1, 9), quantised_small()],
        10,
    )
    .unwrap();
    let chunks: Vec<_> = layout.chunks().collect();
    assert_eq!(chunks.len(), 5);
    assert_eq!(chunks.len(), layout.chunk_count());
    let mut end = 0;
    for (index, chunk) in chunks.iter().enumerate() {
        assert_eq!((chunk.index, chunk.offset), (index, end));
        assert!(chunk.offset.is_multiple_of(16) && chunk.bytes().is_multiple_of(16));
        assert!((8..24).contains(&chunk.lane_bytes) && chunk.bytes() <= CHUNK_BYTES_MAX);
        assert!(chunk.lane_bytes.is_multiple_of(chunk.ring.bytes()));
        end = chunk.range().end;
    }
    assert_eq!(end as u64, layout.total_bytes());
    assert_eq!(chunks[2].words(), 2 * 262_144..2 * 262_144 + 5);
}

fn quantised_small() -> Segment {
    Segment { name: Text::clipped("small"), ..quantised(Ring::Z16, 3) }
}

#[test]
fn lanes_of_n_uploads_sum_to_n_and_a_single_flipped_bit_shows() {
    let layout = Layout::new(vec![quantised(Ring::Z16, 70_000), quantised_small()], 512).unwrap();
    let mut sum = vec![0; layout.blank().len()];
    for _ in 0..300 {
        add_to(&mut sum, &layout, &layout.blank());
    }
    assert_eq!(layout.check_lanes(&sum, 300), Ok(()));
    assert!(layout.check_lanes(&sum, 299).is_err());
    for chunk in layout.chunks() {
        for byte in chunk.lanes() {
            let mut broken = sum.clone();
            broken[byte] ^= 0x10;
            let expected = Err(LanesError::Broken { chunk: chunk.index });
            assert_eq!(layout.check_lanes(&broken, 300), expected);
        }
    }
    let short = WrongLength { bytes: 16, expected: layout.total_bytes() };
    assert_eq!(layout.check_lanes(&[0; 16], 300), Err(short.into()));
    assert_eq!(layout.write_lanes(&mut [0; 16]), Err(short));
}

fn add_to(sum: &mut [u8], layout: &Layout, upload: &[u8]) {
    for chunk in layout.chunks() {
        add_words(&mut sum[chunk.range()], chunk.ring, &upload[chunk.range()]);
    }
}

#[test]
fn values_beyond_their_bounds_do_not_go_into_an_upload() {
    let layout =
        Layout::new(vec![count("c", Ring::Z32, 2, 9), fixed(Ring::Z32, 1, 8, 256)], 5).unwrap();
    let mut upload = layout.blank();
    assert!(layout.write_counts(&mut upload, "c", &[9, 0]).is_ok());
    let refused = layout.write_counts(&mut upload, "c", &[0, 10]);
    assert_eq!(refused, Err(ValueError::OutOfBounds { segment: "c".into(), index: 1 }));
    assert!(layout.write_counts(&mut upload, "c", &[1]).is_err());
    assert!(layout.write_counts(&mut upload, "fixed", &[1]).is_err());
    assert!(layout.write_counts(&mut upload[1..], "c", &[1, 1]).is_err());
    for bad in [1.1, -1.1, f64::NAN, f64::INFINITY, 1e300] {
        assert!(layout.write_fixed(&mut upload, "fixed", &[bad]).is_err(), "{bad}");
    }
    assert!(layout.write_fixed(&mut upload, "fixed", &[-1.0]).is_ok());
    assert_eq!(layout.read_fixed(&upload, "fixed"), Ok(vec![-1.0]));
    assert!(layout.write_quantised(&mut upload, "none", &[0.0], 1).is_err());
}

#[test]
fn a_sum_beyond_what_contributors_can_make_is_refused() {
    let layout =
        Layout::new(vec![count("c", Ring::Z32, 1, 9), fixed(Ring::Z32, 1, 8, 256)], 5).unwrap();
    let mut sum = layout.blank();
    let chunks: Vec<_> = layout.chunks().collect();
    sum[chunks[0].payload()].copy_from_slice(&46_u32.to_le_bytes());
    sum[chunks[1].payload()].copy_from_slice(&(-1281_i32).to_le_bytes());
    assert!(layout.read_counts(&sum, "c").is_err());
    assert!(layout.read_fixed(&sum, "fixed").is_err());
    sum[chunks[0].payload()].copy_from_slice(&45_u32.to_le_bytes());
    sum[chunks[1].payload()].copy_from_slice(&(-1280_i32).to_le_bytes());
    assert_eq!(layout.read_counts(&sum, "c"), Ok(vec![45]));
    assert_eq!(layout.read_fixed(&sum, "fixed"), Ok(vec![-5.0]));
}

#[test]
fn a_value_that_is_not_finite_is_named_by_its_place_in_the_segment() {
    let words = CHUNK_PAYLOAD_BYTES / 4 + 10;
    let layout = Layout::new(vec![quantised(Ring::Z32, words)], 3).unwrap();
    let mut values = vec![0.5; words as usize];
    values[262_144 + 3] = f32::NAN;
    let refused = layout.write_quantised(&mut layout.blank(), "update", &values, 1);
    let error = QuantizeError::NotFinite { index: 262_147 };
    assert_eq!(refused, Err(ValueError::Quantise { segment: "update".into(), error }));
}

#[test]
fn the_three_kinds_of_plan_fit_the_largest_cohort() {
    let number =
        |name: &str| Column { name: name.into(), kind: ColumnKind::Number { min: 0.0, max: 9.0 } };
    let table = Schema::Table {
        columns: vec![number("a"), number("b")],
        label: "y".into(),
        labels: vec!["0".into(), "1".into()],
        standardise: true,
    };
    let task = testing::task(table, ModelSpec::Softmax { seed: 1 });
    for contributors in [1, 2, 3, 10, 511, 512] {
        let train = Layout::for_plan(PlanKind::Train, &task, contributors).unwrap();
        let named: Vec<_> = train.segments().iter().map(|s| s.name.as_str()).collect();
        assert_eq!(
            named,
            [
                names::UPDATE,
                names::WEIGHT,
                names::EVALUATION_ROWS,
                names::EVALUATION_CORRECT,
                names::EVALUATION_LOSS
            ]
        );
        assert_eq!(train.segment(names::UPDATE).unwrap().words, 2 * 2 + 2);
        let evaluate = Layout::for_plan(PlanKind::Evaluate, &task, contributors).unwrap();
        assert_eq!(evaluate.total_bytes(), 48);
        let statistics = Layout::for_plan(PlanKind::Statistics, &task, contributors).unwrap();
        assert_eq!(statistics.segment(names::SUMS).unwrap().words, 2);
    }
    let pictures = testing::task(images(8, 10), ModelSpec::Softmax { seed: 1 });
    assert!(Layout::for_plan(PlanKind::Statistics, &pictures, 3).is_err());
}

proptest! {
    #[test]
    fn what_goes_in_comes_out_of_the_sum(
        contributions in prop::collection::vec(
            (prop::collection::vec(-1.0_f32..1.0, 9), 1_u32..=4, 0_u64..=9, -1.0_f64..1.0), 1..6),
        ring in prop_oneof![Just(Ring::Z16), Just(Ring::Z32)],
    ) {
        let layout = Layout::new(
            vec![quantised(ring, 9), count("c", ring, 1, 9), fixed(Ring::Z64, 1, 40, 1 << 40)],
            6,
        ).unwrap();
        let mut sum = vec![0; layout.blank().len()];
        for (update, weight, number, real) in &contributions {
            let mut upload = layout.blank();
            layout.write_quantised(&mut upload, "update", update, *weight).unwrap();
            layout.write_counts(&mut upload, "c", &[*number]).unwrap();
            layout.write_fixed(&mut upload, "fixed", &[*real]).unwrap();
            add_to(&mut sum, &layout, &upload);
        }
        prop_assert_eq!(layout.check_lanes(&sum, contributions.len() as u32), Ok(()));
        let number: u64 = contributions.iter().map(|c| c.2).sum();
        prop_assert_eq!(layout.read_counts(&sum, "c"), Ok(vec![number]));
        let real: f64 = contributions.iter().map(|c| c.3).sum();
        prop_assert!((layout.read_fixed(&sum, "fixed").unwrap()[0] - real).abs() < 1e-11);
        let weights: u32 = contributions.iter().map(|c| c.1).sum();
        let step = layout.quantizer("update").unwrap().step();
        let mean = layout.read_mean(&sum, "update", weights.into()).unwrap();
        for (i, mean) in mean.iter().enumerate() {
            let exact: f64 = contributions.iter()
                .map(|c| f64::from(c.0[i]) * f64::from(c.1) / f64::from(weights)).sum();
            prop_assert!((f64::from(*mean) - exact).abs() <= step / 2.0 + 1e-6);
        }
    }

    #[test]
    fn taking_an_upload_back_leaves_what_was_there(words in prop::collection::vec(any::<u8>(), 48)) {
        let layout = Layout::new(vec![count("c", Ring::Z32, 10, 9)], 3).unwrap();
        let mut sum = words.clone();
        add_to(&mut sum, &layout, &layout.blank());
        for chunk in layout.chunks() {
            sub_words(&mut sum[chunk.range()], chunk.ring, &layout.blank()[chunk.range()]);
        }
        prop_assert_eq!(sum, words);
    }
}
