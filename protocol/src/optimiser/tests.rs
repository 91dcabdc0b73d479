use super::*;

fn moved(spec: OptimiserSpec, model: &mut [f32], moments: &mut [Vec<f32>], update: &[f32]) {
    let mut moments: Vec<&mut [f32]> = moments.iter_mut().map(Vec::as_mut_slice).collect();
    spec.step(model, &mut moments, update);
}

fn all() -> [OptimiserSpec; 5] {
    let (learning_rate, beta1, beta2, tau) = (0.5, 0.9, 0.99, 1e-3);
    [
        OptimiserSpec::FedAvg { learning_rate },
        OptimiserSpec::FedAvgM { learning_rate, momentum: 0.9 },
        OptimiserSpec::FedAdagrad { learning_rate, beta1, tau },
        OptimiserSpec::FedAdam { learning_rate, beta1, beta2, tau },
        OptimiserSpec::FedYogi { learning_rate, beta1, beta2, tau },
    ]
}

#[test]
fn plain_averaging_adds_the_mean_update() {
    let mut model = [1.0, -2.0];
    OptimiserSpec::FedAvg { learning_rate: 1.0 }.step(&mut model, &mut [], &[0.25, 0.5]);
    assert_eq!(model, [1.25, -1.5]);
}

#[test]
fn momentum_remembers_the_last_updates() {
    let spec = OptimiserSpec::FedAvgM { learning_rate: 1.0, momentum: 0.5 };
    let (mut model, mut moments) = ([0.0], spec.initial_moments(1));
    moved(spec, &mut model, &mut moments, &[1.0]);
    moved(spec, &mut model, &mut moments, &[1.0]);
    assert_eq!((model, moments[0][0]), ([2.5], 1.5));
}

#[test]
fn yogi_lets_the_second_moment_shrink_only_by_the_update() {
    let spec = OptimiserSpec::FedYogi { learning_rate: 1.0, beta1: 0.0, beta2: 0.5, tau: 1.0 };
    let (mut model, mut moments) = ([0.0; 3], spec.initial_moments(3));
    moved(spec, &mut model, &mut moments, &[0.0, 1.0, 2.0]);
    assert_eq!(moments[1], [1.0, 1.0, 3.0]);
}

#[test]
fn every_optimiser_walks_towards_a_constant_update() {
    for spec in all() {
        assert_eq!(spec.validate(), Ok(()));
        let (mut model, mut moments) = ([0.0, 0.0], spec.initial_moments(2));
        assert_eq!(moments.len(), spec.moment_count());
        for _ in 0..20 {
            moved(spec, &mut model, &mut moments, &[0.1, -0.1]);
        }
        assert!(model[0] > 0.5 && model[0] == -model[1], "{spec:?} {model:?}");
    }
}

#[test]
fn numbers_out_of_range_are_refused_by_name() {
    let cases = [
        (OptimiserSpec::FedAvg { learning_rate: 0.0 }, "learning_rate"),
        (OptimiserSpec::FedAvg { learning_rate: f32::NAN }, "learning_rate"),
        (OptimiserSpec::FedAvgM { learning_rate: 1.0, momentum: 1.0 }, "momentum"),
        (OptimiserSpec::FedAdagrad { learning_rate: 1.0, beta1: -0.1, tau: 0.1 }, "beta1"),
        (OptimiserSpec::FedAdam { learning_rate: 1.0, beta1: 0.9, beta2: 1.0, tau: 0.1 }, "beta2"),
        (OptimiserSpec::FedYogi { learning_rate: 1.0, beta1: 0.9, beta2: 0.9, tau: 0.0 }, "tau"),
    ];
    for (spec, field) in cases {
        let error = spec.validate().unwrap_err().to_string();
        assert!(error.starts_with(field), "{error}");
    }
}

/// The frozen vectors: `kind`, the hyperparameters, then lines of hexadecimal bit patterns. Ask
/// for new ones with `ROUNDELAY_WRITE_VECTORS=1 cargo test -p roundelay-protocol vectors`, and
/// check them with `python3 protocol/tests/vectors/optimiser/check.py`.
#[test]
fn the_frozen_vectors_are_reproduced_bit_for_bit() {
    for spec in all() {
        let steps = frozen_steps(&spec);
        crate::fixtures::frozen(&format!("optimiser/{}.txt", name(&spec)), &steps);
    }
}

fn name(spec: &OptimiserSpec) -> &'static str {
    match spec {
        OptimiserSpec::FedAvg { .. } => "fedavg",
        OptimiserSpec::FedAvgM { .. } => "fedavgm",
        OptimiserSpec::FedAdagrad { .. } => "fedadagrad",
        OptimiserSpec::FedAdam { .. } => "fedadam",
        OptimiserSpec::FedYogi { .. } => "fedyogi",
    }
}

/// Five steps over 32 coordinates whose updates span 12 orders of magnitude.
fn frozen_steps(spec: &OptimiserSpec) -> String {
    let mut text = format!("{}\n", serde_json::to_string(spec).unwrap());
    let mut model: Vec<f32> = (0..32).map(|i| (i as f32 - 15.5) / 7.0).collect();
    let mut moments = spec.initial_moments(model.len());
    text += &format!("model {}\n", bits(&model));
    for step in 1..=5 {
        let update: Vec<f32> = (0..32)
            .map(|i| {
                // Parsing rounds correctly everywhere; powers of floats do not.
                let scale: f32 = format!("13e{}", i % 12).parse().unwrap();
                ((i * 37 + step * 11) % 29 - 14) as f32 / scale
            })
            .collect();
        moved(*spec, &mut model, &mut moments, &update);
        text += &format!("update {}\nmodel {}\n", bits(&update), bits(&model));
        for moment in &moments {
            text += &format!("moment {}\n", bits(moment));
        }
    }
    text
}

fn bits(values: &[f32]) -> String {
    values.iter().map(|value| format!("{:08x}", value.to_bits())).collect::<Vec<_>>().join(" ")
}
