//! How the C library's allocator is set: so that what is freed goes back, and is used by others.
//!
//! Uploads are chunks of 1 MiB among packets of 1.4 kB, on all threads. As it comes, the allocator
//! keeps eight arenas for each processor, and keeps chunks too once the first one was freed (it
//! raises its own threshold); as much again stays resident as is in use (decision 0084).

#[cfg(all(target_os = "linux", target_env = "gnu"))]
use std::time::Duration;

/// Longer blocks are mapped one by one, and unmapped when they are freed. glibc's first threshold.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MAPPED_FROM_BYTES: libc::c_int = 128 << 10;

/// What an arena keeps when blocks at its end are freed. With glibc's 128 KiB each burst of packets
/// faulted its pages in anew: a third of the coordinator's time for a round of long vectors.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT_BYTES: libc::c_int = 8 << 20;

/// Sets it, before any thread but the first is there. Where the C library is another one, nothing.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "FFI: the C library's settings have no safe interface")]
pub(crate) fn settle() {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let arenas = libc::c_int::try_from(processors.max(2)).unwrap_or(libc::c_int::MAX);
    let settings = [
        (libc::M_ARENA_MAX, arenas),
        (libc::M_MMAP_THRESHOLD, MAPPED_FROM_BYTES),
        (libc::M_TRIM_THRESHOLD, KEPT_BYTES),
    ];
    for (setting, value) in settings {
        // SAFETY: takes two numbers, and keeps them under the allocator's own lock. A number that it
        // does not know it refuses, and everything works as before.
        unsafe { libc::mallopt(setting, value) };
    }
}

/// How often memory that is free between blocks in use goes back to the system.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const GIVEN_BACK_EVERY: Duration = Duration::from_secs(5);
/// Less than this stays: it is soon used again, and each page of it would be faulted in anew.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const STAYS_BYTES: usize = 24 << 20;

/// Gives free memory back now and then, as long as the program runs. What a burst of packets or of
/// boxes leaves lies between blocks that stay, where an arena by itself never gives it back.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn give_back() {
    let keep_at_it = || {
        loop {
            std::thread::sleep(GIVEN_BACK_EVERY);
            give_back_once();
        }
    };
    // Where no thread can be made, memory stays a little larger.
    let _ = std::thread::Builder::new().name("allocator".to_owned()).spawn(keep_at_it);
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "FFI: the C library's allocator has no safe interface")]
fn give_back_once() {
    // SAFETY: both take the allocator's own locks, and touch no block that is in use.
    unsafe {
        if libc::mallinfo2().fordblks > STAYS_BYTES {
            libc::malloc_trim(0);
        }
    }
}

/// Nothing is set: the C library is not glibc.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn settle() {}

/// As above.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn give_back() {}
