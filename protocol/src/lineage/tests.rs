use roundelay_crypto::mask::Ring;
use roundelay_crypto::secret::Secret;

use super::*;
use crate::contribution;
use crate::fixtures::{frozen, sum, table, wire};
use crate::layout::names;
use crate::model::{ModelSpec, ParameterSpec};
use crate::optimiser::OptimiserSpec;
use crate::privacy::testing::privacy;
use crate::privacy::{Mechanism, Privacy};
use crate::statistics::ColumnStatistics;
use crate::testing::{self, images};

fn task(optimiser: OptimiserSpec) -> Task {
    let mut task = testing::task(images(2, 2), ModelSpec::Softmax { seed: 3 });
    task.optimiser = optimiser;
    task
}

fn adam() -> OptimiserSpec {
    OptimiserSpec::FedAdam { learning_rate: 0.1, beta1: 0.9, beta2: 0.99, tau: 1e-3 }
}

fn averaging() -> OptimiserSpec {
    OptimiserSpec::FedAvg { learning_rate: 1.0 }
}

const METRICS: Metrics = Metrics { rows: 10, correct: 7, loss_sum: 4.25 };

/// The sum of three clients' training uploads.
fn trained(task: &Task) -> (Layout, Vec<u8>) {
    let layout = Layout::for_plan(PlanKind::Train, task, 3).unwrap();
    let uploads: Vec<_> = (1..=3)
        .map(|client| {
            let update: Vec<f32> = (0..10).map(|i| (i - 4) as f32 * client as f32 / 64.0).collect();
            contribution::train(&layout, &update, client, &METRICS).unwrap()
        })
        .collect();
    let sum = sum(&layout, &uploads);
    (layout, sum)
}

#[test]
fn a_training_round_moves_the_model_by_the_weighted_mean_of_the_updates() {
    let task = task(averaging());
    let before = State::initial(&task, None).unwrap();
    let (layout, sum) = trained(&task);
    let after = before.advance(&task, PlanKind::Train, &layout, &sum, 3).unwrap();
    assert_eq!(after.state.version(), ModelVersion(1));
    let step = layout.quantizer(names::UPDATE).unwrap().step() as f32;
    for (i, (x, y)) in before.model().iter().zip(after.state.model()).enumerate() {
        // (1·1 + 2·2 + 3·3) / (1 + 2 + 3) of the first client's update.
        let mean = (i as f32 - 4.0) / 64.0 * 14.0 / 6.0;
        assert!((y - x - mean).abs() <= step / 2.0 + 1e-6);
    }
    let metrics = after.metrics.unwrap();
    assert_eq!((metrics.rows, metrics.correct, metrics.loss_sum), (30, 21, 12.75));
}

#[test]
fn everyone_derives_the_same_state_and_every_change_moves_its_hash() {
    let task = task(adam());
    let (layout, sum) = trained(&task);
    let first = State::initial(&task, None).unwrap();
    let advance = || first.advance(&task, PlanKind::Train, &layout, &sum, 3).unwrap().state;
    assert_eq!(advance(), advance());
    let second = advance();
    let third = second.advance(&task, PlanKind::Train, &layout, &sum, 3).unwrap().state;
    assert_ne!(second.hash(), third.hash());
    let mut later = first.clone();
    later.head.version = ModelVersion(1);
    assert_ne!(later.hash(), first.hash());
    let mut moved = first.clone();
    moved.moments[1][3] += 1.0;
    assert_ne!(moved.hash(), first.hash());
    let evaluated = second.advance(&task, PlanKind::Train, &layout, &sum, 3).unwrap();
    assert_eq!(evaluated.state, third);
}

#[test]
fn an_evaluation_leaves_the_state_as_it_is() {
    let task = task(averaging());
    let layout = Layout::for_plan(PlanKind::Evaluate, &task, 3).unwrap();
    let diverged = Metrics { rows: 10, correct: 0, loss_sum: f64::NAN };
    let uploads =
        [METRICS, METRICS, diverged].map(|m| contribution::evaluate(&layout, &m).unwrap());
    let state = State::initial(&task, None).unwrap();
    let sum = sum(&layout, &uploads);
    let after = state.advance(&task, PlanKind::Evaluate, &layout, &sum, 3).unwrap();
    assert_eq!(after.state, state);
    let expected = Metrics { rows: 30, correct: 14, loss_sum: 8.5 + 640.0 };
    assert_eq!(after.metrics, Some(expected));
}

#[test]
fn statistics_become_part_of_the_state() {
    let task = testing::task(table(), ModelSpec::Softmax { seed: 3 });
    let layout = Layout::for_plan(PlanKind::Statistics, &task, 3).unwrap();
    let schema = table();
    let columns: Vec<_> = schema
        .numeric_columns()
        .map(|column| ColumnStatistics::of(&column, [1.0, 2.0, 4.0]).unwrap())
        .collect();
    let uploads = vec![contribution::statistics(&layout, &columns).unwrap(); 3];
    let before = State::initial(&task, None).unwrap();
    let sum = sum(&layout, &uploads);
    let after = before.advance(&task, PlanKind::Statistics, &layout, &sum, 3).unwrap();
    assert_eq!((after.metrics, after.state.version()), (None, ModelVersion(0)));
    assert_eq!(after.state.standardisation().unwrap().columns.len(), 2);
    assert_ne!(after.state.hash(), before.hash());
    let bytes = after.state.to_bytes();
    assert_eq!(State::from_bytes(&task, &bytes), Ok(after.state));
    assert_eq!(bytes.len() as u64, State::bytes_max(&task).unwrap());
}

#[test]
fn nothing_follows_from_a_sum_whose_check_lanes_do_not_hold() {
    let task = task(averaging());
    let (layout, mut sum) = trained(&task);
    let state = State::initial(&task, None).unwrap();
    let wrong = state.advance(&task, PlanKind::Train, &layout, &sum, 4);
    assert!(matches!(wrong, Err(LineageError::Lanes(LanesError::Broken { chunk: 0 }))));
    let last = sum.len() - 1;
    sum[last] ^= 1;
    assert!(state.advance(&task, PlanKind::Train, &layout, &sum, 3).is_err());
    assert!(state.advance(&task, PlanKind::Train, &layout, &sum[1..], 3).is_err());
}

#[test]
fn a_lying_survivor_spoils_a_figure_but_not_the_round() {
    let task = task(averaging());
    let layout = Layout::for_plan(PlanKind::Train, &task, 3).unwrap();
    let mut upload = contribution::train(&layout, &[0.0; 10], 1, &METRICS).unwrap();
    layout.write_counts(&mut upload, names::EVALUATION_CORRECT, &[1000]).unwrap();
    let honest = contribution::train(&layout, &[0.0; 10], 1, &METRICS).unwrap();
    let state = State::initial(&task, None).unwrap();
    let sum = sum(&layout, &[upload, honest.clone(), honest]);
    let after = state.advance(&task, PlanKind::Train, &layout, &sum, 3).unwrap();
    assert_eq!((after.metrics, after.state.version()), (None, ModelVersion(1)));
}

#[test]
fn a_weight_that_survivors_cannot_have_is_refused() {
    let task = task(averaging());
    let (layout, mut sum) = trained(&task);
    let state = State::initial(&task, None).unwrap();
    for weight in [0_u64, 2, 1 << 40] {
        let chunk = layout.chunks_of(names::WEIGHT).next().unwrap();
        sum[chunk.payload()].copy_from_slice(&weight.to_le_bytes());
        assert!(state.advance(&task, PlanKind::Train, &layout, &sum, 3).is_err(), "{weight}");
    }
}

#[test]
fn a_diverging_model_is_no_state() {
    let task = task(averaging());
    let (layout, sum) = trained(&task);
    let mut state = State::initial(&task, None).unwrap();
    state.model.fill(f32::MAX);
    let mut step = task.clone();
    step.optimiser = OptimiserSpec::FedAvg { learning_rate: 1e38 };
    let diverged = state.advance(&step, PlanKind::Train, &layout, &sum, 3);
    assert!(matches!(diverged, Err(LineageError::Diverged(_))), "{diverged:?}");
}

#[test]
fn a_torchscript_module_brings_its_parameters_or_no_state_begins() {
    let parameters = vec![ParameterSpec { name: "w".into(), shape: vec![2, 2] }];
    let model = ModelSpec::TorchScript { module: wire::digest("module"), parameters };
    let task = testing::task(images(2, 2), model);
    assert!(State::initial(&task, Some(vec![0.5; 4])).is_ok());
    let expected = Err(LineageError::Parameters { found: 3, expected: 4 });
    assert_eq!(State::initial(&task, Some(vec![0.5; 3])), expected);
    assert!(State::initial(&task, None).is_err());
    assert!(State::initial(&task, Some(vec![f32::NAN; 4])).is_err());
}

#[test]
fn a_state_survives_its_bytes_and_damaged_bytes_are_none() {
    let task = task(adam());
    let (layout, sum) = trained(&task);
    let state = State::initial(&task, None).unwrap();
    let state = state.advance(&task, PlanKind::Train, &layout, &sum, 3).unwrap().state;
    let bytes = state.to_bytes();
    assert_eq!(bytes.len() as u64, State::bytes_max(&task).unwrap());
    assert_eq!(State::from_bytes(&task, &bytes), Ok(state.clone()));
    assert_eq!(State::from_bytes(&task, &bytes[1..]), Err(StateError::NotAState));
    assert_eq!(State::from_bytes(&task, &bytes[..20]), Err(StateError::NotAState));
    assert!(matches!(State::from_bytes(&task, &bytes[..99]), Err(StateError::Length { .. })));
    let longer = [bytes.clone(), vec![0]].concat();
    assert!(matches!(State::from_bytes(&task, &longer), Err(StateError::Length { .. })));
    let other = self::task(averaging());
    assert_eq!(State::from_bytes(&other, &bytes), Err(StateError::OtherTask));
    for header in [16, 24, 32] {
        let mut forged = bytes.clone();
        forged[header..header + 8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(State::from_bytes(&task, &forged), Err(StateError::OtherTask));
    }
    let mut forged = bytes;
    let end = forged.len();
    forged[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    assert_eq!(State::from_bytes(&task, &forged), Err(StateError::NotFinite));
}

/// Two rounds of FedAdam from the sums' bytes to the states' bytes, recomputed independently by
/// `protocol/tests/vectors/lineage/check.py`. `ROUNDELAY_WRITE_VECTORS=1` writes them anew.
#[test]
fn the_frozen_lineage_is_reproduced_byte_for_byte() {
    let task = task(adam());
    let (layout, sum) = trained(&task);
    let update = layout.segment(names::UPDATE).unwrap();
    assert_eq!((update.ring, update.words), (Ring::Z32, 10));
    let quantizer = layout.quantizer(names::UPDATE).unwrap();
    let mut state = State::initial(&task, None).unwrap();
    let mut text = format!("{}\n", serde_json::to_string(&task.optimiser).unwrap());
    text += &format!("clip {} levels {}\n", quantizer.spec().clip, quantizer.levels());
    text += &format!("key {}\n", crate::model::initial_key(3));
    text += &format!("state {}\nhash {}\n", hex::encode(state.to_bytes()), state.hash());
    for _ in 0..2 {
        state = state.advance(&task, PlanKind::Train, &layout, &sum, 3).unwrap().state;
        text += &format!("sum {}\n", hex::encode(&sum));
        text += &format!("state {}\nhash {}\n", hex::encode(state.to_bytes()), state.hash());
    }
    frozen("lineage/fedadam.txt", &text);
}

/// Parameters of a model of two windows, the second of which is no whole block.
const LONG: usize = (1 << 20) + 70_000;

fn long(optimiser: OptimiserSpec) -> (Task, Vec<f32>) {
    let parameters = vec![ParameterSpec { name: "w".into(), shape: vec![LONG as u32] }];
    let model = ModelSpec::TorchScript { module: wire::digest("module"), parameters };
    let mut task = testing::task(images(2, 2), model);
    task.optimiser = optimiser;
    (task, (0..LONG).map(|i| (i % 1000) as f32 / 4096.0).collect())
}

#[test]
fn a_model_of_several_windows_moves_by_the_mean_over_all_of_them() {
    let (task, update) = long(adam());
    let layout = Layout::for_plan(PlanKind::Train, &task, 3).unwrap();
    assert!(layout.chunks_of(names::UPDATE).count() > 4);
    let upload = contribution::train(&layout, &update, 1, &METRICS).unwrap();
    let sum = sum(&layout, &vec![upload; 3]);
    let before = State::initial(&task, Some(vec![0.0; LONG])).unwrap();
    let after = before.advance(&task, PlanKind::Train, &layout, &sum, 3).unwrap().state;
    let State { mut model, mut moments, .. } = before;
    let mut moments: Vec<_> = moments.iter_mut().map(Vec::as_mut_slice).collect();
    let mean = layout.read_mean(&sum, names::UPDATE, 3).unwrap();
    task.optimiser.step(&mut model, &mut moments, &mean);
    assert!(after.model == model && after.moments == moments);
    let bytes = after.to_bytes();
    assert_eq!(after.hash(), Digest::of("roundelay/state", &[&bytes]));
    assert_eq!(State::from_bytes(&task, &bytes), Ok(after));
}

#[test]
fn a_private_model_of_several_blocks_is_turned_back_block_by_block() {
    let (mut task, update) = long(averaging());
    let mechanism = Mechanism::Central;
    task.privacy = Some(Privacy { mechanism, l2_clip: 200.0, ..privacy() });
    let layout = Layout::for_plan(PlanKind::Train, &task, 3).unwrap();
    let before = State::initial(&task, Some(vec![0.0; LONG])).unwrap();
    let seed = Secret::new([1; 32]);
    let upload = contribution::private(&layout, &update, &before.hash(), &seed).unwrap();
    let sum = sum(&layout, &vec![upload; 3]);
    let after = before.advance(&task, PlanKind::Train, &layout, &sum, 3).unwrap().state;
    let (_, private) = layout.private().unwrap();
    let error = |(moved, meant): (&f32, &f32)| f64::from(moved - meant).powi(2);
    let square: f64 = after.model().iter().zip(&update).map(error).sum();
    let deviation = (square / LONG as f64).sqrt();
    assert!(deviation < 1.0 / private.scale, "{deviation}, of levels of {}", 1.0 / private.scale);
}

#[test]
fn a_head_is_read_from_the_first_bytes_of_a_state_and_says_where_its_vectors_lie() {
    let task = task(adam());
    let state = State::initial(&task, None).unwrap();
    let bytes = state.to_bytes();
    let (head, values) = Head::read(&task, &bytes).unwrap();
    assert_eq!((&head, head.vectors(), head.parameters()), (state.head(), 3, 10));
    assert_eq!(head.to_bytes(), bytes[..bytes.len() - values.len()]);
    for (vector, meant) in [&state.model, &state.moments[0], &state.moments[1]].iter().enumerate() {
        let start = usize::try_from(head.vector_start(vector)).unwrap();
        assert_eq!(bytes[start..start + 4], meant[0].to_le_bytes());
    }
    assert_eq!(head.state_bytes(), bytes.len() as u64);
    let cut = &bytes[..head.to_bytes().len() - 1];
    assert_eq!(Head::read(&task, cut), Err(StateError::NotAState));
}

#[test]
fn a_head_whose_columns_are_cut_off_is_told_how_long_it_should_be() {
    let task = testing::task(table(), ModelSpec::Softmax { seed: 3 });
    let mut state = State::initial(&task, None).unwrap();
    state.head.standardisation = Some(Standardisation::from_bounds(&task.schema));
    let head = state.head.to_bytes();
    assert_eq!(head.len() as u64, Head::bytes_max(&task));
    let (bytes, expected) = (head.len() as u64 - 1, head.len() as u64);
    let cut = Head::read(&task, &head[..head.len() - 1]);
    assert_eq!(cut, Err(StateError::Length { bytes, expected }));
    assert_eq!(Head::read(&task, &head), Ok((state.head, [].as_slice())));
}
