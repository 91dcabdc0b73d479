//! `cargo xtask bench mask-vs-flower`: coordinates masked and added per second of computing,
//! against numpy's MT19937 as Flower's SecAgg+ uses it.
//!
//! The reference is what `flwr` does for every key (`pseudo_rand_gen`: a seed folded to 32 bits,
//! `RandomState.randint` as int64; then `parameters_addition`), on warm memory; numpy is installed
//! into a folder of its own under `target`. Both sides take the same vector of 10^6 coordinates and
//! the same number of keys, on one thread, in turn.

use std::hint::black_box;
use std::process::ExitCode;

use roundelay_crypto::mask::{MaskKey, Masks, Ring, Sign};
use roundelay_crypto::secret::Secret;
use roundelay_program::note;
use roundelay_tests::bench::python::Peer;
use roundelay_tests::bench::{Figure, machine, tell_parts, wants_json};
use roundelay_tests::cpu;

const COORDINATES: usize = 1_000_000;
const KEYS: u8 = 32;
const RUNS: usize = 7;
const NUMPY: &str = "numpy==2.3.5";

/// One line in, `coordinates keys ring_bits`; one line out, the seconds that it computed for.
const FLOWER: &str = "
import sys, time
import numpy as np

def pseudo_rand_gen(seed, num_range, dimension):
    folded = 0
    for at in range(0, len(seed), 4):
        folded ^= int.from_bytes(seed[at : at + 4], 'little')
    return np.random.RandomState(folded).randint(0, num_range - 1, dimension, dtype=np.int64)

for line in sys.stdin:
    coordinates, keys, bits = map(int, line.split())
    words = np.zeros(coordinates, dtype=np.int64)
    start = time.process_time()
    for key in range(keys):
        mask = pseudo_rand_gen(bytes([key + 1] * 4 + [0] * 40), 1 << bits, (coordinates,))
        words = words + mask if key % 2 == 0 else words - mask
    words = words & ((1 << bits) - 1)
    print(time.process_time() - start, flush=True)
";

fn main() -> ExitCode {
    let mut flower = Peer::start_if_possible(&[NUMPY], FLOWER);
    let keys: Vec<MaskKey> = (0..KEYS)
        .map(|at| MaskKey {
            seed: Secret::new([at; 32]),
            sign: if at % 2 == 0 { Sign::Plus } else { Sign::Minus },
        })
        .collect();
    let parts = [(Ring::Z32, 15.0), (Ring::Z16, 30.0)]
        .map(|(ring, target)| part(&keys, ring, target, flower.as_mut()));
    tell_parts(&parts, wants_json())
}

fn part(keys: &[MaskKey], ring: Ring, target: f64, flower: Option<&mut Peer>) -> Figure {
    let mut words = vec![0; COORDINATES * ring.bytes()];
    let mut ours = || cpu::timed(&mut || Masks::new(keys).add(black_box(&mut words), ring, 0));
    let rate = |seconds: &Vec<f64>| {
        COORDINATES as f64 * f64::from(KEYS) / cpu::median(seconds.clone()) / 1e9
    };
    let (ours, reference) = match flower {
        Some(flower) => {
            let order = format!("{COORDINATES} {KEYS} {}", ring.bits());
            let mut theirs = || flower.ask(&order).map_or(f64::NAN, |seconds| seconds[0]);
            let took = cpu::in_turn(RUNS, &mut [&mut ours, &mut theirs]);
            (rate(&took[0]), Some(rate(&took[1])).filter(|rate| rate.is_finite()))
        }
        None => (rate(&cpu::in_turn(RUNS, &mut [&mut ours])[0]), None),
    };
    let ratio = reference.map_or(0.0, |reference| ours / reference);
    note!("modulo 2^{}: {ours:.2} Gcoord/s, ratio {ratio:.1}", ring.bits());
    Figure {
        bench: "mask-vs-flower",
        part: Some(format!("modulo 2^{}", ring.bits())),
        ours,
        reference,
        unit: "Gcoord/s",
        ratio: Some(ratio),
        target: Some(target),
        pass: ratio >= target,
        runs: RUNS,
        machine: machine(),
        notes: vec![],
    }
}
