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

fn uploading(model: &str, name: &str) -> Event {
    Event::Uploading { kind: PlanKind::Train, model: digest(model), cohort: named(name) }
}

fn may_open(history: &History, model: &str, name: &str) -> bool {
    history.may_open(PlanKind::Train, digest(model), &named(name)).is_ok()
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
    history.record(RoundNumber(2), Event::Signed { set: digest("set") });
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
    history.record(RoundNumber(2), Event::Signed { set: digest("set") });
    assert_eq!(may_sign(&history, 2), Err(Refusal::SetRule));
    assert!(!may_open(&history, "a", "all"));
    // A train round carries the evaluation of its model: to evaluate it is the same release.
    let evaluate = history.may_open(PlanKind::Evaluate, digest("a"), &named("all"));
    assert_eq!(evaluate, Err(Refusal::SetRule));
    let statistics = history.may_open(PlanKind::Statistics, digest("a"), &named("all"));
    assert_eq!(statistics, Ok(()));
}

#[test]
fn what_was_forgotten_is_not_opened_again_until_a_newer_model_is_published() {
    let mut history = History::new(FEDERATION);
    history.record(RoundNumber(2), Event::Stands(standing(2)));
    history.record(RoundNumber(5), Event::RolledBack { seen: RoundNumber(4) });
    let refused = Err(Refusal::RolledBack { seen: 4, remembered: 2 });
    let open = |history: &History, kind| history.may_open(kind, digest("a"), &named("all"));
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
    history.record(RoundNumber(1), Event::Uploading { kind, model, cohort: cohort_1 });
    let may_open = |history: &History, cohort| history.may_open(kind, model, &cohort).is_ok();
    assert!(!may_open(&history, cohort("first", 0..4)), "not under the same manifest");
    assert!(!may_open(&history, cohort("second", 4..9)), "one of five could have signed");
    assert!(may_open(&history, cohort("second", 3..9)));
    let cohort_2 = cohort("second", 3..9);
    history.record(RoundNumber(2), Event::Uploading { kind, model, cohort: cohort_2.clone() });
    let may_sign = |history: &History, round, survivors: &[u8]| {
        let survivors: Vec<_> = survivors.iter().copied().map(client).collect();
        history.may_sign(kind, model, RoundNumber(round), &survivors).is_ok()
    };
    assert!(!may_sign(&history, 1, &[0, 1, 2, 3, 4]), "the round before is dead");
    assert!(!may_sign(&history, 2, &[4, 5, 6, 7, 8]), "a set of it could still be opened");
    assert!(may_sign(&history, 2, &[3, 4, 5, 6]));
    // A second amendment: both cohorts have to be shown dead, also after a retry and a restart.
    history.record(RoundNumber(3), Event::Uploading { kind, model, cohort: cohort_2 });
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
    history.record(RoundNumber(1), Event::Signed { set: digest("set") });
    let next = cohort("second", 0..6);
    let refused = history.may_open(PlanKind::Train, digest("a"), &next);
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
    let upload = |kind, model| Event::Uploading { kind, model, cohort: named("all") };
    history.record(RoundNumber(1), upload(statistics, digest("data")));
    history.record(RoundNumber(1), Event::Signed { set: digest("sums") });
    let mut lengths = Vec::new();
    for round in 2..200 {
        let before = history.standing().unwrap().state;
        let number = RoundNumber(round);
        assert_eq!(history.may_open(PlanKind::Train, before, &named("all")), Ok(()));
        for event in [Event::Advertised, Event::Shared, upload(PlanKind::Train, before)] {
            history.record(number, event);
        }
        // Every third time it uploads and is not asked to sign.
        if round % 3 > 0 {
            history.record(number, Event::Signed { set: digest("set") });
            history.record(number, Event::Revealed);
            let again = history.may_open(PlanKind::Evaluate, before, &named("all"));
            assert_eq!(again, Err(Refusal::SetRule));
        }
        history.record(number, Event::Stands(standing(round)));
        assert_eq!(history.remembered(), number);
        lengths.push(history.export().len());
    }
    assert!(lengths.iter().all(|length| *length <= 10), "{lengths:?}");
    let again = history.may_open(statistics, digest("data"), &named("all"));
    assert_eq!(again, Err(Refusal::SetRule), "those are released once for all");
    assert_eq!(History::replay(FEDERATION, &history.export()), history);
}

#[test]
fn a_retry_and_an_evaluation_of_one_version_are_remembered_until_the_next_one() {
    let mut history = History::new(FEDERATION);
    assert!(history.adopt(standing(3)).is_ok());
    let model = standing(3).state;
    let upload = |model| Event::Uploading { kind: PlanKind::Train, model, cohort: named("all") };
    history.record(RoundNumber(4), upload(model));
    history.record(RoundNumber(4), Event::Signed { set: digest("set") });
    // The same version stands at a later round: an evaluation changes nothing else.
    history
        .record(RoundNumber(5), Event::Stands(Standing { round: RoundNumber(5), ..standing(3) }));
    let may_open = |history: &History| history.may_open(PlanKind::Train, model, &named("all"));
    assert_eq!(may_open(&history), Err(Refusal::SetRule));
    history.record(RoundNumber(6), Event::Stands(standing(6)));
    history.record(RoundNumber(7), upload(standing(6).state));
    history.record(RoundNumber(7), Event::Signed { set: digest("set") });
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
        (name.clone(), name.clone(), 0_u8..4).prop_map(|(model, manifest, first)| {
            let cohort = cohort(manifest, first..first + 3);
            Event::Uploading { kind: PlanKind::Train, model: digest(model), cohort }
        }),
        name.prop_map(|set| Event::Signed { set: digest(set) }),
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
                Event::Uploading { kind, model, cohort } => {
                    history.rises(Stage::MaskedInput, round).is_ok()
                        && history.may_open(*kind, *model, cohort).is_ok()
                }
                Event::Signed { .. } => {
                    let is_open = |o: &Opened| o.round == round && o.signed.is_none();
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
