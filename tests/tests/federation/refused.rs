//! What users get wrong: one clear line, a non-zero exit code, and nothing lost.

use std::time::Duration;

use roundelay_tests::harness::{Coordinator, Programs, Site, wait_until};

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
    let site = &mut small.federation.sites[0];
    let file = small.rows[0].join("data.csv");
    let good = std::fs::read_to_string(&file).expect("rows");
    for (bad, word) in [
        (good.replacen(",yes\n", ",maybe\n", 1), "maybe"),
        (good.replacen("a,b,", "a,x,", 1), "column \"b\""),
        (good.replacen("-1.", "abc", 1), "abc"),
        (good.lines().next().expect("a header").to_owned() + "\n", "row"),
        (good.replacen("-1.", "NaN", 1), "data.csv"),
    ] {
        std::fs::write(&file, &bad).expect("a file");
        let line = site.verb(&["run", "--once", "--deadline", "20"]).expect_err("it is refused");
        assert!(line.contains("data.csv") && line.contains(word), "{word}: {line}");
    }
    std::fs::write(&file, good).expect("a file");
    small.run_to_the_end();
}

#[test]
fn a_coordinator_that_is_not_there_is_said_once_and_a_deadline_ends_the_wait() {
    let mut small = Small::found(3, 1, false);
    small.federation.coordinator.kill();
    let site = &small.federation.sites[0];
    let line = site.verb(&["run", "--once", "--deadline", "2"]).expect_err("nobody answers");
    let address = small.federation.coordinator.address();
    assert!(line.contains(address), "{line}");
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
