//! Task files: what a federation learns and under which rules, as an operator writes it for
//! `federation create --task`. `docs/samples/task-*.toml` show all keys.

use std::path::Path;

use roundelay_protocol::manifest::{
    AmendmentRule, CoordinatorTrust, Hyperparameters, Quantisation, Rules, Task, TaskError,
};
use roundelay_protocol::model::ModelSpec;
use roundelay_protocol::optimiser::OptimiserSpec;
use roundelay_protocol::privacy::Privacy;
use roundelay_protocol::schema::Schema;
use serde::Deserialize;

use super::{FileError, read};

/// A task file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskFile {
    rounds: u32,
    schema: Schema,
    model: ModelSpec,
    optimiser: OptimiserSpec,
    hyperparameters: Hyperparameters,
    quantisation: Quantisation,
    privacy: Option<Privacy>,
    #[serde(default)]
    rules: RulesTable,
}

/// The table `[rules]`; what it does not set has the default that is said here.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RulesTable {
    /// Default `malicious`: the coordinator may lie.
    coordinator: CoordinatorTrust,
    /// Default: a quarter of the cohort, less one client.
    corrupt_max: Option<u16>,
    /// Default 333: a third of the active roster may drop, if the quorum stands.
    dropout_permille: u16,
    /// Default 3.
    clients_min: u16,
    /// Default 2.
    pinned_peers_min: u16,
    /// Default false.
    whole_groups: bool,
    /// Default `all`.
    amendment: AmendmentRule,
}

impl Default for RulesTable {
    fn default() -> Self {
        Self {
            coordinator: CoordinatorTrust::Malicious,
            corrupt_max: None,
            dropout_permille: 333,
            clients_min: 3,
            pinned_peers_min: 2,
            whole_groups: false,
            amendment: AmendmentRule::All,
        }
    }
}

impl TaskFile {
    /// Reads a task file.
    ///
    /// # Errors
    /// One line that says which file, line and key, and what to do.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let file: Self = read(path)?;
        file.check()
            .map_err(|error| FileError::Value { path: path.to_owned(), what: error.to_string() })?;
        Ok(file)
    }

    /// Refuses what no federation could run, however many clients it has, a number that is none
    /// before all.
    fn check(&self) -> Result<(), TaskError> {
        // What does not fit one contributor fits no more of them.
        self.clone().into_parts().0.validate(1)
    }

    /// The task and the rules in it.
    #[must_use]
    pub fn into_parts(self) -> (Task, Rules) {
        let Self {
            rounds,
            schema,
            model,
            optimiser,
            hyperparameters,
            quantisation,
            privacy,
            rules,
        } = self;
        let task =
            Task { schema, model, optimiser, hyperparameters, quantisation, rounds, privacy };
        let rules = Rules {
            coordinator: rules.coordinator,
            corrupt_max: rules.corrupt_max,
            dropout_permille: rules.dropout_permille,
            clients_min: rules.clients_min,
            pinned_peers_min: rules.pinned_peers_min,
            whole_groups: rules.whole_groups,
            amendment: rules.amendment,
        };
        (task, rules)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    const SAMPLES: [(&str, &str, u64); 3] = [
        ("task-digits.toml", include_str!("../../../docs/samples/task-digits.toml"), 650),
        ("task-mnist.toml", include_str!("../../../docs/samples/task-mnist.toml"), 159_010),
        ("task-table.toml", include_str!("../../../docs/samples/task-table.toml"), 21),
    ];

    fn sample(at: usize) -> TaskFile {
        let (name, text, _) = SAMPLES[at];
        parse(Path::new(name), text).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn the_samples_are_tasks_that_a_federation_of_five_can_run() {
        for (at, (name, _, parameters)) in SAMPLES.iter().enumerate() {
            let (task, rules) = sample(at).into_parts();
            assert_eq!(task.validate(5), Ok(()), "{name}");
            assert!(rules.floors(5).is_ok(), "{name}");
            assert_eq!(task.model.parameter_count(&task.schema), Ok(*parameters), "{name}");
        }
    }

    #[test]
    fn a_sample_spells_out_the_default_rules() {
        assert_eq!(sample(0).rules, RulesTable::default());
    }

    #[test]
    fn a_number_that_is_none_is_refused_with_the_file_and_the_key() {
        let keys = ["learning_rate", "momentum", "proximal", "clip"];
        let found = |text: &str, at: usize| {
            let floats = |line: &&str| keys.iter().any(|key| line.starts_with(key));
            text.lines().filter(floats).nth(at).map(str::to_owned)
        };
        let (folder, mut seen) = (tempfile::tempdir().unwrap(), 0);
        let file = folder.path().join("task.toml");
        for (name, text, _) in SAMPLES {
            for line in (0..).map_while(|at| found(text, at)) {
                let key = line.split(' ').next().unwrap();
                for number in ["nan", "inf", "-inf"] {
                    let wrong = text.replacen(&line, &format!("{key} = {number}"), 1);
                    std::fs::write(&file, wrong).unwrap();
                    let error = TaskFile::read(&file).unwrap_err().to_string();
                    assert!(error.starts_with(&file.display().to_string()), "{name}: {error}");
                    assert!(error.contains(key), "{name}, {key}: {error}");
                    assert!(error.contains(&number.replace("nan", "NaN")), "{name}: {error}");
                    seen += 1;
                }
            }
        }
        assert!(seen >= 3 * 9, "{seen} numbers of the samples were tried");
    }

    #[test]
    fn a_misspelt_key_is_refused_with_the_nearest_one() {
        let cases = [
            ("batch_rows", "batch_row", "did you mean `batch_rows`?"),
            ("clients_min", "client_min", "did you mean `clients_min`?"),
            ("[model.mlp]", "[model.mpl]", "did you mean `mlp`?"),
            ("rounds =", "round =", "did you mean `rounds`?"),
        ];
        for (right, wrong, words) in cases {
            let text = SAMPLES[1].1.replacen(right, wrong, 1);
            let error = parse::<TaskFile>(Path::new("t.toml"), &text).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
            assert!(error.starts_with("t.toml, line "), "{error}");
        }
    }
}
