//! Lies about what is computed, and a tenant's own reasons. No vector has left.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use roundelay_crypto::digest::Digest;
use roundelay_crypto::mask::Ring;
use roundelay_protocol::error::{Refusal, Stage};
use roundelay_protocol::ids::{ModelVersion, RosterIndex};
use roundelay_protocol::layout::{Encoding, Layout, Segment, names};
use roundelay_protocol::message::{SurvivorSet, ToClient};
use roundelay_protocol::pair::{Options, Pair, Point};
use roundelay_protocol::plan::{PlanKind, TrainingPlan};
use roundelay_protocol::round::horizontal::client::{Input, LocalFailure};
use roundelay_protocol::time::Millis;

use crate::harness::{
    OPENED, UPLOADED, VICTIM, assert_refused, assert_refused_without_twin, lie_in, lied_to,
    lied_to_in_order,
};

fn training_is_refused(reason: &Refusal, lie: impl Fn(&mut TrainingPlan) + 'static) {
    let (pair, round) = lied_to(move |message| match message {
        ToClient::TrainingPlan(mut plan) => {
            lie(&mut plan);
            vec![ToClient::TrainingPlan(plan)]
        }
        other => vec![other],
    });
    assert_refused(&pair, round, reason, OPENED);
    assert!(!pair.peer(VICTIM).contributions.contains_key(&round), "not even trained for");
}

#[test]
fn a7_a_plan_that_departs_from_the_manifest_is_refused() {
    let reason = Refusal::PlanOutsideManifest;
    training_is_refused(&reason, |plan| plan.hyperparameters.local_epochs += 1);
    training_is_refused(&reason, |plan| plan.hyperparameters.learning_rate = 0.2);
    // The layout of another kind of plan.
    training_is_refused(&reason, |plan| plan.kind = PlanKind::Evaluate);
}

#[test]
fn a17_a_plan_with_another_ring_clip_or_segment_than_the_manifests_is_refused() {
    fn layout_is_refused(change: impl Fn(&mut Vec<Segment>) + 'static) {
        training_is_refused(&Refusal::PlanOutsideManifest, move |plan| {
            let mut segments = plan.layout.segments().to_vec();
            change(&mut segments);
            let altered = Layout::new(segments, plan.layout.contributors_max()).unwrap();
            assert_ne!(altered, plan.layout);
            plan.layout = altered;
        });
    }
    layout_is_refused(|segments| {
        let update = segments.iter_mut().find(|segment| segment.name == names::UPDATE).unwrap();
        update.ring = Ring::Z16;
        // What fits into 16 bits for five clients.
        let Encoding::Quantised { weight_max, .. } = &mut update.encoding else { unreachable!() };
        *weight_max = 1;
    });
    layout_is_refused(|segments| {
        let update = segments.iter_mut().find(|segment| segment.name == names::UPDATE).unwrap();
        let Encoding::Quantised { clip, .. } = &mut update.encoding else { unreachable!() };
        *clip *= 2.0;
    });
    layout_is_refused(|segments| {
        let rows = segments.iter().find(|segment| segment.name == names::EVALUATION_ROWS).unwrap();
        let another = Segment { name: "rows_again".try_into().unwrap(), ..rows.clone() };
        segments.push(another);
    });
}

#[test]
fn a7_a_round_beyond_those_of_the_signed_task_is_refused() {
    let mut pair = Pair::new(Options { rounds: 1, ..Options::new(5, 11) });
    let first = pair.round(PlanKind::Train);
    crate::checks::assert_published(&pair, first, &[0, 1, 2, 3, 4]);
    let second = pair.round(PlanKind::Train);
    assert_refused_without_twin(&pair, second, &Refusal::PlanOutsideManifest, OPENED);
}

#[test]
fn a7_a_model_that_this_client_has_not_derived_is_refused() {
    let reason = Refusal::ModelNotDerived;
    training_is_refused(&reason, |plan| plan.model = Digest([1; 32]));
    training_is_refused(&reason, |plan| plan.model_version = ModelVersion(1));
}

#[test]
fn a7_statistics_over_another_version_of_the_data_are_refused() {
    let mut pair = Pair::new(Options::new(5, 11));
    let round = pair.prepare();
    let mut plan = pair.coordinator().training_plan(round, PlanKind::Statistics);
    plan.model = Digest([1; 32]);
    pair.train_with(round, plan);
    pair.run();
    assert_refused(&pair, round, &Refusal::ModelNotDerived, OPENED);
}

#[test]
fn a7_another_history_than_this_client_has_seen_is_refused() {
    let reason = Refusal::TranscriptMismatch;
    training_is_refused(&reason, |plan| plan.previous_transcript = Digest([1; 32]));
}

#[test]
fn a5_an_active_roster_that_is_no_subset_with_this_client_is_refused() {
    let reason = Refusal::BadActiveRoster;
    training_is_refused(&reason, |plan| {
        plan.active.remove(VICTIM);
    });
    training_is_refused(&reason, |plan| plan.active.swap(0, 1));
    training_is_refused(&reason, |plan| plan.active.push(RosterIndex(4)));
    training_is_refused(&reason, |plan| plan.active.push(RosterIndex(9)));
    let few = Refusal::TooFewMembers { present: 3, required: 4 };
    training_is_refused(&few, |plan| plan.active.truncate(3));
}

#[test]
fn a15_an_active_roster_that_breaks_a_group_is_refused_where_whole_groups_are_the_rule() {
    let mut options = Options::new(8, 11);
    options.rules.whole_groups = true;
    let mut pair = Pair::new(options);
    assert_eq!(pair.terms().groups().to_vec().len(), 2);
    let round = lie_in(&mut pair, |message| match message {
        ToClient::TrainingPlan(mut plan) => {
            plan.active.pop();
            vec![ToClient::TrainingPlan(plan)]
        }
        other => vec![other],
    });
    assert_refused(&pair, round, &Refusal::BadActiveRoster, OPENED);
}

/// The contradiction comes when the vector is out: it is sent again byte for byte, or not at all.
#[test]
fn a14_another_plan_after_the_upload_gets_no_other_vector() {
    let changes: [fn(&mut TrainingPlan); 3] = [
        |plan| plan.model = Digest([1; 32]),
        |plan| plan.hyperparameters.learning_rate = 0.2,
        |plan| _ = plan.active.pop(),
    ];
    for change in changes {
        let mut pair = Pair::new(Options { delay_ms: 5..=5, ..Options::new(5, 11) });
        let (victim, plan) = (pair.ids()[VICTIM], Rc::new(RefCell::new(None)));
        let seen = Rc::clone(&plan);
        pair.on_message_to(move |to, message| {
            if let (ToClient::TrainingPlan(plan), true) = (&message, to == victim) {
                *seen.borrow_mut() = Some(plan.clone());
            }
            match message {
                ToClient::SurvivorSet(_) | ToClient::Published(_) if to == victim => Vec::new(),
                message => vec![message],
            }
        });
        let round = pair.prepare();
        pair.train(round, PlanKind::Train);
        pair.run_for(Millis(500));
        pair.tell(VICTIM, round, Input::Message(ToClient::ResendInput));
        let uploads = &pair.peer(VICTIM).uploads;
        assert_eq!(uploads.len(), 2);
        assert_eq!(uploads[0], uploads[1], "byte for byte");
        let mut other = plan.borrow().clone().unwrap();
        change(&mut other);
        pair.tell(VICTIM, round, Input::Message(ToClient::TrainingPlan(other)));
        pair.tell(VICTIM, round, Input::Message(ToClient::ResendInput));
        let twice = [UPLOADED, &[Point::Commit]].concat();
        let reason = Refusal::Contradicted(Stage::MaskedInput);
        assert_refused(&pair, round, &reason, &twice);
        assert_eq!(pair.peer(VICTIM).uploads.len(), 2);
    }
}

#[test]
fn a14_a_message_of_a_later_stage_or_another_plan_is_refused() {
    let (pair, round) = lied_to(|message| match message {
        ToClient::TrainingPlan(_) => {
            vec![ToClient::SurvivorSet(Arc::new(SurvivorSet { inputs: Vec::new() }))]
        }
        other => vec![other],
    });
    assert_refused(&pair, round, &Refusal::OutOfStage, OPENED);

    let (pair, round) = lied_to_in_order(|message| match message {
        ToClient::TrainingPlan(plan) => {
            let mut other = plan.clone();
            other.model = Digest([1; 32]);
            vec![ToClient::TrainingPlan(plan), ToClient::TrainingPlan(other)]
        }
        other => vec![other],
    });
    let reason = Refusal::Contradicted(Stage::MaskedInput);
    assert_refused(&pair, round, &reason, OPENED);
}

#[test]
fn a_client_without_a_contribution_says_why_and_no_more() {
    for (failure, reason) in [
        (LocalFailure::TrainingFailed, Refusal::TrainingFailed),
        (LocalFailure::NotFinite, Refusal::ContributionNotFinite),
        (LocalFailure::Forbidden, Refusal::ForbiddenByPolicy),
    ] {
        let mut pair = Pair::new(Options::new(5, 11));
        pair.fail(VICTIM, failure);
        let round = pair.round(PlanKind::Train);
        assert_refused(&pair, round, &reason, OPENED);
        // The others' round goes on, and this client follows it.
        crate::checks::assert_published(&pair, round, &[0, 2, 3, 4]);
        assert_eq!(pair.peer(VICTIM).history.standing(), Some(&pair.coordinator().standing()));
    }
}

#[test]
fn a_client_that_withdraws_burns_its_keys() {
    let mut pair = Pair::new(Options::new(5, 11));
    let round = pair.prepare();
    pair.run_for(Millis(500));
    pair.tell(VICTIM, round, Input::Withdraw);
    assert_refused(&pair, round, &Refusal::Withdrawn, OPENED);
    pair.train(round, PlanKind::Train);
    pair.run();
    crate::checks::assert_published(&pair, round, &[0, 2, 3, 4]);
}

#[test]
fn a18_a_client_burns_its_keys_when_the_coordinator_is_silent_for_too_long() {
    let (pair, round) = lied_to(|message| match message {
        ToClient::RosterPlan(_) | ToClient::Adverts(_) => vec![message],
        _ => Vec::new(),
    });
    assert_refused(&pair, round, &Refusal::WaitedTooLong, &[Point::Advert, Point::Shares]);
}

#[test]
fn a11_a_plan_without_a_quorum_that_opened_its_boxes_is_refused() {
    let too_few = Refusal::TooFewOpened { present: 3, required: 4 };
    training_is_refused(&too_few, |plan| plan.opened.truncate(3));
    training_is_refused(&too_few, |plan| plan.opened[3] = plan.opened[0]);
    training_is_refused(&too_few, |plan| plan.opened[3].1 = plan.opened[0].1);
    training_is_refused(&too_few, |plan| plan.opened[3].0 = RosterIndex(99));
}
