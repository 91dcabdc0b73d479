//! Uploads that are wrong, that are never sent, and that nobody waits for any more.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_oversized_or_short_upload_expels_its_client_and_the_others_go_on() {
    for wrong_by in [-1_i64, 1] {
        let installation = Installation::new(5, 1, false).await;
        let driver = installation.driver().await;
        let mut site = installation.site();
        site.upload_wrong_by(2, wrong_by);
        let running = site.run(&driver);
        installation.start(&driver).await;
        installation.until_finished(&driver).await;
        let status = driver.status(installation.owner(), installation.federation()).unwrap();
        let expelled = status.engine.unwrap().expelled;
        assert_eq!(expelled.len(), 1);
        assert!(expelled[0].fault.to_string().contains("bytes"), "{}", expelled[0].fault);
        let heard = installation.assert_published(running, 1).await;
        assert_eq!(heard, [expelled[0].fault.clone()], "it hears what it is blamed for");
        driver.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spool_that_cannot_be_written_costs_rounds_and_nothing_else() {
    let installation = Installation::new(4, 1, false).await;
    let spool = installation.folder.path().join("spool");
    // Nothing fits in memory, and the folder is gone.
    let mut settings = settings(installation.folder.path());
    (settings.budget_bytes, settings.timing.masked_input) = (0, Millis(1_500));
    let driver = installation.driver_with(settings).await;
    std::fs::remove_dir(&spool).unwrap();
    let running = installation.site().run(&driver);
    installation.start(&driver).await;
    let failed =
        |status: &FederationStatus| status.engine.as_ref().is_some_and(|engine| engine.failed > 0);
    installation.until(&driver, failed).await;
    std::fs::create_dir(&spool).unwrap();
    installation.until_finished(&driver).await;
    installation.assert_published(running, 1).await;
    driver.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_whose_values_are_not_finite_declines_by_name_and_the_others_finish_the_round() {
    let installation = Installation::new(5, 1, false).await;
    let driver = installation.driver().await;
    let mut site = installation.site();
    site.diverge(3);
    let running = site.run(&driver);
    installation.start(&driver).await;
    installation.until_finished(&driver).await;
    let client = ClientId(installation.keys[3].public().fingerprint());
    let reason = Refusal::ContributionNotFinite;
    let status = driver.status(installation.owner(), installation.federation()).unwrap();
    let declined = Declined { client, round: 1, reason: reason.clone() };
    assert_eq!(status.engine.unwrap().declined, [declined]);
    let rounds = installation.store.tenant(installation.owner());
    let rounds = rounds.rounds(installation.federation()).await.unwrap();
    let departure = Departure::Declined(reason);
    assert_eq!((rounds[0].survivors, rounds[0].dropouts), (4, 1));
    assert_eq!(rounds[0].left, [(client, departure.clone())]);
    assert_eq!(rounds[1].left, [], "it evaluates with the others");
    let left = AuditEvent::Round(AuditEntry::Left { client, departure });
    for member in &installation.terms.manifest().members {
        let log = installation.store.tenant(&member.tenant).audit(0, 1_000).await.unwrap();
        assert!(log.iter().any(|item| item.record.event == left), "{}", member.tenant);
    }
    installation.assert_published(running, 1).await;
    driver.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_of_a_round_that_was_given_up_end_at_once_and_hold_no_memory() {
    let installation = Installation::new(3, 1, false).await;
    let mut settings = settings(installation.folder.path());
    settings.timing.masked_input = Millis(1_500);
    // Connections stay, and what they take.
    settings.connection_bytes = 0;
    let driver = installation.driver_with(settings).await;
    let budget = &driver.shared.budget;
    let all = budget.free_bytes();
    let mut site = installation.site();
    let ended = site.stall(2);
    let running = site.run(&driver);
    installation.start(&driver).await;
    let ended =
        timeout(Duration::from_secs(10), ended).await.expect("the round ends, and so does it");
    assert!(matches!(ended, Ok(Err(UploadError::Withdrawn))), "{ended:?}");
    let given_back = async {
        while budget.free_bytes() < all {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(Duration::from_secs(5), given_back).await.expect("nobody uploads now");
    installation.until_finished(&driver).await;
    installation.assert_published(running, 1).await;
    driver.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_aggregate_for_which_there_is_no_memory_is_sent_from_its_blob() {
    let installation = Installation::new(4, 2, false).await;
    let settings = DriverSettings { budget_bytes: 0, ..settings(installation.folder.path()) };
    let driver = installation.driver_with(settings).await;
    let running = installation.site().run(&driver);
    installation.start(&driver).await;
    installation.until_finished(&driver).await;
    installation.assert_published(running, 2).await;
    driver.shutdown().await;
}
