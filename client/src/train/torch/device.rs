//! Which libtorch is loaded and where it computes.
//!
//! One binary serves CPU and GPU: it links libtorch's CPU part alone and loads `libtorch_cuda.so`
//! at start where there is one. That has to come before any CUDA query: the first query decides
//! for the whole process whether there is CUDA (ATen's CUDAHooksInterface).
#![allow(unsafe_code, reason = "loading a library runs its initialisers; see the SAFETY comment")]

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tch::Cuda;

use crate::train::{Device, TrainError};

/// The libtorch release that this build was made for; its C++ interface changes with each.
pub const LIBTORCH_VERSION: &str = "2.11";

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
             put a torch {LIBTORCH_VERSION} with CUDA on LD_LIBRARY_PATH, or set device to auto"
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
    let release = release.unwrap_or_else(|| LIBTORCH_VERSION.to_owned());
    match choose(wanted) {
        Ok(tch::Device::Cuda(_)) => format!("libtorch {release}, on the GPU"),
        Ok(_) => format!("libtorch {release}, on the CPU"),
        Err(error) => format!("libtorch {release}, {error}"),
    }
}

/// Refuses a libtorch of another release than this build was made for.
pub(super) fn check_version() -> Result<(), TrainError> {
    let Some(library) = loaded_library() else { return Ok(()) };
    match release_of(&library) {
        Some(release) if !is_ours(&release) => Err(TrainError::Installation(format!(
            "libtorch {release} is loaded from {}, this trainer was built for {LIBTORCH_VERSION}; \
             take the other one off LD_LIBRARY_PATH",
            library.display()
        ))),
        _ => Ok(()),
    }
}

fn is_ours(release: &str) -> bool {
    release.strip_prefix(LIBTORCH_VERSION).is_some_and(|rest| rest.starts_with('.'))
}

/// The file that libtorch was loaded from, where the system tells.
fn loaded_library() -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let line = maps.lines().find(|line| line.ends_with("/libtorch_cpu.so"))?;
    line.find('/').map(|at| PathBuf::from(&line[at..]))
}

/// The release that the files beside a library name: `build-version`, or PyTorch's `version.py`.
fn release_of(library: &Path) -> Option<String> {
    let root = library.parent()?.parent()?;
    if let Ok(text) = std::fs::read_to_string(root.join("build-version")) {
        return Some(text.trim().to_owned());
    }
    let python = std::fs::read_to_string(root.join("version.py")).ok()?;
    let line = python.lines().find(|line| line.starts_with("__version__"))?;
    line.split(['\'', '"']).nth(1).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_release_of_this_build_is_taken() {
        assert!(is_ours("2.11.0") && is_ours("2.11.1+cu130"));
        assert!(!is_ours("2.1.1") && !is_ours("2.12.0") && !is_ours("2.110.0") && !is_ours("2.11"));
    }

    #[test]
    fn the_release_is_read_beside_the_library() {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("lib/libtorch_cpu.so");
        assert_eq!(release_of(&library), None);
        let python = "from typing import Optional\n__version__ = '2.9.1+cu128'\ndebug = False\n";
        std::fs::write(folder.path().join("version.py"), python).unwrap();
        assert_eq!(release_of(&library), Some("2.9.1+cu128".to_owned()));
        std::fs::write(folder.path().join("build-version"), "2.11.0\n").unwrap();
        assert_eq!(release_of(&library), Some("2.11.0".to_owned()));
    }

    #[test]
    fn the_libtorch_of_this_process_is_found_and_is_the_right_one() {
        // Any call makes sure that it is loaded.
        assert!(tch::get_num_threads() > 0);
        assert!(cfg!(not(target_os = "linux")) || loaded_library().is_some());
        assert_eq!(check_version(), Ok(()));
    }
}
