use roundelay_protocol::error::Stage;
use roundelay_protocol::ids::ModelVersion;
use roundelay_protocol::plan::PlanKind;

use super::*;
use crate::testing::{keys, manifest};

/// A view of five clients who are all there, with nothing tried, to be changed by a test.
struct Scene {
    terms: Terms,
    pace: Pace,
    tries: Tries,
    ready: BTreeSet<ClientId>,
    ahead: Option<(BTreeSet<ClientId>, bool)>,
    repeats: bool,
    training: bool,
    more_after: bool,
    goal: Option<Goal>,
    now: u64,
    changed: u64,
    failed_at: u64,
}

impl Scene {
    fn new() -> Self {
        let terms = Terms::new(manifest(&keys(5), 3, false));
        let goal = Goal { kind: PlanKind::Train, version: ModelVersion(0), model: Digest([1; 32]) };
        Self {
            ready: terms.clients().collect(),
            terms,
            pace: Pace::default(),
            tries: Tries::default(),
            ahead: None,
            repeats: false,
            training: false,
            more_after: true,
            goal: Some(goal),
            now: 100_000,
            changed: 100_000,
            failed_at: 0,
        }
    }

    fn all(&self) -> BTreeSet<ClientId> {
        self.terms.clients().collect()
    }

    fn next(&self) -> Step {
        next(&self.view())
    }

    fn view(&self) -> View<'_> {
        View {
            now: Time(self.now),
            pace: &self.pace,
            terms: &self.terms,
            goal: self.goal,
            more_after: self.more_after,
            tries: &self.tries,
            failed_at: Time(self.failed_at),
            training: self.training,
            ahead: self.ahead.as_ref().map(|(cohort, prepared)| Ahead {
                cohort,
                prepared: *prepared,
                repeats: self.repeats,
            }),
            ahead_of_us: 0,
            ready: &self.ready,
            changed: Time(self.changed),
            enough_since: Time(self.changed),
            seed: Digest([2; 32]),
        }
    }
}

#[test]
fn a_round_is_planned_as_soon_as_everyone_is_there() {
    let scene = Scene::new();
    assert_eq!(scene.next(), Step::Plan(scene.all()));
}

#[test]
fn nothing_is_planned_while_clients_are_ahead_of_the_coordinator() {
    let scene = Scene::new();
    for goal in [scene.goal, None] {
        let view = View { ahead_of_us: 2, goal, ..scene.view() };
        assert_eq!(next(&view), Step::Wait(Waiting::Restored { ahead: 2 }, None));
    }
}

#[test]
fn latecomers_are_given_a_moment_and_then_the_round_is_planned_without_them() {
    let mut scene = Scene::new();
    scene.ready.pop_first();
    assert_eq!(scene.next(), Step::Wait(Waiting::Assembly, Some(Time(102_000))));
    scene.now = 102_000;
    assert_eq!(scene.next(), Step::Plan(scene.all()));
}

#[test]
fn too_few_clients_are_waited_for_without_end() {
    let mut scene = Scene::new();
    scene.ready = scene.ready.iter().take(3).copied().collect();
    scene.now += 1_000_000;
    let waiting = Waiting::Clients { ready: 3, members: 5 };
    assert_eq!(scene.next(), Step::Wait(waiting, None));
}

#[test]
fn a_prepared_round_trains_and_the_next_is_prepared_meanwhile() {
    let mut scene = Scene::new();
    scene.ahead = Some((scene.all(), false));
    assert_eq!(scene.next(), Step::Wait(Waiting::Round, None));
    scene.ahead = Some((scene.all(), true));
    assert_eq!(scene.next(), Step::Train);
    scene.ahead = None;
    scene.training = true;
    assert_eq!(scene.next(), Step::Plan(scene.all()));
    scene.ahead = Some((scene.all(), true));
    assert_eq!(scene.next(), Step::Wait(Waiting::Round, None));
}

#[test]
fn nothing_is_prepared_behind_the_last_round_and_then_all_is_done() {
    let mut scene = Scene::new();
    (scene.training, scene.more_after) = (true, false);
    assert_eq!(scene.next(), Step::Wait(Waiting::Round, None));
    (scene.training, scene.goal) = (false, None);
    assert_eq!(scene.next(), Step::Finish);
}

#[test]
fn a_retry_waits_longer_each_time_and_plans_the_same_cohort() {
    let mut scene = Scene::new();
    let pinned = scene.all();
    scene.tries.pinned = Some(pinned.clone());
    scene.failed_at = scene.now;
    for (failed, wait) in [(1, 500), (2, 1_000), (3, 2_000), (7, 30_000)] {
        scene.tries.failed = failed;
        let at = Time(scene.now + wait);
        assert_eq!(scene.next(), Step::Wait(Waiting::Retry, Some(at)), "{failed} failed");
    }
    scene.now += 30_000;
    assert_eq!(scene.next(), Step::Plan(pinned));
}

#[test]
fn a_retry_of_a_pinned_cohort_waits_for_its_clients_and_takes_no_others() {
    let mut scene = Scene::new();
    scene.tries.pinned = Some(scene.all());
    scene.ready = scene.ready.iter().take(3).copied().collect();
    assert!(matches!(scene.next(), Step::Wait(Waiting::Clients { .. }, None)));
}

#[test]
fn a_preparation_that_the_set_rule_forbids_is_burned() {
    let mut scene = Scene::new();
    let mut other = scene.all();
    other.pop_first();
    scene.tries.pinned = Some(other);
    scene.ahead = Some((scene.all(), true));
    assert_eq!(scene.next(), Step::Burn);
    let shown = Some(Shown { cohort: scene.all(), set: scene.all() });
    for shown in [None, shown] {
        scene.tries = Tries { spent: scene.all(), shown, ..Tries::default() };
        assert_eq!(scene.next(), Step::Burn, "it was prepared before the set was shown");
    }
    scene.tries = Tries { pinned: Some(scene.all()), ..Tries::default() };
    assert_eq!(scene.next(), Step::Train);
}

#[test]
fn nothing_is_planned_that_would_be_burned_at_once() {
    let mut scene = Scene::new();
    let everybody: Vec<ClientId> = scene.all().into_iter().collect();
    let subset = |bits: usize| -> BTreeSet<ClientId> {
        let chosen = everybody.iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1);
        chosen.map(|(_, client)| *client).collect()
    };
    let all_pins = std::iter::once(None).chain((1..32).map(|bits| Some(subset(bits))));
    let mut planned = 0;
    for pinned in all_pins {
        for (spent, ready) in (0..32).flat_map(|spent| (0..32).map(move |ready| (spent, ready))) {
            scene.tries =
                Tries { pinned: pinned.clone(), spent: subset(spent), ..Tries::default() };
            (scene.ready, scene.ahead) = (subset(ready), None);
            scene.now = scene.changed + 3_600_000;
            let Step::Plan(cohort) = scene.next() else { continue };
            scene.ahead = Some((cohort, true));
            assert_eq!(scene.next(), Step::Train, "{:?} {:?}", scene.tries, scene.ready);
            planned += 1;
        }
    }
    assert!(planned > 100, "{planned}");
}

#[test]
fn nobody_tries_again_after_a_survivor_set_was_shown() {
    let mut scene = Scene::new();
    let reason = AbortReason::TooFewClients { stage: Stage::Unmasking, present: 1, required: 4 };
    scene.tries.spent = scene.all();
    scene.tries.reason = Some(reason.clone());
    assert_eq!(scene.next(), Step::Stall(Stalled::SetShown { reason }));
    scene.tries.reason = Some(AbortReason::MasksDidNotCancel);
    assert_eq!(scene.next(), Step::Stall(Stalled::MasksDidNotCancel));
}

#[test]
fn a_set_that_was_shown_in_vain_is_tried_again_once_all_of_it_are_there() {
    let mut scene = Scene::new();
    let set: BTreeSet<ClientId> = scene.all().into_iter().skip(1).collect();
    let shown = Shown { cohort: scene.all(), set: set.clone() };
    scene.tries = Tries { spent: scene.all(), shown: Some(shown), ..Tries::default() };
    scene.now += 60_000;
    scene.ready.pop_last();
    let waiting = Waiting::Clients { ready: 4, members: 5 };
    assert_eq!(scene.next(), Step::Wait(waiting, None), "who is there is not the set");
    scene.ready = set;
    assert_eq!(scene.next(), Step::Plan(scene.all()));
    // And if that is tried in vain as well.
    scene.tries.pinned = Some(scene.all());
    assert_eq!(scene.next(), Step::Plan(scene.all()));
    (scene.ahead, scene.repeats) = (Some((scene.all(), true)), true);
    assert_eq!(scene.next(), Step::Train);
}

#[test]
fn clients_that_were_shown_no_set_go_before_those_that_were() {
    let mut scene = Scene::new();
    let keys = keys(12);
    scene.terms = Terms::new(manifest(&keys, 3, false));
    scene.pace.selection = Selection { clients_wanted: Some(4), over_selection_permille: 0 };
    let groups = scene.terms.groups().to_vec();
    let group = |at: usize| -> BTreeSet<ClientId> { groups[at].iter().copied().collect() };
    scene.ready = scene.all();
    let shown = Shown { cohort: group(0), set: group(0) };
    scene.tries = Tries { spent: group(0), shown: Some(shown), ..Tries::default() };
    let Step::Plan(cohort) = scene.next() else { panic!("a plan") };
    assert!(cohort.is_disjoint(&group(0)));
    scene.tries.spent = scene.all();
    assert_eq!(scene.next(), Step::Plan(group(0)));
}

#[test]
fn a_federation_stalls_after_so_many_failures_and_says_why() {
    let mut scene = Scene::new();
    let reason = AbortReason::TooFewClients { stage: Stage::MaskedInput, present: 2, required: 4 };
    (scene.tries.failed, scene.tries.reason) = (8, Some(reason.clone()));
    scene.ahead = Some((scene.all(), true));
    assert_eq!(scene.next(), Step::Burn);
    scene.ahead = None;
    let stalled = Stalled::TriedTooOften { failed: 8, reason };
    assert_eq!(scene.next(), Step::Stall(stalled.clone()));
    assert!(stalled.to_string().contains("MaskedInput: 2 clients, 4 required"));
}

#[test]
fn a_wish_that_is_met_waits_for_nobody() {
    let mut scene = Scene::new();
    let keys = keys(12);
    scene.terms = Terms::new(manifest(&keys, 3, false));
    scene.pace.selection = Selection { clients_wanted: Some(4), over_selection_permille: 0 };
    let groups = scene.terms.groups().to_vec();
    scene.ready = groups[0].iter().copied().collect();
    assert_eq!(scene.next(), Step::Plan(scene.ready.clone()));
}
