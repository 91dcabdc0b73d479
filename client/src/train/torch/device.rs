//! Which libtorch is loaded and where it computes.
//!
//! One binary serves CPU and GPU: it links libtorch's CPU part alone and loads `libtorch_cuda.so`
//! at start where there is one. That has to come before any CUDA query: the first query decides
//! for the whole process whether there is CUDA (ATen's CUDAHooksInterface).
#![allow(unsafe_code, reason = "loading a library runs its initialisers; see the SAFETY comment")]

use std::path::PathBuf;
use std::sync::OnceLock;

use tch::Cuda;

use crate::train::release::{OURS, is_ours, release_of};
use crate::train::{Device, TrainError};

/// Where to compute.
pub(super) fn choose(wanted: Device) -> Result<tch::Device, TrainError> {
    if wanted == Device::Cpu {
        return Ok(tch::Device::Cpu);
    }
    let loaded = load_cuda();
    if loaded.is_ok() && Cuda::is_available() {
        // The fastest kernel is found by timing; a fixed choice keeps results repeatable.
        Cuda::cudnn_set_benchmark(false);
        return Ok(tch::Device::Cuda(0));
    }
    match (wanted, loaded) {
        (Device::Cuda, Err(error)) => Err(TrainError::Installation(format!(
            "device = \"cuda\", but libtorch's CUDA part is not there ({error}); \
             put a torch {OURS} with CUDA on LD_LIBRARY_PATH, or set device to auto"
        ))),
        (Device::Cuda, Ok(())) => Err(TrainError::Installation(
            "device = \"cuda\", but no usable GPU or driver was found; set device to auto".into(),
        )),
        _ => Ok(tch::Device::Cpu),
    }
}

/// Loads libtorch's CUDA part once; what went wrong stays wrong.
fn load_cuda() -> Result<(), String> {
    static LOADED: OnceLock<Result<(), String>> = OnceLock::new();
    LOADED.get_or_init(load_cuda_now).clone()
}

#[cfg(unix)]
fn load_cuda_now() -> Result<(), String> {
    use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_LAZY};
    // SAFETY: the initialisers of libtorch_cuda register its kernels with the libtorch_cpu that is
    // already loaded, as they do in every PyTorch process; it comes from the same search path and
    // `check_version` has found the release this build was made for.
    let library = unsafe { Library::open(Some("libtorch_cuda.so"), RTLD_LAZY | RTLD_GLOBAL) };
    // Never unloaded: what it registered points into it.
    library.map(std::mem::forget).map_err(|error| error.to_string())
}

#[cfg(not(unix))]
fn load_cuda_now() -> Result<(), String> {
    Err("GPUs are used on Unix only".to_owned())
}

/// One line for people: release and device.
#[must_use]
pub fn describe(wanted: Device) -> String {
    let release = loaded_library().and_then(|library| release_of(&library));
    let release = release.unwrap_or_else(|| OURS.to_owned());
    match choose(wanted) {
        Ok(tch::Device::Cuda(_)) => format!("libtorch {release}, on the GPU"),
        Ok(_) => format!("libtorch {release}, on the CPU"),
        Err(error) => format!("libtorch {release}, {error}"),
    }
}

/// Refuses a libtorch of another release than this build was made for.
///
/// # Errors
/// [`TrainError::Installation`] names both releases and where the other one was loaded from.
pub fn check_version() -> Result<(), TrainError> {
    let Some(library) = loaded_library() else { return Ok(()) };
    match release_of(&library) {
        Some(release) if !is_ours(&release) => Err(TrainError::Installation(format!(
            "libtorch {release} is loaded from {}, this trainer was built for {OURS}; \
             take the other one off LD_LIBRARY_PATH",
            library.display()
        ))),
        _ => Ok(()),
    }
}

/// The file that libtorch was loaded from, where the system tells.
fn loaded_library() -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let line = maps.lines().find(|line| line.ends_with("/libtorch_cpu.so"))?;
    line.find('/').map(|at| PathBuf::from(&line[at..]))
}
