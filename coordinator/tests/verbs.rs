//! `roundelay-coordinator` as its operator meets it: a process with exit status, one answer on
//! standard output, one line on standard error.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_roundelay-coordinator");
const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/samples");

fn command(data: &Path, line: &str) -> Command {
    let mut command = Command::new(BINARY);
    command.arg("--data").arg(data).args(line.split_whitespace()).env_remove("ROUNDELAY_LOG");
    command
}

fn run(data: &Path, line: &str) -> Output {
    command(data, line).output().unwrap()
}

/// The answer of a verb that works, as JSON.
fn answer(data: &Path, line: &str) -> Value {
    let output = run(data, &format!("{line} --output json"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Exit status and the one line of a verb that fails.
fn failure(data: &Path, line: &str) -> (i32, String) {
    let output = run(data, line);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.stdout, b"", "{line}");
    assert_eq!(errors.lines().count(), 1, "{line}: {errors}");
    assert!(errors.starts_with("error: "), "{line}: {errors}");
    (output.status.code().unwrap(), errors)
}

/// A running coordinator, killed when dropped.
struct Serving {
    child: Child,
    address: String,
    log: PathBuf,
}

impl Serving {
    fn start(data: &Path, options: &str) -> Self {
        let line = format!("serve --output json {options}");
        let log = data.with_extension("log");
        let errors = std::fs::File::create(&log).unwrap();
        let mut child = command(data, &line).stdout(Stdio::piped()).stderr(errors).spawn().unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        let ready: Value = serde_json::from_str(&ready).unwrap();
        let address = ready["ready"]["address"].as_str().unwrap().to_owned();
        Self { child, address, log }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    fn exit_code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn the_first_verb_makes_the_installation_and_others_find_it() {
    let folder = folder();
    let data = folder.path().join("data");
    let added = answer(&data, "tenant add acme");
    assert_eq!(added["tenants"][0]["tenant"], "acme");
    let listed = answer(&data, "tenant list");
    assert_eq!(listed, added);
    let text = String::from_utf8(run(&data, "tenant list").stdout).unwrap();
    assert!(text.starts_with("TENANT  CLIENTS  SINCE\nacme    0        2"), "{text}");
    let verified = answer(&data, "audit verify");
    assert_eq!(verified["audit"][0]["entries"], 1);
}

#[test]
fn verbs_reach_a_running_coordinator_and_go_on_without_it() {
    let folder = folder();
    let data = folder.path();
    answer(data, "tenant add acme");
    let mut serving = Serving::start(data, "--listen 127.0.0.1:0");
    let token = answer(data, "enrol-token --tenant acme");
    let token = token["token"]["token"].as_str().unwrap();
    assert!(token.starts_with(&format!("roundelay://{}/", serving.address)), "{token}");
    assert_eq!(answer(data, "client list")["clients"], Value::Array(vec![]));
    let (status, line) = failure(data, "serve --listen 127.0.0.1:0");
    assert_eq!(status, 10);
    assert!(line.contains("in use by another process"), "{line}");

    let told = Instant::now();
    serving.signal("-TERM");
    assert_eq!(serving.exit_code(), Some(0));
    assert!(told.elapsed() < Duration::from_secs(30));
    assert!(!data.join("admin.sock").exists());
    assert_eq!(answer(data, "audit verify")["audit"][0]["entries"], 2);
}

#[test]
fn a_killed_coordinator_leaves_nothing_in_the_way() {
    let folder = folder();
    let data = folder.path();
    let mut serving = Serving::start(data, "--listen 127.0.0.1:0");
    answer(data, "tenant add acme");
    serving.signal("-KILL");
    assert_eq!(serving.exit_code(), None);
    assert!(data.join("admin.sock").exists());
    assert_eq!(answer(data, "tenant list")["tenants"][0]["tenant"], "acme");
    let _again = Serving::start(data, "--listen 127.0.0.1:0");
    assert_eq!(answer(data, "tenant list")["tenants"][0]["tenant"], "acme");
}

#[test]
fn a_port_in_use_is_one_line_and_a_status_of_its_own() {
    let (one, two) = (folder(), folder());
    let serving = Serving::start(one.path(), "--listen 127.0.0.1:0");
    let (status, line) = failure_of_serve(two.path(), &serving.address);
    assert_eq!(status, 10);
    assert!(line.contains(&serving.address) && line.contains("--listen"), "{line}");
}

/// The last line: a coordinator that starts may warn of small buffers first.
fn failure_of_serve(data: &Path, listen: &str) -> (i32, String) {
    let output = run(data, &format!("serve --listen {listen}"));
    let errors = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), errors.lines().last().unwrap().to_owned())
}

#[test]
fn what_is_wrong_is_one_line_with_a_status_that_says_which_kind() {
    let folder = folder();
    let data = folder.path();
    answer(data, "tenant add acme");
    let cases = [
        ("tenant add acme", 10, "tenant acme exists already"),
        ("enrol-token --tenant nobody --address a:1", 9, "there is no tenant nobody"),
        ("enrol-token --tenant acme", 2, "give --address HOST:PORT"),
        ("federation status f", 9, "there is no federation `f`"),
        ("rounds f", 9, "there is no federation `f`"),
        ("tenant list --config /nonexistent/c.toml", 3, "/nonexistent/c.toml"),
        ("federation stop f", 9, "there is no federation `f`"),
    ];
    for (line, status, words) in cases {
        let (found, error) = failure(data, line);
        assert_eq!((found, error.contains(words)), (status, true), "{line}: {error}");
    }
}

#[test]
fn a_folder_or_address_that_can_t_serve_is_its_users_to_change() {
    let folder = folder();
    let cases = [
        (Path::new("/proc/foo"), "127.0.0.1:0", 3, "choose another one (`--data`)"),
        (folder.path(), "192.0.2.1:4433", 2, "192.0.2.1 is no address of this machine"),
    ];
    for (data, listen, status, words) in cases {
        let (found, error) = failure_of_serve(data, listen);
        assert_eq!((found, error.contains(words)), (status, true), "{error}");
    }
}

#[test]
fn a_verb_on_a_folder_that_is_no_installation_makes_none() {
    let folder = folder();
    let data = folder.path().join("nothere");
    for line in ["tenant list", "client list", "federation list", "enrol-token --tenant acme"] {
        let (status, error) = failure(&data, line);
        assert_eq!(status, 3, "{line}: {error}");
        assert!(error.contains("nothere is no data folder of a coordinator"), "{line}: {error}");
        assert!(!data.exists(), "{line} made a folder");
    }
    answer(&data, "tenant add acme");
    assert_eq!(answer(&data, "tenant list")["tenants"][0]["tenant"], "acme");
}

#[test]
fn an_error_is_json_where_answers_are() {
    let folder = folder();
    answer(folder.path(), "tenant add acme");
    let output = run(folder.path(), "federation status f --output json");
    assert_eq!(output.status.code(), Some(9));
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(error["error"]["code"], "unknown_federation");
    assert_eq!(error["error"]["kind"], "not_found");
}

#[test]
fn a_key_that_does_not_exist_is_named_with_its_place_and_the_nearest() {
    let folder = folder();
    let config = folder.path().join("c.toml");
    std::fs::write(&config, "[limits]\nconnection_max = 3\n").unwrap();
    let line = format!("tenant list --config {}", config.display());
    let (status, error) = failure(&folder.path().join("data"), &line);
    assert_eq!(status, 3);
    assert!(error.contains("c.toml, line 2, column 1"), "{error}");
    assert!(error.contains("did you mean `connections_max`?"), "{error}");

    let sample = std::fs::read_to_string(format!("{SAMPLES}/task-digits.toml")).unwrap();
    let task = folder.path().join("task.toml");
    std::fs::write(&task, sample.replace("batch_rows", "batchrows")).unwrap();
    let line =
        format!("federation create --name f --owner acme --members acme --task {}", task.display());
    let (status, error) = failure(&folder.path().join("data"), &line);
    assert_eq!(status, 3);
    assert!(error.contains("did you mean `batch_rows`?"), "{error}");
}

#[test]
fn the_sample_configuration_serves() {
    let folder = folder();
    let sample = std::fs::read_to_string(format!("{SAMPLES}/coordinator.toml")).unwrap();
    let config = folder.path().join("coordinator.toml");
    std::fs::write(&config, sample).unwrap();
    let data = folder.path().join("data");
    let options = format!("--listen 127.0.0.1:0 --config {}", config.display());
    let _serving = Serving::start(&data, &options);
    answer(&data, "tenant add acme");
    let token = answer(&data, &format!("enrol-token --tenant acme --config {}", config.display()));
    let token = token["token"]["token"].as_str().unwrap().to_owned();
    assert!(token.starts_with("roundelay://fl.example.org:4433/"), "{token}");
}

#[test]
fn the_data_folder_and_its_secrets_are_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder();
    let data = folder.path().join("data");
    let _serving = Serving::start(&data, "--listen 127.0.0.1:0");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    for file in ["store.sqlite", "admin.sock", "keys/_installation.kek"] {
        assert_eq!(mode(&data.join(file)) & 0o077, 0, "{file}");
    }
}

#[test]
fn a_store_that_is_gone_is_not_begun_anew_where_tenants_have_keys() {
    let folder = folder();
    let data = folder.path().join("data");
    answer(&data, "tenant add acme");
    for file in ["store.sqlite", "store.sqlite-wal", "store.sqlite-shm"] {
        let _ = std::fs::remove_file(data.join(file));
    }
    let (status, line) = failure_of_serve(&data, "127.0.0.1:0");
    assert_eq!(status, 11, "{line}");
    assert!(line.contains("store.sqlite is gone") && line.contains("backup"), "{line}");
    assert!(!data.join("store.sqlite").exists());
}

#[test]
fn a_tenant_whose_key_is_gone_or_another_is_named_at_the_start_and_the_others_are_served() {
    let folder = folder();
    let data = folder.path().join("data");
    for tenant in ["acme", "beta", "gamma"] {
        answer(&data, &format!("tenant add {tenant}"));
        answer(&data, &format!("enrol-token --tenant {tenant} --address h:1"));
    }
    std::fs::remove_file(data.join("keys/acme.kek")).unwrap();
    std::fs::write(data.join("keys/beta.kek"), [7; 32]).unwrap();
    let serving = Serving::start(&data, "--listen 127.0.0.1:0");
    let told = serving.log();
    for tenant in ["acme", "beta"] {
        let of_it = told.lines().find(|line| line.contains(&format!("\"tenant\":\"{tenant}\"")));
        assert!(of_it.is_some_and(|line| line.contains("restore")), "{tenant}: {told}");
    }
    assert!(!told.contains("gamma"), "{told}");
    answer(&data, "enrol-token --tenant gamma");
}
