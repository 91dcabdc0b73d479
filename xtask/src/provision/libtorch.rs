//! libtorch 2.11.0 for the crate `tch`: the few files that building and running need, in the
//! layout of the wheels, so that the libraries' own search paths find each other.

use std::fs;
use std::path::{Path, PathBuf};

use super::wheels::{Wheel, unpack};
use crate::run::{Outcome, root};

/// The version that `tch` 0.24 is made for. The C++ interface changes with every minor version.
const VERSION: &str = "2.11.0";

const TORCH_MEMBERS: &[&str] = &[
    "torch/include/",
    "torch/lib/libtorch_cpu.",
    "torch/lib/libtorch.",
    "torch/lib/libc10.",
    "torch/lib/libgomp",
    "torch/lib/libomp",
];

/// libtorch_cpu is linked against these two even where there is no GPU.
const NVIDIA_MEMBERS: &[&str] = &["nvidia/cu13/lib/libcudart.so", "nvidia/cu13/lib/libcupti.so"];

/// What a platform downloads; the first is torch.
fn wheels() -> Result<&'static [Wheel], String> {
    match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => Ok(&LINUX_X86_64),
        // Pinned and untested: no such machine was at hand.
        ("linux", "aarch64") => Ok(&LINUX_AARCH64),
        ("macos", "aarch64") => Ok(&MACOS_AARCH64),
        (os, arch) => Err(format!(
            "no libtorch is pinned for {os} on {arch}; set LIBTORCH to a folder with libtorch {VERSION}"
        )),
    }
}

const LINUX_X86_64: [Wheel; 3] = [
    Wheel {
        requirement: "torch==2.11.0",
        sha256: "7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a",
        platform: "manylinux_2_28_x86_64",
    },
    Wheel {
        requirement: "nvidia-cuda-runtime==13.0.96",
        sha256: "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
        platform: "manylinux2014_x86_64",
    },
    Wheel {
        requirement: "nvidia-cuda-cupti==13.0.85",
        sha256: "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8",
        platform: "manylinux_2_25_x86_64",
    },
];

const LINUX_AARCH64: [Wheel; 3] = [
    Wheel {
        requirement: "torch==2.11.0",
        sha256: "d91aac77f24082809d2c5a93f52a5f085032740a1ebc9252a7b052ef5a4fddc6",
        platform: "manylinux_2_28_aarch64",
    },
    Wheel {
        requirement: "nvidia-cuda-runtime==13.0.96",
        sha256: "ef9bcbe90493a2b9d810e43d249adb3d02e98dd30200d86607d8d02687c43f55",
        platform: "manylinux2014_aarch64",
    },
    Wheel {
        requirement: "nvidia-cuda-cupti==13.0.85",
        sha256: "796bd679890ee55fb14a94629b698b6db54bcfd833d391d5e94017dd9d7d3151",
        platform: "manylinux_2_25_aarch64",
    },
];

const MACOS_AARCH64: [Wheel; 1] = [Wheel {
    requirement: "torch==2.11.0",
    sha256: "7b6a60d48062809f58595509c524b88e6ddec3ebe25833d6462eeab81e5f2ce4",
    platform: "macosx_11_0_arm64",
}];

/// Makes libtorch available and returns the folder for the variable LIBTORCH.
///
/// A LIBTORCH of the user's own shell is honoured. `.cargo/config.toml` sets the variable to the
/// folder made here, so that value is no choice of the user's.
pub(crate) fn libtorch() -> Result<PathBuf, String> {
    let ours = root().join("libtorch").join("torch");
    if let Some(chosen) = std::env::var_os("LIBTORCH").map(PathBuf::from)
        && chosen != ours
    {
        return if has_libraries(&chosen) {
            Ok(chosen)
        } else {
            Err(format!(
                "LIBTORCH is {}, which holds no lib/libtorch_cpu; unset it or correct it",
                chosen.display()
            ))
        };
    }
    if fs::read_to_string(ours.join("build-version")).is_ok_and(|text| text.trim() == VERSION) {
        return Ok(ours);
    }
    provision()?;
    Ok(ours)
}

/// Downloads, unpacks beside, and renames: the folder is there whole or not at all.
fn provision() -> Outcome {
    let wheels = wheels()?;
    note!("libtorch {VERSION}: about 540 MB of wheels, once");
    let folder = root().join("libtorch");
    let unfinished = root().join("target").join("libtorch-unfinished");
    let failed = |error: std::io::Error| format!("can't prepare {}: {error}", folder.display());
    remove(&unfinished).map_err(failed)?;
    fs::create_dir_all(&unfinished).map_err(failed)?;
    for (step, wheel) in wheels.iter().enumerate() {
        note!("[{}/{}] {}", step + 1, wheels.len(), wheel.requirement);
        let file = wheel.download()?;
        let members = if step == 0 { TORCH_MEMBERS } else { NVIDIA_MEMBERS };
        unpack(&file, &unfinished, members)?;
    }
    // torch-sys compares this file with the version that it was made for.
    fs::write(unfinished.join("torch").join("build-version"), VERSION).map_err(failed)?;
    remove(&folder).map_err(failed)?;
    fs::rename(&unfinished, &folder).map_err(failed)?;
    wheels.iter().for_each(Wheel::forget);
    Ok(())
}

fn has_libraries(folder: &Path) -> bool {
    ["so", "dylib"]
        .iter()
        .any(|ending| folder.join("lib/libtorch_cpu").with_extension(ending).exists())
}

fn remove(folder: &Path) -> std::io::Result<()> {
    if folder.exists() { fs::remove_dir_all(folder) } else { Ok(()) }
}
