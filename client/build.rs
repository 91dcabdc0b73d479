//! Where a binary with the feature `torch` finds libtorch when it runs: in the folder it was built
//! with, else in `lib/` beside its own folder, as a shipped archive has it. Without the feature
//! there is no such folder, and nothing is printed.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=DEP_TCH_LIBTORCH_LIB");
    // Reaches packages with a direct dependency on torch-sys (links = "tch").
    if let Ok(folder) = std::env::var("DEP_TCH_LIBTORCH_LIB") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{folder}");
        let apple = std::env::var("CARGO_CFG_TARGET_VENDOR").is_ok_and(|vendor| vendor == "apple");
        let beside = if apple { "@loader_path" } else { "$ORIGIN" };
        println!("cargo:rustc-link-arg=-Wl,-rpath,{beside}/../lib");
    }
}
