use proptest::prelude::*;

use super::*;
use crate::fixtures::wire::digest;
use crate::ids::ModelVersion;

const FEDERATION: FederationId = FederationId([7; 16]);

fn standing(round: u64) -> Standing {
    Standing {
        round: RoundNumber(round),
        model_version: ModelVersion(round),
        state: digest(&format!("state {round}")),
        transcript: digest(&format!("transcript {round}")),
    }
}

fn client(number: u8) -> ClientId {
    ClientId(Digest([number; 32]))
}

/// A cohort of these clients, any two of whom show that no set of it is opened.
fn cohort(manifest: &str, members: impl IntoIterator<Item = u8>) -> Cohort {
    let members = members.into_iter().map(client).collect();
    Cohort { manifest: digest(manifest), members, witnesses: 2 }
}

/// The cohort of a name under one manifest.
fn named(name: &str) -> Cohort {
    let members = if name == "all" { 0..6 } else { 0..u8::try_from(name.len()).unwrap() };
    cohort("manifest", members)
}

fn intent(kind: PlanKind, model: Digest, cohort: Cohort) -> Intent {
    Intent { kind, model, cohort }
}

fn upload(Intent { kind, model, cohort }: Intent) -> Event {
    Event::Uploading { kind, model, cohort, contribution: digest("vector") }
}

fn train(model: &str, name: &str) -> Intent {
    intent(PlanKind::Train, digest(model), named(name))
}

fn uploading(model: &str, name: &str) -> Event {
    upload(train(model, name))
}

fn may_open(history: &History, model: &str, name: &str) -> bool {
    history.may_open(&train(model, name)).is_ok()
}

/// Signs a set of the clients with these numbers.
fn signed(clients: impl IntoIterator<Item = u8>) -> Event {
    Event::Signed { set: set_digest(&clients.into_iter().map(client).collect::<Vec<_>>()) }
}

#[test]
fn rounds_rise_strictly_in_each_stage_by_itself() {
    let mut history = History::new(FEDERATION);
    history.record(RoundNumber(5), Event::Advertised);
    history.record(RoundNumber(4), Event::Shared);
    let rises = |stage, round| history.rises(stage, RoundNumber(round));
    assert_eq!(rises(Stage::AdvertiseKeys, 6), Ok(()));
    // The very same round again means that its keys were lost.
    assert_eq!(rises(Stage::AdvertiseKeys, 5), Err(Refusal::Restarted));
    let not_rising = |planned, seen| Err(Refusal::RoundNotRising { planned, seen });
    assert_eq!(rises(Stage::AdvertiseKeys, 4), not_rising(4, 5));
    assert_eq!(rises(Stage::ShareKeys, 5), Ok(()));
    assert_eq!(rises(Stage::ShareKeys, 4), not_rising(4, 4));
    assert_eq!(history.highest_round(), RoundNumber(5));
}

#[test]
fn a_round_is_signed_and_revealed_once() {
    let mut history = History::new(FEDERATION);
    history.record(RoundNumber(2), signed(0..6));
    history.record(RoundNumber(2), Event::Revealed);
    assert_eq!(history.rises(Stage::ConsistencyCheck, RoundNumber(2)), Err(Refusal::AlreadySigned));
    assert_eq!(history.rises(Stage::Unmasking, RoundNumber(1)), Err(Refusal::AlreadyRevealed));
}

#[test]
fn one_set_is_opened_over_a_model_and_a_retry_plans_the_same_cohort_until_it_is_signed() {
    let mut history = History::new(FEDERATION);
    assert!(may_open(&history, "a", "all"));
    history.record(RoundNumber(1), uploading("a", "all"));
    assert!(may_open(&history, "a", "all") && !may_open(&history, "a", "some"));
    assert!(may_open(&history, "b", "some"));
    history.record(RoundNumber(2), uploading("a", "all"));
    // The round before the retry is dead.
    let may_sign = |history: &History, round| {
        history.may_sign(PlanKind::Train, digest("a"), RoundNumber(round), &[])
    };
    assert_eq!(may_sign(&history, 1), Err(Refusal::SetRule));
    assert_eq!(may_sign(&history, 2), Ok(()));
    history.record(RoundNumber(2), signed([]));
    assert_eq!(may_sign(&history, 2), Err(Refusal::SetRule));
    assert!(!may_open(&history, "a", "some"));
    // A train round carries the evaluation of its model: to evaluate it is the same release.
    let open = |kind| history.may_open(&intent(kind, digest("a"), named("all")));
    assert_eq!(open(PlanKind::Evaluate), Err(Refusal::SetRule));
    assert_eq!(open(PlanKind::Statistics), Ok(()));
}

#[test]
fn where_a_set_was_signed_the_same_vector_goes_into_the_same_set_again_and_nothing_else() {
    let mut history = History::new(FEDERATION);
    assert!(history.adopt(standing(0)).is_ok());
    history.record(RoundNumber(1), uploading("a", "all"));
    history.record(RoundNumber(1), signed(0..5));
    for (restarted, round) in [(false, 2), (true, 3)] {
        if restarted {
            history = History::replay(FEDERATION, &history.export());
        }
        let may_upload = |history: &History, name, vector, fresh| {
            history.may_upload(&train("a", name), digest(vector), fresh).is_ok()
        };
        assert!(may_upload(&history, "all", "vector", false));
        assert!(!may_upload(&history, "all", "another", false), "two sums of one set differ");
        assert!(may_upload(&history, "all", "another", true), "which is charged");
        assert!(!may_upload(&history, "some", "vector", false));
        history.record(RoundNumber(round), uploading("a", "all"));
        let may_sign = |history: &History, round, set: std::ops::Range<u8>| {
            let set: Vec<ClientId> = set.map(client).collect();
            history.may_sign(PlanKind::Train, digest("a"), RoundNumber(round), &set).is_ok()
        };
        assert!(!may_sign(&history, round, 0..6) && !may_sign(&history, round, 0..4));
        assert!(!may_sign(&history, round - 1, 0..5), "the round before the retry is dead");
        assert!(may_sign(&history, round, 0..5));
        history.record(RoundNumber(round), signed(0..5));
        assert!(!may_sign(&history, round, 0..5), "once in a round");
    }
    // Whatever the client saw published, in whichever of these rounds, was the release.
    history
        .record(RoundNumber(1), Event::Stands(Standing { round: RoundNumber(1), ..standing(0) }));
    assert!(!may_open(&history, "a", "all"));
}

#[test]
fn what_was_forgotten_is_not_opened_again_until_a_newer_model_is_published() {
    let mut history = History::new(FEDERATION);
    history.record(RoundNumber(2), Event::Stands(standing(2)));
    history.record(RoundNumber(5), Event::RolledBack { seen: RoundNumber(4) });
    let refused = Err(Refusal::RolledBack { seen: 4, remembered: 2 });
    let open = |history: &History, kind| history.may_open(&intent(kind, digest("a"), named("all")));
    assert_eq!(open(&history, PlanKind::Train), refused);
    assert_eq!(history.remembered(), RoundNumber(4));
    history.record(RoundNumber(4), Event::Stands(standing(4)));
    assert_eq!(open(&history, PlanKind::Train), Ok(()));
    assert!(open(&history, PlanKind::Statistics).is_err(), "those are released once for all");
}

#[test]
fn under_an_amended_manifest_another_cohort_may_try_with_enough_of_the_one_before() {
    let (kind, model) = (PlanKind::Train, digest("a"));
    let mut history = History::new(FEDERATION);
    let cohort_1 = cohort("first", 0..5);
    history.record(RoundNumber(1), upload(intent(kind, model, cohort_1)));
    let may_open =
        |history: &History, cohort| history.may_open(&intent(kind, model, cohort)).is_ok();
    assert!(!may_open(&history, cohort("first", 0..4)), "not under the same manifest");
    assert!(!may_open(&history, cohort("second", 4..9)), "one of five could have signed");
    assert!(may_open(&history, cohort("second", 3..9)));
    let cohort_2 = cohort("second", 3..9);
    history.record(RoundNumber(2), upload(intent(kind, model, cohort_2.clone())));
    let may_sign = |history: &History, round, survivors: &[u8]| {
        let survivors: Vec<_> = survivors.iter().copied().map(client).collect();
        history.may_sign(kind, model, RoundNumber(round), &survivors).is_ok()
    };
    assert!(!may_sign(&history, 1, &[0, 1, 2, 3, 4]), "the round before is dead");
    assert!(!may_sign(&history, 2, &[4, 5, 6, 7, 8]), "a set of it could still be opened");
    assert!(may_sign(&history, 2, &[3, 4, 5, 6]));
    // A second amendment: both cohorts have to be shown dead, also after a retry and a restart.
    history.record(RoundNumber(3), upload(intent(kind, model, cohort_2)));
    let history = History::replay(FEDERATION, &history.export());
    assert!(
        !may_open(&history, cohort("third", 5..9)) && may_open(&history, cohort("third", 3..5))
    );
    assert!(!may_sign(&history, 2, &[3, 4]) && may_sign(&history, 3, &[3, 4]));
}

#[test]
fn a_client_that_signed_a_set_follows_no_amendment_over_the_same_model() {
    let mut history = History::new(FEDERATION);
    history.record(RoundNumber(1), uploading("a", "all"));
    history.record(RoundNumber(1), signed(0..6));
    let next = cohort("second", 0..6);
    let refused = history.may_open(&intent(PlanKind::Train, digest("a"), next));
    assert_eq!(refused, Err(Refusal::SetRule));
}

#[test]
fn a_standing_never_steps_back() {
    let mut history = History::new(FEDERATION);
    assert!(history.adopt(standing(0)).is_ok());
    history.record(RoundNumber(4), Event::Stands(standing(4)));
    let place = |version, round| (ModelVersion(version), RoundNumber(round));
    let refused = Err(StepsBack { stands: place(4, 4), offered: place(3, 3) });
    assert_eq!(history.adopt(standing(3)), refused);
    // Not in a later round either.
    let offered = Standing { round: RoundNumber(9), ..standing(3) };
    assert_eq!(
        history.adopt(offered),
        Err(StepsBack { stands: place(4, 4), offered: place(3, 9) })
    );
    assert_eq!(history.standing(), Some(&standing(4)));
    assert_eq!(history.derived(), Some(&standing(4)));
    assert!(history.adopt(standing(6)).is_ok());
    assert_eq!(history.derived(), None, "what others derived");
    assert_eq!(history.transcript(), standing(6).transcript);
}

#[test]
fn what_is_remembered_does_not_grow_with_rounds_and_answers_for_the_newest_model() {
    let mut history = History::new(FEDERATION);
    assert!(history.adopt(standing(0)).is_ok());
    let statistics = PlanKind::Statistics;
    let of = |kind, model| intent(kind, model, named("all"));
    history.record(RoundNumber(1), upload(of(statistics, digest("data"))));
    history.record(RoundNumber(1), signed(0..6));
    let mut lengths = Vec::new();
    for round in 2..200 {
        let before = history.standing().unwrap().state;
        let number = RoundNumber(round);
        assert_eq!(history.may_open(&of(PlanKind::Train, before)), Ok(()));
        for event in [Event::Advertised, Event::Shared, upload(of(PlanKind::Train, before))] {
            history.record(number, event);
        }
        // Every third time it uploads and is not asked to sign.
        if round % 3 > 0 {
            history.record(number, signed(0..6));
            history.record(number, Event::Revealed);
            let again = history.may_open(&of(PlanKind::Evaluate, before));
            assert_eq!(again, Err(Refusal::SetRule));
        }
        history.record(number, Event::Stands(standing(round)));
        assert_eq!(history.remembered(), number);
        lengths.push(history.export().len());
    }
    assert!(lengths.iter().all(|length| *length <= 10), "{lengths:?}");
    let again = history.may_open(&of(statistics, digest("data")));
    assert_eq!(again, Err(Refusal::SetRule), "those are released once for all");
    assert_eq!(History::replay(FEDERATION, &history.export()), history);
}

#[test]
fn a_retry_and_an_evaluation_of_one_version_are_remembered_until_the_next_one() {
    let mut history = History::new(FEDERATION);
    assert!(history.adopt(standing(3)).is_ok());
    let model = standing(3).state;
    let of = |model| intent(PlanKind::Train, model, named("all"));
    history.record(RoundNumber(4), upload(of(model)));
    history.record(RoundNumber(4), signed(0..6));
    // The same version stands at a later round: an evaluation changes nothing else.
    history
        .record(RoundNumber(5), Event::Stands(Standing { round: RoundNumber(5), ..standing(3) }));
    assert_eq!(history.may_open(&of(model)), Err(Refusal::SetRule));
    history.record(RoundNumber(6), Event::Stands(standing(6)));
    history.record(RoundNumber(7), upload(of(standing(6).state)));
    history.record(RoundNumber(7), signed(0..6));
    history.record(RoundNumber(7), Event::Stands(standing(7)));
    assert!(!history.opened.contains_key(&Release::of(PlanKind::Train, model)));
    assert_eq!(history.rises(Stage::ConsistencyCheck, RoundNumber(7)), Err(Refusal::AlreadySigned));
}

#[test]
fn records_of_another_federation_are_passed_over() {
    let mut history = History::new(FederationId([8; 16]));
    let record = history.record(RoundNumber(9), Event::Advertised);
    assert_eq!(History::replay(FEDERATION, [&record]), History::new(FEDERATION));
}

fn event() -> impl Strategy<Value = Event> {
    let name = prop::sample::select(vec!["a", "b", "c"]);
    prop_oneof![
        Just(Event::Advertised),
        Just(Event::Shared),
        Just(Event::Revealed),
        (name.clone(), name, 0_u8..4).prop_map(|(model, manifest, first)| {
            let cohort = cohort(manifest, first..first + 3);
            upload(intent(PlanKind::Train, digest(model), cohort))
        }),
        (0_u8..2).prop_map(|first| signed(first..4)),
        (0_u64..9).prop_map(|round| Event::Stands(standing(round))),
        (0_u64..9).prop_map(|round| Event::Adopted(standing(round))),
        prop::collection::vec(0_u8..4, 0..4).prop_map(|clients| Event::Met {
            clients: clients.into_iter().map(|one| ClientId(Digest([one; 32]))).collect()
        }),
        (1_u64..12).prop_map(|round| Event::RolledBack { seen: RoundNumber(round) }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn a_history_is_rebuilt_from_its_records_and_from_its_export(
        events in prop::collection::vec((1_u64..12, event()), 0..40),
    ) {
        let mut history = History::new(FEDERATION);
        let mut records = Vec::new();
        for (round, event) in events {
            let round = RoundNumber(round);
            // Only what a machine may do: it asks first.
            let allowed = match &event {
                Event::Uploading { kind, model, cohort, contribution } => {
                    let intent = intent(*kind, *model, cohort.clone());
                    history.rises(Stage::MaskedInput, round).is_ok()
                        && history.may_upload(&intent, *contribution, false).is_ok()
                }
                Event::Signed { set } => {
                    let is_open = |o: &Opened| {
                        o.round == round && o.signed().is_none_or(|signed| signed.set == *set)
                    };
                    history.rises(Stage::ConsistencyCheck, round).is_ok()
                        && history.opened.values().any(is_open)
                }
                Event::Stands(standing) | Event::Adopted(standing) => standing.round >= history.standing.map_or(RoundNumber(0), |s| s.round),
                _ => true,
            };
            if allowed {
                let round = match &event {
                    Event::Stands(standing) | Event::Adopted(standing) => standing.round,
                    _ => round,
                };
                records.push(history.record(round, event));
            }
        }
        prop_assert_eq!(&History::replay(FEDERATION, &records), &history);
        prop_assert_eq!(&History::replay(FEDERATION, &history.export()), &history);
    }
}
