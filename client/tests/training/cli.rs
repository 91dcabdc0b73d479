//! The verbs of `roundelay-trainer` for people, as they are typed.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const TASK: &str = r#"
rounds = 4

[schema.table]
label = "y"
labels = ["down", "up"]
standardise = true
columns = [
    { name = "a", kind = { number = { min = -10, max = 10 } } },
    { name = "b", kind = { number = { min = -10, max = 10 } } },
]

[model.softmax]
seed = 1

[optimiser.fedavg]
learning_rate = 1.0

[hyperparameters]
local_epochs = 2
batch_rows = 16
learning_rate = 0.1
momentum = 0.0
proximal = 0.0

[quantisation]
ring_bits = 32
clip = 2.0
weight_max = 1024
rows_per_weight = 1

[rules]
clients_min = 3
"#;

struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        let row = |n: u32| {
            let (a, b) = (f64::from(n * 7 % 19) - 9.0, f64::from(n * 5 % 13) - 6.0);
            format!("{a},{b},{}\n", if a + b > 0.0 { "up" } else { "down" })
        };
        let rows: String = (0..300).map(row).collect();
        desk.write("rows.csv", &format!("a,b,y\n{rows}"));
        desk.write("task.toml", TASK);
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_roundelay-trainer"));
        command.current_dir(self.0.path()).args(arguments).output().unwrap()
    }

    fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let output = self.run(&[arguments, &["--output", "json"]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let kinds = answer.as_object().unwrap();
        assert_eq!(kinds.len(), 1, "one key says what it is: {answer}");
        kinds.values().next().unwrap().clone()
    }

    /// The line of a command that must fail.
    fn line(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(matches!(output.status.code(), Some(2..=4)), "{output:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        text.trim_end().to_owned()
    }
}

const LOCAL: [&str; 4] = ["--task", "task.toml", "--data", "rows.csv"];

fn with<'a>(verb: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&[verb], &LOCAL[..], more].concat()
}

#[test]
fn check_counts_the_rows_that_fit_the_task() {
    let desk = Desk::new();
    let found = desk.json(&with("check", &["--held-out-percent", "0"]));
    assert_eq!((&found["rows"], &found["held_out_rows"]), (&300.into(), &0.into()));
    let text = desk.run(&with("check", &["--held-out-percent", "0"]));
    assert_eq!(
        String::from_utf8_lossy(&text.stdout),
        "rows.csv fits: 300 rows to train on, 0 held out\n"
    );
}

#[test]
fn alone_trains_for_the_tasks_rounds_and_evaluate_finds_the_saved_model_as_good() {
    let desk = Desk::new();
    let alone = desk.json(&with("alone", &["--test", "rows.csv", "--save", "model.safetensors"]));
    assert_eq!(alone["rounds"], 4);
    assert_eq!(alone["curve"].as_array().unwrap().len(), 4);
    assert!(alone["accuracy"].as_f64().unwrap() > 0.9, "{alone}");
    let evaluated = desk.json(&with("evaluate", &["--model", "model.safetensors"]));
    assert_eq!(evaluated["accuracy"], alone["accuracy"]);
    assert_eq!(evaluated["rows"], 300);
}

#[test]
fn nonsense_gets_one_line_that_says_what_to_do() {
    let desk = Desk::new();
    let task = |text: &str| {
        desk.write("other.toml", text);
        desk.line(&["check", "--task", "other.toml", "--data", "rows.csv"])
    };
    let missing = desk.line(&["check", "--task", "none.toml", "--data", "rows.csv"]);
    assert!(missing.starts_with("error: installation: none.toml: "), "{missing}");
    let broken = task("rounds = 4\nrounds = 5\n");
    assert!(broken.starts_with("error: task: other.toml, line 2: "), "{broken}");
    let number = task(&TASK.replacen("clip = 2.0", "clip = nan", 1));
    assert!(number.starts_with("error: task: other.toml: quantisation.clip is "), "{number}");
    let classes = task(&TASK.replace("[\"down\", \"up\"]", "[\"down\"]"));
    assert!(classes.contains("2 to "), "{classes}");
    let data = desk.line(&["check", "--task", "task.toml", "--data", "none.csv"]);
    assert!(data.starts_with("error: data: none.csv: cannot be read: "), "{data}");
    desk.write("model.safetensors", "nonsense");
    let model = desk.line(&with("evaluate", &["--model", "model.safetensors"]));
    assert!(model.contains("model.safetensors: ") && model.contains("give a model"), "{model}");
}

#[test]
fn a_model_of_another_shape_or_without_its_standardisation_is_refused() {
    let desk = Desk::new();
    let save = ["--rounds", "1", "--save", "model.safetensors"];
    desk.json(&with("alone", &save));
    desk.write("wide.toml", &TASK.replace("\"up\"]", "\"up\", \"left\"]"));
    let evaluate = ["--data", "rows.csv", "--model", "model.safetensors"];
    let other = desk.line(&[&["evaluate", "--task", "wide.toml"], &evaluate[..]].concat());
    assert!(other.contains("\"linear.weight\" is F32 [2, 2], the task's is F32 [3, 2]"), "{other}");
    desk.write("raw.toml", &TASK.replace("standardise = true", "standardise = false"));
    let raw = ["alone", "--task", "raw.toml", "--data", "rows.csv"];
    desk.json(&[&raw[..], &save].concat());
    let bare = desk.line(&with("evaluate", &["--model", "model.safetensors"]));
    assert!(bare.contains("does not say how its columns were standardised"), "{bare}");
}

#[test]
fn about_says_what_the_build_trains_with() {
    let output = Desk::new().run(&["about"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let expected = if cfg!(feature = "torch") { "libtorch 2.11." } else { "without libtorch" };
    assert!(text.starts_with("roundelay-trainer ") && text.contains(expected), "{text}");
}

#[cfg(feature = "torch")]
#[test]
fn inspect_prints_the_model_of_a_task_file_and_saves_its_initial_parameters() {
    use roundelay_protocol::model::ModelSpec;

    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/small_cnn.pt");
    let desk = Desk::new();
    let saved = desk.path("initial.safetensors");
    let output =
        desk.run(&["inspect", module.to_str().unwrap(), "--save", saved.to_str().unwrap()]);
    #[derive(serde::Deserialize)]
    struct File {
        model: ModelSpec,
    }
    let file: File = toml::from_str(&String::from_utf8(output.stdout).unwrap()).unwrap();
    let initial = roundelay_client::train::torch::initial(&module).unwrap();
    let (module, parameters) = roundelay_client::train::torch::inspect(&module).unwrap();
    let bytes = std::fs::read(saved).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let saved: Vec<u8> = parameters
        .iter()
        .flat_map(|parameter| tensors.tensor(&parameter.name).unwrap().data().to_vec())
        .collect();
    assert_eq!(saved, initial.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>());
    assert_eq!(file.model, ModelSpec::TorchScript { module, parameters });
}

#[cfg(not(feature = "torch"))]
#[test]
fn inspect_without_libtorch_says_how_to_get_it() {
    let line = Desk::new().line(&["inspect", Path::new("module.pt").to_str().unwrap()]);
    assert!(line.contains("--features torch"), "{line}");
}
