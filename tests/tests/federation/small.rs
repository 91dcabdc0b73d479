//! A small federation: few rows, few rounds, softmax regression by ndarray, seconds to run.

use std::path::{Path, PathBuf};
use std::time::Duration;

use roundelay_protocol::manifest::Task;
use roundelay_tests::demo::federation::Federation;
use roundelay_tests::demo::task::task_of;
use roundelay_tests::harness::{Programs, wait_until};
use tempfile::TempDir;

/// Thousandths of a cohort that may drop out of a round.
const DROPOUT_PERMILLE: u16 = 400;

/// A federation in a folder that goes with it.
pub(crate) struct Small {
    pub(crate) federation: Federation,
    pub(crate) task: Task,
    pub(crate) rows: Vec<PathBuf>,
    pub(crate) folder: TempDir,
}

impl Small {
    /// Founds a federation of so many tenants that runs so many train rounds; nobody has started.
    pub(crate) fn found(tenants: usize, rounds: u32, standardise: bool) -> Self {
        Self::found_as(tenants, rounds, standardise, DROPOUT_PERMILLE, "")
    }

    /// The same in a folder of the caller's making, which may have disks mounted in it.
    pub(crate) fn found_in(folder: TempDir, tenants: usize, rounds: u32, config: &str) -> Self {
        Self::found_at(folder, tenants, rounds, false, DROPOUT_PERMILLE, config)
    }

    /// The same where nobody may be missing in a sum.
    pub(crate) fn found_whole_in(folder: TempDir, tenants: usize, rounds: u32) -> Self {
        Self::found_at(folder, tenants, rounds, false, 0, "")
    }

    /// The same with a configuration of the coordinator.
    pub(crate) fn found_with(tenants: usize, rounds: u32, standardise: bool, config: &str) -> Self {
        Self::found_as(tenants, rounds, standardise, DROPOUT_PERMILLE, config)
    }

    /// The same where nobody may be missing in a sum.
    pub(crate) fn found_whole(tenants: usize, rounds: u32) -> Self {
        Self::found_whole_with(tenants, rounds, "")
    }

    /// The same with a configuration of the coordinator.
    pub(crate) fn found_whole_with(tenants: usize, rounds: u32, config: &str) -> Self {
        Self::found_as(tenants, rounds, false, 0, config)
    }

    /// The same where privacy is promised: of this task file's lines, some are others, and these
    /// follow.
    pub(crate) fn found_private(tenants: usize, rounds: u32, trust: &str, privacy: &str) -> Self {
        let text = task_toml(rounds, true, DROPOUT_PERMILLE)
            .replace("weight_max = 64", "weight_max = 1")
            .replace("\"malicious\"", &format!("\"{trust}\""));
        let text = format!("{text}\n[privacy]\n{privacy}");
        Self::found_on(tempfile::tempdir().expect("a folder"), tenants, &text, "")
    }

    fn found_as(
        tenants: usize,
        rounds: u32,
        standardise: bool,
        dropout_permille: u16,
        config: &str,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self::found_at(folder, tenants, rounds, standardise, dropout_permille, config)
    }

    fn found_at(
        folder: TempDir,
        tenants: usize,
        rounds: u32,
        standardise: bool,
        dropout_permille: u16,
        config: &str,
    ) -> Self {
        Self::found_on(folder, tenants, &task_toml(rounds, standardise, dropout_permille), config)
    }

    /// With a task file of these lines.
    fn found_on(folder: TempDir, tenants: usize, text: &str, config: &str) -> Self {
        let coordinator = folder.path().join("coordinator");
        std::fs::create_dir_all(&coordinator).expect("a folder");
        std::fs::write(coordinator.join("coordinator.toml"), config).expect("a file");
        let programs = Programs::find().expect("the programs are built");
        let names: Vec<String> = (0..tenants).map(|place| format!("tenant-{place}")).collect();
        let rows: Vec<PathBuf> =
            names.iter().map(|name| folder.path().join("rows").join(name)).collect();
        for (place, folder) in rows.iter().enumerate() {
            write_rows(folder, place, 60 + 20 * place);
        }
        let file = folder.path().join("task.toml");
        std::fs::write(&file, text).expect("a task file");
        let task = task_of(text).expect("a task");
        let quiet = |_: &str| {};
        let federation = Federation::found(&programs, folder.path(), &names, &rows, &file, &quiet)
            .expect("a federation is founded");
        Self { federation, task, rows, folder }
    }

    /// The newest model version.
    pub(crate) fn version(&self) -> u64 {
        let status = self.federation.status().expect("a status");
        status["model"]["version"].as_u64().unwrap_or(0)
    }

    /// Waits until so many more versions were published.
    pub(crate) fn goes_on(&self, versions: u64) {
        let goal = self.version() + versions;
        let reached =
            wait_until(Duration::from_secs(60), || (self.version() >= goal).then_some(()));
        assert!(reached.is_some(), "{:?}\n{}", self.federation.status(), self.logs());
    }

    /// The ends of all logs.
    pub(crate) fn logs(&self) -> String {
        let sites = self.federation.sites.iter();
        let sites = sites.map(|site| format!("--- {}\n{}", site.name(), site.log_tail()));
        let sites: Vec<_> = sites.collect();
        format!("--- coordinator\n{}\n{}", self.federation.coordinator.log_tail(), sites.join("\n"))
    }

    /// Starts everyone and waits for the end.
    pub(crate) fn run_to_the_end(&mut self) {
        self.federation.start().expect("it starts");
        self.federation.watch(&mut |_| {}).expect("it finishes");
    }

    /// Every client has derived the last version that the coordinator published. A client that
    /// derives another state than the announced one refuses to go on, so an equal version is an
    /// equal model.
    pub(crate) fn all_models_agree(&self) {
        let id = &self.federation.id;
        let models = self.federation.coordinator.verb(&["model", "list", id]).expect("models");
        let newest = models.as_array().and_then(|all| all.last()).expect("a model").clone();
        assert_eq!(newest["version"], self.task.rounds, "{models}");
        for site in &self.federation.sites {
            let derived = wait_until(Duration::from_secs(20), || {
                let status = site.verb(&["status"]).ok()?;
                (status["last"]["federations"][0]["version"] == newest["version"]).then_some(())
            });
            let status = site.verb(&["status"]);
            assert!(derived.is_some(), "{}: {status:?} against {newest}", site.name());
        }
    }
}

/// A folder with all that is in it, but for the socket of verbs.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        let kind = entry.file_type().expect("a kind");
        if kind.is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else if kind.is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).expect("it is copied");
        }
    }
}

/// Two classes, apart along the first column; every tenant sees the rest differently.
pub(crate) fn write_rows(folder: &Path, tenant: usize, rows: usize) {
    write_table(&folder.join("data.csv"), tenant, rows);
}

/// The same as a table of rows to test on, beside those to train on.
pub(crate) fn write_test_rows(folder: &Path, tenant: usize, rows: usize) {
    write_table(&folder.join("test.csv"), tenant, rows);
}

fn write_table(file: &Path, tenant: usize, rows: usize) {
    std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
    let mut text = String::from("a,b,c,d,label\n");
    for row in 0..rows {
        let class = row % 2;
        let noise = |salt: usize| ((row * 37 + salt * 101 + tenant * 13) % 97) as f32 / 97.0 - 0.5;
        let cells = [class as f32 * 2.0 - 1.0 + noise(1), noise(2) * 3.0, noise(3), noise(4)];
        let cells: Vec<String> = cells.iter().map(|cell| format!("{cell:.4}")).collect();
        text += &format!("{},{}\n", cells.join(","), ["no", "yes"][class]);
    }
    std::fs::write(file, text).expect("rows are written");
}

fn task_toml(rounds: u32, standardise: bool, dropout_permille: u16) -> String {
    let column = |name: &str| {
        format!(
            "[[schema.table.columns]]\nname = \"{name}\"\nkind = {{ number = {{ min = -4.0, max = 4.0 }} }}\n"
        )
    };
    let columns: String = ["a", "b", "c", "d"].iter().map(|name| column(name)).collect();
    format!(
        "rounds = {rounds}

[rules]
coordinator = \"malicious\"
dropout_permille = {dropout_permille}
clients_min = 2
pinned_peers_min = 1
whole_groups = false
amendment = \"all\"

[model.softmax]
seed = 7

[optimiser.fedavg]
learning_rate = 1.0

[hyperparameters]
local_epochs = 1
batch_rows = 16
learning_rate = 0.2
momentum = 0.0
proximal = 0.0

[quantisation]
ring_bits = 32
clip = 1.0
weight_max = 64
rows_per_weight = 4

[schema.table]
label = \"label\"
labels = [\"no\", \"yes\"]
standardise = {standardise}
{columns}"
    )
}
