use super::*;

fn budget(bytes: u64) -> (tempfile::TempDir, Budget) {
    let folder = tempfile::tempdir().unwrap();
    let budget = Budget::new(bytes, folder.path().join("spool")).unwrap();
    (folder, budget)
}

#[tokio::test]
async fn undo_data_stays_in_memory_while_the_budget_lasts_and_the_memory_comes_back() {
    let (_folder, budget) = budget(1 << 20);
    let free = budget.free_bytes();
    let first = budget.place(300 << 10).await.unwrap();
    let second = budget.place(300 << 10).await.unwrap();
    assert!(!first.is_spooled() && !second.is_spooled());
    assert_eq!(budget.free_bytes(), free - (600 << 10));
    drop((first, second));
    assert_eq!(budget.free_bytes(), free);
}

#[tokio::test(start_paused = true)]
async fn an_upload_waits_while_the_line_moves_and_then_stays_in_memory() {
    let (_folder, budget) = budget(1 << 20);
    let mut held = Vec::new();
    for _ in 0..7 {
        held.push(budget.place(128 << 10).await.unwrap());
    }
    let waiting = tokio::spawn({
        let budget = budget.clone();
        async move { budget.place(512 << 10).await.unwrap() }
    });
    for upload in held.drain(..4) {
        tokio::time::sleep(PATIENCE / 2).await;
        assert!(!waiting.is_finished());
        drop(upload);
    }
    assert!(!waiting.await.unwrap().is_spooled());
}

#[tokio::test(start_paused = true)]
async fn an_upload_waits_while_those_in_memory_come_on_and_not_while_they_trickle() {
    let (_folder, budget) = budget(1 << 20);
    let slow = budget.place(700 << 10).await.unwrap();
    let waiting = tokio::spawn({
        let budget = budget.clone();
        async move { budget.place(700 << 10).await.unwrap() }
    });
    for _ in 0..20 {
        tokio::time::sleep(PATIENCE / 2).await;
        budget.fill(8 << 10);
        assert!(!waiting.is_finished());
    }
    budget.fill(1 << 10);
    tokio::time::sleep(PATIENCE * 2).await;
    assert!(waiting.is_finished() && waiting.await.unwrap().is_spooled());
    drop(slow);
}

#[tokio::test(start_paused = true)]
async fn an_upload_goes_to_a_spool_once_the_line_stands_still() {
    let (folder, budget) = budget(1 << 20);
    let _slow = budget.place(700 << 10).await.unwrap();
    let spooled = budget.place(700 << 10).await.unwrap();
    assert!(spooled.is_spooled());
    assert_eq!(budget.spooled(), 1);
    let left = fs::read_dir(folder.path().join("spool")).unwrap().count();
    assert_eq!(left, 0, "a spool has no name that a crash could leave behind");
}

#[tokio::test]
async fn an_upload_larger_than_the_budget_is_spooled_without_waiting() {
    let (_folder, budget) = budget(1 << 20);
    assert!(budget.place(1 << 30).await.unwrap().is_spooled());
}

#[tokio::test]
async fn a_spool_is_its_owners_alone_and_its_errors_name_the_folder() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, budget) = budget(1 << 20);
    let mut spool = budget.spool().unwrap();
    let mode = spool.file.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // A device that is always full.
    spool.file = OpenOptions::new().read(true).write(true).open("/dev/full").unwrap();
    let mut undo = Undo::in_spool(spool, &Chunks::default());
    let full = undo.fill(&[7; 1 << 16], 1 << 16).unwrap_err();
    let place = folder.path().join("spool");
    assert!(full.to_string().starts_with(&place.display().to_string()), "{full}");
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    fs::remove_dir(&place).unwrap();
    let gone = budget.place(1 << 30).await.unwrap_err();
    assert!(gone.to_string().contains(&place.display().to_string()), "{gone}");
}

#[tokio::test(start_paused = true)]
async fn spooled_uploads_take_turns_and_never_wait_for_those_in_memory() {
    let (_folder, budget) = budget(4 << 20);
    let _all_there_is = budget.room(budget.free_bytes()).await.unwrap();
    let first = budget.turn(64 << 10).await;
    let _second = budget.turn(64 << 10).await;
    let third = tokio::time::timeout(PATIENCE, budget.turn(64 << 10));
    assert!(third.await.is_err(), "a 32nd part of 4 MiB is two chunks of 64 KiB");
    drop(first);
    budget.turn(64 << 10).await;
}

#[tokio::test]
async fn a_charge_leaves_less_for_uploads_and_what_is_owed_is_paid_by_those_that_end() {
    let (_folder, budget) = budget(1 << 20);
    let all = budget.free_bytes();
    let upload = budget.place(all - (100 << 10)).await.unwrap();
    let charge = budget.charge(300 << 10);
    assert_eq!(budget.free_bytes(), 0, "100 kB are taken, 200 are owed");
    drop(upload);
    assert_eq!(budget.free_bytes(), all - (300 << 10));
    let other = budget.charge(100 << 10);
    drop(charge);
    assert_eq!(budget.free_bytes(), all - (100 << 10));
    drop(other);
    assert_eq!(budget.free_bytes(), all);
}

#[tokio::test]
async fn charges_leave_half_of_the_budget_to_uploads_however_many_there_are() {
    let (_folder, budget) = budget(1 << 20);
    let all = budget.free_bytes();
    let charges: Vec<_> = (0..100).map(|_| budget.charge(1 << 20)).collect();
    assert_eq!(budget.free_bytes(), all / 2);
    drop(charges);
    assert_eq!(budget.free_bytes(), all);
}

proptest::proptest! {
    #[test]
    fn whatever_is_charged_and_held_in_any_order_all_of_it_comes_back(
        steps in proptest::collection::vec((0_u8..4, 1_u64..400), 1..60),
    ) {
        let (_folder, budget) = budget(1 << 20);
        let all = budget.free_bytes();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (mut held, mut charges) = (Vec::new(), Vec::new());
        for (step, kib) in steps {
            match step {
                0 if budget.free_bytes() >= kib << 10 => {
                    held.extend(runtime.block_on(budget.room(kib << 10)));
                }
                0 | 1 => charges.push(budget.charge(kib << 10)),
                2 => drop(held.pop()),
                _ => drop(charges.pop()),
            }
        }
        drop((held, charges));
        proptest::prop_assert_eq!(budget.free_bytes(), all);
    }
}
