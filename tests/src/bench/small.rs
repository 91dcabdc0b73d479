//! A federation with as little data as there can be, for benches of everything else: each client
//! has eight rows of four numbers, and the task names the model.

use std::path::{Path, PathBuf};

use crate::demo::federation::Federation;
use crate::harness::Programs;

/// Writes the configuration of a coordinator that is to be founded in a folder.
///
/// # Errors
/// It can't be written.
pub fn configure(folder: &Path, text: &str) -> Result<(), String> {
    let folder = folder.join("coordinator");
    let written = std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(folder.join("coordinator.toml"), text));
    written.map_err(|error| error.to_string())
}

/// Founds a federation of so many clients in a folder. `model` is the task's table of that name,
/// such as `softmax = { seed = 1 }`.
///
/// # Errors
/// The line of the process that failed.
pub fn found(
    programs: &Programs,
    folder: &Path,
    clients: usize,
    rounds: u32,
    model: &str,
) -> Result<Federation, String> {
    let failed = |error: std::io::Error| error.to_string();
    let names: Vec<String> = (0..clients).map(|place| format!("tenant-{place}")).collect();
    let rows: Vec<PathBuf> = names.iter().map(|name| folder.join("rows").join(name)).collect();
    for folder in &rows {
        std::fs::create_dir_all(folder).map_err(failed)?;
        let text = "a,b,c,d,label\n".to_owned() + &"0,1,0,1,no\n1,0,1,0,yes\n".repeat(4);
        std::fs::write(folder.join("data.csv"), text).map_err(failed)?;
    }
    let file = folder.join("task.toml");
    let task = TASK.replace("ROUNDS", &rounds.to_string()).replace("MODEL", model);
    std::fs::write(&file, task).map_err(failed)?;
    Federation::found(programs, folder, &names, &rows, &file, &|_| {})
}

const TASK: &str = r#"
rounds = ROUNDS

[rules]
coordinator = "malicious"
dropout_permille = 200
clients_min = 2
pinned_peers_min = 2
whole_groups = false
amendment = "all"

[model]
MODEL

[optimiser.fedavg]
learning_rate = 1.0

[hyperparameters]
local_epochs = 1
batch_rows = 32
learning_rate = 0.1
momentum = 0.0
proximal = 0.0

[quantisation]
ring_bits = 32
clip = 1.0
weight_max = 8
rows_per_weight = 1

[schema.table]
label = "label"
labels = ["no", "yes"]
standardise = false
columns = [
    { name = "a", kind = { number = { min = 0.0, max = 1.0 } } },
    { name = "b", kind = { number = { min = 0.0, max = 1.0 } } },
    { name = "c", kind = { number = { min = 0.0, max = 1.0 } } },
    { name = "d", kind = { number = { min = 0.0, max = 1.0 } } },
]
"#;
