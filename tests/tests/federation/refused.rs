//! What users get wrong: one clear line, a non-zero exit code, and nothing lost.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use roundelay_client::data::Source;
use roundelay_client::sdk::Client;
use roundelay_client::train::{
    Control, DataSummary, LocalTrainer, Metrics, Options, TrainError, Trainer, Update,
};
use roundelay_protocol::ids::ModelVersion;
use roundelay_protocol::manifest::{Hyperparameters, Task};
use roundelay_protocol::statistics::{ColumnStatistics, Standardisation};
use roundelay_tests::harness::{Coordinator, Programs, Site, wait_until};

use crate::plain::{exported, fedavg, trained};
use crate::small::{Small, write_rows};

#[test]
fn a_token_is_used_once_and_never_by_another_client() {
    let programs = Programs::find().expect("programs");
    let folder = tempfile::tempdir().expect("a folder");
    let coordinator = Coordinator::start(&programs, &folder.path().join("c")).expect("it serves");
    let token = coordinator.token_for("acme").expect("a token");
    Site::enrol(&programs, &folder.path().join("first"), "acme", &token).expect("it enrols");
    let again = Site::enrol(&programs, &folder.path().join("second"), "acme", &token);
    let line = again.err().expect("a used token is refused");
    assert!(line.contains("token"), "{line}");
    assert!(line.lines().count() <= 3, "one line, and its JSON: {line}");

    // A bare name is a folder too.
    let token = coordinator.token_for("bolt").expect("a token");
    let enrolled = std::process::Command::new(&programs.client)
        .args(["enrol", "--token", &token, "--dir", "bolt"])
        .current_dir(folder.path())
        .output()
        .expect("it runs");
    assert!(enrolled.status.success(), "{}", String::from_utf8_lossy(&enrolled.stderr));

    let nonsense = Site::enrol(&programs, &folder.path().join("third"), "acme", "rubbish");
    assert!(nonsense.err().expect("nonsense is refused").contains("token"));
}

#[test]
fn a_taken_port_and_a_config_key_that_does_not_exist_are_named() {
    let programs = Programs::find().expect("programs");
    let folder = tempfile::tempdir().expect("a folder");
    let first = Coordinator::start(&programs, &folder.path().join("a")).expect("it serves");
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new(&programs.coordinator)
            .args(arguments)
            .output()
            .expect("it runs");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let other = folder.path().join("b").display().to_string();
    let (ok, line) = run(&["serve", "--data", &other, "--listen", first.address()]);
    assert!(!ok && line.contains(first.address()), "{line}");

    let config = folder.path().join("config.toml");
    std::fs::write(&config, "lisen = \"127.0.0.1:0\"\n").expect("a file");
    let path = config.display().to_string();
    let (ok, line) = run(&["serve", "--config", &path, "--data", &other]);
    assert!(!ok && line.contains("lisen") && line.contains("listen"), "{line}");
}

#[test]
fn data_that_does_not_fit_is_refused_before_the_first_round_with_file_row_and_column() {
    let mut small = Small::found(3, 1, false);
    let site = &small.federation.sites[0];
    let file = small.rows[0].join("data.csv");
    let good = std::fs::read_to_string(&file).expect("rows");
    let second_row = |cell: &str| {
        let mut lines: Vec<String> = good.lines().map(str::to_owned).collect();
        let rest = lines[2].split_once(',').expect("cells").1.to_owned();
        lines[2] = format!("{cell},{rest}");
        lines.join("\n")
    };
    for (bad, words) in [
        (good.replacen(",yes\n", ",maybe\n", 1), ["maybe", "label"]),
        (good.replacen("a,b,", "a,x,", 1), ["column \"b\"", "missing"]),
        (second_row("abc"), ["abc", "\"a\""]),
        (second_row("NaN"), ["NaN", "\"a\""]),
        (second_row("9.5"), ["9.5", "\"a\""]),
        (good.lines().next().expect("a header").to_owned() + "\n", ["no rows", "data.csv"]),
    ] {
        std::fs::write(&file, &bad).expect("a file");
        let (status, line) = site.fails(&["run", "--once", "--deadline", "20"]);
        assert_eq!(status, 4, "{line}");
        for word in words.iter().chain(&["data.csv"]) {
            assert!(line.contains(word), "{word}: {line}");
        }
        assert_eq!(line.lines().count(), 1, "{line}");
    }
    std::fs::write(&file, good).expect("a file");
    small.run_to_the_end();
}

#[test]
fn what_is_wrong_at_a_site_is_one_line_with_its_own_exit_status_and_mended_it_goes_on() {
    let mut small = Small::found(3, 1, false);
    let id = small.federation.id.clone();
    let site = &small.federation.sites[0];
    let fails = |file: &str, content: &[u8], verb: &[&str]| {
        let path = site.folder().join(file);
        let before = std::fs::read(&path).expect("a file");
        std::fs::write(&path, content).expect("a file");
        let failed = site.fails(verb);
        std::fs::write(&path, before).expect("a file");
        failed
    };
    // A configuration key that does not exist.
    let config = std::fs::read_to_string(site.folder().join("client.toml")).expect("a file");
    let wrong = config.replace("threads", "thread");
    let (status, line) = fails("client.toml", wrong.as_bytes(), &["run", "--once"]);
    assert_eq!(status, 3, "{line}");
    assert!(line.contains("client.toml, line") && line.contains("`threads`"), "{line}");
    // The key of another tenant, whose signature would not be this tenant's.
    let other =
        std::fs::read(small.federation.sites[1].folder().join("tenant.key")).expect("a key");
    let sign = ["manifest", "sign", &id, "--yes"];
    let (status, line) = fails("tenant.key", &other, &sign);
    assert_eq!(status, 8, "{line}");
    assert!(line.contains("its tenant's key is another"), "{line}");
    // A pinned manifest that was changed on the disk does not verify.
    let pinned = format!("federations/{id}");
    let files = std::fs::read_dir(site.folder().join(&pinned)).expect("a folder");
    let names: Vec<String> = files
        .map(|file| file.expect("a file").file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("manifest"))
        .collect();
    assert!(!names.is_empty(), "{pinned}");
    for name in names {
        let name = format!("{pinned}/{name}");
        let mut bytes = std::fs::read(site.folder().join(&name)).expect("a file");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        let (status, line) = fails(&name, &bytes, &["run", "--once", "--deadline", "20"]);
        assert_eq!(status, 11, "{line}");
        assert!(line.contains("manifest"), "{line}");
    }
    // A trainer that is not there, and one that ends at once.
    for (trainer, words) in [("/nonexistent", "install roundelay-trainer"), ("/bin/false", "ended")]
    {
        let wrong = config.replace("[trainer]\nprogram", "[trainer]\n# program");
        let wrong = wrong.replace("[trainer]", &format!("[trainer]\nprogram = {trainer:?}"));
        let (status, line) =
            fails("client.toml", wrong.as_bytes(), &["run", "--once", "--deadline", "20"]);
        assert_eq!(status, 3, "{line}");
        assert!(line.contains(trainer) && line.contains(words), "{line}");
    }
    small.run_to_the_end();
}

/// A trainer that hands out what no honest training comes to.
struct Diverging(LocalTrainer);

impl Trainer for Diverging {
    fn prepare(&mut self, task: &Task) -> Result<DataSummary, TrainError> {
        self.0.prepare(task)
    }

    fn statistics(&mut self) -> Result<Vec<ColumnStatistics>, TrainError> {
        self.0.statistics()
    }

    fn standardise(&mut self, by: &Standardisation) -> Result<(), TrainError> {
        self.0.standardise(by)
    }

    fn initial(&mut self) -> Result<Vec<f32>, TrainError> {
        self.0.initial()
    }

    fn train(
        &mut self,
        model: &[f32],
        settings: &Hyperparameters,
        version: ModelVersion,
        control: &dyn Control,
    ) -> Result<Update, TrainError> {
        let mut update = self.0.train(model, settings, version, control)?;
        match version.0 % 3 {
            0 => update.delta[0] = f32::NAN,
            1 => update.delta.push(0.5),
            _ => drop(update.delta.pop()),
        }
        Ok(update)
    }

    fn evaluate(&mut self, model: &[f32]) -> Result<Metrics, TrainError> {
        self.0.evaluate(model)
    }
}

#[test]
fn a_trainer_of_nan_or_of_another_length_costs_its_own_site_the_round_and_nobody_else() {
    let mut small = Small::found(4, 3, false);
    let data = Source { held_out_percent: 5, ..Source::new(&small.rows[3]) };
    let folder = small.federation.sites[3].folder().to_path_buf();
    let told = Arc::new(Mutex::new(String::new()));
    let heard = Arc::clone(&told);
    let client = Client::builder()
        .dir(folder)
        .once(true)
        .trainer(Diverging(LocalTrainer::new(Options::new(data))))
        .on_event(move |event| *heard.lock().expect("a lock") += &format!("{event}\n"))
        .build()
        .expect("a client");
    let running = std::thread::spawn(move || client.run());
    for site in &mut small.federation.sites[..3] {
        site.start().expect("a client starts");
    }
    let id = small.federation.id.clone();
    small.federation.coordinator.verb(&["federation", "start", &id]).expect("it starts");
    small.federation.watch(&mut |_| {}).expect("it finishes");
    running.join().expect("no panic").expect("the client ends with its federation");
    let told = told.lock().expect("a lock").clone();
    assert!(told.contains("not finite") && told.contains("has 10 words, not 9"), "{told}");
    // The fourth tenant is in no sum.
    let rounds = trained(&small, Some(3));
    assert!(rounds.iter().all(|round| round.tenants == [0, 1, 2]), "{rounds:?}");
    assert_eq!(exported(&small), fedavg(&small, &rounds), "the same bits");
}

#[test]
fn a_coordinator_that_is_not_there_is_said_once_and_a_deadline_ends_the_wait() {
    let mut small = Small::found(3, 1, false);
    small.federation.coordinator.kill();
    let site = &small.federation.sites[0];
    let address = small.federation.coordinator.address();
    for (verb, expected) in [
        (&["run", "--once", "--deadline", "2"][..], 7),
        (&["run", "--once"], 5),
        (&["manifest", "show"], 5),
    ] {
        let (status, line) = site.fails(verb);
        assert_eq!(status, expected, "{verb:?}: {line}");
        assert!(line.contains(address), "{line}");
    }
}

#[test]
fn a_manifest_that_was_never_signed_here_is_never_trained_for() {
    let mut small = Small::found(3, 1, false);
    write_rows(&small.rows[0], 0, 40);
    let id = small.federation.id.clone();
    let coordinator = &small.federation.coordinator;
    // A second federation of the same tenants that nobody has signed can't start.
    let members: Vec<String> = (0..3).map(|place| format!("tenant-{place}")).collect();
    let task = small.folder.path().join("task.toml");
    let request = roundelay_tests::harness::FederationRequest {
        name: "unsigned",
        owner: "tenant-0",
        members: &members,
        task: &task,
    };
    let unsigned = coordinator.create(&request).expect("a draft");
    let refused = coordinator.verb(&["federation", "start", &unsigned]).expect_err("no signatures");
    assert!(refused.contains("tenant-0"), "{refused}");
    small.run_to_the_end();
    let status = small.federation.coordinator.verb(&["federation", "status", &id]).expect("status");
    assert_eq!(status["federation"]["state"], "finished");
}

#[test]
fn a_coordinator_told_to_stop_ends_within_its_time_and_serves_again() {
    let mut small = Small::found(3, 40, false);
    small.federation.start().expect("it starts");
    std::thread::sleep(Duration::from_millis(400));
    assert!(small.federation.coordinator.terminate(Duration::from_secs(30)), "it ends by itself");
    small.federation.coordinator.start_again().expect("it starts again");
    let moved = wait_until(Duration::from_secs(60), || {
        let status = small.federation.status().ok()?;
        (status["engine"]["model_version"].as_u64()? >= 10).then_some(())
    });
    assert!(moved.is_some(), "{:?}", small.federation.status());
    assert!(small.federation.sites[0].terminate(Duration::from_secs(10)), "a client ends well");
}
