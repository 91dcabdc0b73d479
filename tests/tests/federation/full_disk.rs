//! Disks that are full while rounds run: whoever has no room says so in one line, nothing is lost,
//! and with room again the federation finishes with the exact model.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use roundelay_tests::harness::{Coordinator, Programs, folder_of_child, on_small_disk, wait_until};
use tempfile::TempDir;

use crate::plain::{exported, fedavg, trained};
use crate::small::Small;

/// Room for everything that is not to be full.
const ROOM: &str = "256m";
/// More than a small federation writes.
const SMALL: &str = "12m";
/// What whoever has no room for is told within so long.
const TOLD_WITHIN: Duration = Duration::from_secs(20);

#[test]
fn a_coordinator_on_a_full_disk_says_so_and_goes_on_where_it_was_when_there_is_room() {
    if let Some(disk) = folder_of_child() {
        return with_a_coordinator_on_a_full_disk(folder_on(&disk));
    }
    again_with_disks(concat!(
        module_path!(),
        "::a_coordinator_on_a_full_disk_says_so_and_goes_on_where_it_was_when_there_is_room"
    ));
}

fn with_a_coordinator_on_a_full_disk(folder: TempDir) {
    let data = folder.path().join("coordinator");
    let disk = Disk::mount(&data);
    let blobs = Disk::mount(&data.join("blobs"));
    let mut small = Small::found_whole_in(folder, 3, 30);
    small.federation.start().expect("it starts");
    small.goes_on(1);

    // Its log is on the disk that is full: what is left to it is the answer to the verb.
    disk.fill();
    assert_in_trouble(&small, &data.join("store.sqlite"), "writing to the store");
    let refused = small.federation.coordinator.verb(&["tenant", "add", "late"]).unwrap_err();
    assert!(refused.contains("no space left at") && refused.contains("late.kek"), "{refused}");
    disk.free();
    small.goes_on(2);

    let log = move_log(&mut small);
    blobs.fill();
    assert_in_trouble(&small, &data.join("blobs"), "writing a blob");
    blobs.free();
    small.goes_on(2);

    disk.fill();
    assert_in_trouble(&small, &data.join("store.sqlite"), "writing to the store");
    // It has tried again meanwhile, and has nothing new to say.
    std::thread::sleep(Duration::from_millis(1_500));
    let told = fs::read_to_string(&log).expect("a log");
    for file in ["/store.sqlite while", "/blobs/"] {
        let lines = told.lines().filter(|line| line.contains("no space left"));
        assert_eq!(lines.filter(|line| line.contains(file)).count(), 1, "{told}");
    }
    let coordinator = &mut small.federation.coordinator;
    assert!(!coordinator.ended(), "{told}");
    coordinator.kill();
    a_new_coordinator_ends_with_one_line(&disk);
    disk.free();
    coordinator.start_again().expect("it starts");
    small.federation.watch(&mut |_| {}).expect("it finishes");
    small.all_models_agree();
    assert_eq!(exported(&small), fedavg(&small, &trained(&small, None)), "the same bits");
}

/// A data folder can't be begun without room.
fn a_new_coordinator_ends_with_one_line(disk: &Disk) {
    let data = disk.folder.join("new");
    fs::create_dir(&data).expect("room for a name");
    let log = elsewhere(data.parent().and_then(Path::parent).expect("a folder"), &data);
    let programs = Programs::find().expect("the programs are built");
    let ended = Coordinator::start(&programs, &data).err().expect("it does not start");
    assert!(ended.contains("exit status: 1"), "{ended}");
    let told = fs::read_to_string(log).expect("a log");
    let [line] = told.lines().collect::<Vec<_>>()[..] else { panic!("one line: {told}") };
    for words in ["no space left at", "nothing was lost, free some space and try again"] {
        assert!(line.contains(words), "{line}");
    }
}

/// The federation's status says what can't be written, where, and what to do.
fn assert_in_trouble(small: &Small, path: &Path, what: &str) {
    let told = wait_until(TOLD_WITHIN, || {
        Some(small.federation.status().ok()?["trouble"].as_str()?.to_owned())
    });
    let told = told.unwrap_or_else(|| panic!("it is driven\n{}", small.logs()));
    let what = format!("while {what}; nothing was lost, free some space and try again");
    for words in ["no space left at", &path.display().to_string(), &what] {
        assert!(told.contains(words), "{told}");
    }
}

/// Has the coordinator log to another disk from now on.
fn move_log(small: &mut Small) -> PathBuf {
    let coordinator = &mut small.federation.coordinator;
    coordinator.kill();
    let log = elsewhere(small.folder.path(), coordinator.folder());
    coordinator.start_again().expect("it starts again");
    log
}

#[test]
fn a_client_on_a_full_disk_ends_with_one_line_and_comes_back_when_there_is_room() {
    if let Some(disk) = folder_of_child() {
        return with_a_client_on_a_full_disk(folder_on(&disk));
    }
    again_with_disks(concat!(
        module_path!(),
        "::a_client_on_a_full_disk_ends_with_one_line_and_comes_back_when_there_is_room"
    ));
}

/// The tenant whose disk is full.
const FULL: usize = 1;

fn with_a_client_on_a_full_disk(folder: TempDir) {
    let state = folder.path().join(format!("tenant-{FULL}"));
    let disk = Disk::mount(&state);
    let log = elsewhere(folder.path(), &state);
    // Nobody waits for long for one that has gone.
    // Rounds enough for it to come back twice, however long its process takes to start.
    let mut small = Small::found_in(folder, 4, 100, "[rounds]\ngrace_ms = 200\n");
    let rounds = Disk::mount_over(&state.join("federations").join(&small.federation.id));
    small.federation.start().expect("it starts");

    // The ledger and the status have no room, then the history, masked vectors and the model.
    for (disk, file) in [(&disk, "/ledger "), (&rounds, "/federations/")] {
        all_take_part(&small);
        disk.fill();
        ends_with_one_line(&mut small, &log, file);
        // The others go on without it, and it does not come back while there is no room.
        small.goes_on(3);
        small.federation.sites[FULL].start().expect("it starts");
        ends_with_one_line(&mut small, &log, file);
        disk.free();
        small.federation.sites[FULL].start().expect("it starts");
    }
    all_take_part(&small);
    small.federation.watch(&mut |_| {}).expect("it finishes");
    small.all_models_agree();
    assert_eq!(exported(&small), fedavg(&small, &trained(&small, Some(FULL))), "the same bits");
}

/// Waits for a sum over everyone that is newer than all there are now.
fn all_take_part(small: &Small) {
    let count = || {
        let rounds = small.federation.coordinator.verb(&["rounds", &small.federation.id]);
        let full = |round: &&serde_json::Value| {
            round["survivors"] == small.rows.len() && round["state"] == "published"
        };
        rounds.expect("rounds").as_array().expect("a list").iter().filter(full).count()
    };
    let before = count();
    let more = wait_until(TOLD_WITHIN, || (count() > before).then_some(()));
    assert!(more.is_some(), "{}", small.logs());
}

/// The daemon ends by itself, and says why in one line that was not there before.
fn ends_with_one_line(small: &mut Small, log: &Path, file: &str) {
    let site = &mut small.federation.sites[FULL];
    let ended = wait_until(TOLD_WITHIN, || site.ended().then_some(()));
    let told = fs::read_to_string(log).expect("a log");
    assert!(ended.is_some(), "{told}");
    fs::write(log, "").expect("it is emptied");
    let [line] = told.lines().collect::<Vec<_>>()[..] else { panic!("one line: {told}") };
    for words in
        ["the disk is full: ", file, "nothing was lost; free some space and try again", "disk_full"]
    {
        assert!(line.contains(words), "{line}");
    }
}

/// A disk of its own.
struct Disk {
    folder: PathBuf,
}

impl Disk {
    fn mount(folder: &Path) -> Self {
        fs::create_dir_all(folder).expect("a folder");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o"]).arg(format!("size={SMALL}")).arg("none").arg(folder);
        assert!(mount.status().expect("mount runs").success());
        Self { folder: folder.to_owned() }
    }

    /// The same where there are files already: they are on it.
    fn mount_over(folder: &Path) -> Self {
        let files = fs::read_dir(folder).expect("a folder").flatten();
        let files: Vec<(PathBuf, Vec<u8>)> =
            files.map(|file| (file.path(), fs::read(file.path()).expect("a file"))).collect();
        let disk = Self::mount(folder);
        files.iter().for_each(|(path, bytes)| fs::write(path, bytes).expect("room"));
        disk
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }

    /// Takes all room, that too which is given back meanwhile.
    fn fill(&self) {
        for _ in 0..3 {
            let file = fs::OpenOptions::new().create(true).append(true).open(self.filler());
            if let Ok(mut file) = file {
                while file.write_all(&[0; 4096]).is_ok() {}
            }
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    fn free(&self) {
        fs::remove_file(self.filler()).expect("the filler is there");
    }
}

/// Runs a test again where it may mount disks.
fn again_with_disks(test: &str) {
    if let Some(output) = on_small_disk(ROOM, test) {
        assert!(output.contains("1 passed"), "{output}");
    }
}

fn folder_on(disk: &Path) -> TempDir {
    tempfile::tempdir_in(disk).expect("a folder")
}

/// Has whoever works in a folder log to another one.
fn elsewhere(other: &Path, folder: &Path) -> PathBuf {
    let target = other.join(format!("{}.log", folder.file_name().expect("a name").display()));
    for log in ["coordinator.log", "client.log"] {
        let log = folder.join(log);
        if log.exists() {
            fs::remove_file(&log).expect("a log");
        }
        symlink(&target, log).expect("a link");
    }
    target
}
