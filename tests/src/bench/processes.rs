//! What processes cost, from `/proc`: processor time and resident memory.

use std::collections::BTreeMap;
use std::fs;

/// Processor time of a process and of all below it, in milliseconds.
#[must_use]
pub fn cpu_ms(process: u32) -> f64 {
    let all = all();
    let mut waiting = vec![process];
    let mut ticks = 0;
    while let Some(one) = waiting.pop() {
        ticks += all.get(&one).map_or(0, |known| known.ticks);
        waiting.extend(all.iter().filter(|(_, known)| known.parent == one).map(|(id, _)| *id));
    }
    ticks as f64 * 1_000.0 / ticks_per_second()
}

/// The most memory that a process ever had resident, in MiB; none once it is gone.
#[must_use]
pub fn peak_mib(process: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib / 1_024.0)
}

struct Known {
    parent: u32,
    ticks: u64,
}

fn all() -> BTreeMap<u32, Known> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter_map(|id| Some((id, known(id)?))).collect()
}

/// Fields 4, 14 and 15 of `/proc/ID/stat`, counted behind the name, which may hold anything.
fn known(id: u32) -> Option<Known> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Known { parent: number(1)?.try_into().ok()?, ticks: number(11)? + number(12)? })
}

/// Linux counts in hundredths of a second for user space, whatever its own clock.
fn ticks_per_second() -> f64 {
    100.0
}
