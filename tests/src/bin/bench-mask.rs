//! `cargo xtask bench mask`: our masks, expanded and added in one go, against the keystream alone
//! of the faster of two libraries.
//!
//! One thread, AES-256, 32 keys over one chunk of an upload (1 MiB); figures are bytes of keystream
//! per second of computing. All sides are built for the processor at hand, and run in turn. The
//! libraries write into a buffer that stays in the first-level cache, and add nothing.

use std::hint::black_box;
use std::process::ExitCode;

use aws_lc_rs::cipher::{AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use ctr::cipher::{KeyIvInit, StreamCipher};
use roundelay_crypto::mask::{Kernel, MaskKey, Ring, Sign};
use roundelay_crypto::secret::Secret;
use roundelay_program::note;
use roundelay_tests::bench::{Figure, machine, wants_json};
use roundelay_tests::cpu;

const KEYS: u8 = 32;
const CHUNK_BYTES: usize = 1 << 20;
const BUFFER_BYTES: usize = 16 * 1024;
const RUNS: usize = 15;
const TARGET: f64 = 1.2;
/// VAES starts one round on 64 bytes per cycle; AES-256 has 14 of them.
const BOUND_BYTES_PER_CYCLE: f64 = 64.0 / 14.0;

/// Measures one side once, in seconds.
type Rival<'a> = Box<dyn FnMut() -> f64 + 'a>;

fn main() -> ExitCode {
    let keys: Vec<MaskKey> = (0..KEYS)
        .map(|at| MaskKey {
            seed: Secret::new([at; 32]),
            sign: if at % 2 == 0 { Sign::Plus } else { Sign::Minus },
        })
        .collect();
    let mut words = vec![0; CHUNK_BYTES];
    let mut kernels: Vec<(&str, Rival<'_>)> = Vec::new();
    for (name, kernel) in Kernel::all() {
        let Some(kernel) = kernel else { continue };
        let (keys, mut words) = (&keys, words.clone());
        kernels.push((
            name,
            Box::new(move || {
                cpu::timed(&mut || {
                    kernel.expand(keys).add(black_box(&mut words), Ring::Z32, 0);
                })
            }),
        ));
    }
    words.truncate(BUFFER_BYTES);
    let mut buffer = words.clone();
    let mut stock = || cpu::timed(&mut || stock(&mut buffer));
    let mut aws = || cpu::timed(&mut || aws(&mut words));
    let names: Vec<&'static str> = kernels.iter().map(|(name, _)| *name).collect();
    let mut rivals: Vec<&mut dyn FnMut() -> f64> = vec![&mut stock, &mut aws];
    rivals.extend(kernels.iter_mut().map(|(_, kernel)| kernel.as_mut() as &mut dyn FnMut() -> f64));
    let hertz = cpu::hertz();
    let bytes = f64::from(KEYS) * CHUNK_BYTES as f64;
    let mut rates = cpu::in_turn(RUNS, &mut rivals)
        .into_iter()
        .map(|seconds| bytes / cpu::median(seconds) / 1e9);
    let (stock, aws) = (rates.next().unwrap_or(f64::NAN), rates.next().unwrap_or(f64::NAN));
    let ours: Vec<f64> = rates.collect();
    tell(&names, &ours, stock, aws, hertz)
}

fn tell(names: &[&'static str], ours: &[f64], stock: f64, aws: f64, hertz: f64) -> ExitCode {
    let reference = stock.max(aws);
    let fastest = ours.first().copied().unwrap_or(f64::NAN);
    let mut notes: Vec<_> = names.iter().copied().zip(ours.iter().copied()).collect();
    notes.extend([("aes with ctr, keystream alone", stock), ("aws-lc-rs, keystream alone", aws)]);
    if Some("VAES with AVX-512") == names.first().copied() {
        let bound = hertz * BOUND_BYTES_PER_CYCLE / 1e9;
        note!(
            "one VAES round of 64 bytes per cycle at {:.2} GHz: {bound:.1} GB/s at most; reached {:.0} %",
            hertz / 1e9,
            100.0 * fastest / bound
        );
        notes.push(("bound by the port of VAES", bound));
    }
    let ratio = fastest / reference;
    Figure {
        bench: "mask",
        part: None,
        ours: fastest,
        reference: Some(reference),
        unit: "GB/s",
        ratio: Some(ratio),
        target: Some(TARGET),
        pass: ratio >= TARGET,
        runs: RUNS,
        machine: machine(),
        notes,
    }
    .tell(wants_json())
}

/// The keystreams of `aes` and `ctr`.
fn stock(buffer: &mut [u8]) {
    for at in 0..KEYS {
        let mut cipher = ctr::Ctr128BE::<aes::Aes256Enc>::new(&[at; 32].into(), &[0; 16].into());
        for _ in 0..CHUNK_BYTES / BUFFER_BYTES {
            cipher.write_keystream(black_box(buffer));
        }
    }
}

/// The keystreams of aws-lc-rs, which it can only add (xor) to what a buffer holds.
fn aws(buffer: &mut [u8]) {
    for at in 0..KEYS {
        let key = UnboundCipherKey::new(&AES_256, &[at; 32]).expect("a key of 32 bytes");
        let key = EncryptingKey::ctr(key).expect("a key for CTR");
        for _ in 0..CHUNK_BYTES / BUFFER_BYTES {
            let start = EncryptionContext::Iv128(FixedLength::from([0; 16]));
            key.less_safe_encrypt(black_box(&mut *buffer), start).expect("a buffer of any length");
        }
    }
}
