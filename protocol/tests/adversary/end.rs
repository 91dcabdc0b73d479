//! Lies about the result: the client stops and says so.

use roundelay_crypto::digest::Digest;
use roundelay_protocol::error::Refusal;
use roundelay_protocol::ids::ModelVersion;
use roundelay_protocol::message::{Published, ToClient};
use roundelay_protocol::pair::{Options, Pair};
use roundelay_protocol::plan::PlanKind;
use roundelay_protocol::round::horizontal::client::{LocalFailure, Outcome};

use crate::harness::{VICTIM, lie_in, lied_to};

fn result_is_refused(reason: &Refusal, lie: impl Fn(&mut Published) + 'static) {
    let (pair, round) = lied_to(move |message| match message {
        ToClient::Published(mut published) => {
            lie(&mut published);
            vec![ToClient::Published(published)]
        }
        other => vec![other],
    });
    let peer = pair.peer(VICTIM);
    assert_eq!(peer.outcomes.get(&round), Some(&Outcome::Broken(reason.clone())));
    assert_eq!(peer.declined(round).collect::<Vec<_>>(), [reason]);
    assert_eq!(peer.history.standing().unwrap().model_version, ModelVersion(0));
}

#[test]
fn a19_a_result_that_does_not_belong_to_the_plan_and_the_set_is_refused() {
    let reason = Refusal::LineageBroken;
    result_is_refused(&reason, |published| published.kind = PlanKind::Evaluate);
    result_is_refused(&reason, |published| published.model_version = ModelVersion(7));
    result_is_refused(&reason, |published| published.survivors -= 1);
}

#[test]
fn a19_a_result_whose_transcript_is_not_what_this_client_saw_is_refused() {
    let reason = Refusal::TranscriptMismatch;
    result_is_refused(&reason, |published| published.transcript = Digest([1; 32]));
    result_is_refused(&reason, |published| published.aggregate = Digest([1; 32]));
    result_is_refused(&reason, |published| published.state = Digest([1; 32]));
}

#[test]
fn a19_a_result_that_leads_to_another_state_than_announced_is_refused_by_one_that_sat_out() {
    // Without a part in the round it can't tell the transcript, but it derives the state itself.
    let reason = Refusal::LineageBroken;
    let mut pair = Pair::new(Options::new(5, 11));
    pair.fail(VICTIM, LocalFailure::TrainingFailed);
    let round = lie_in(&mut pair, |message| match message {
        ToClient::Published(published) => {
            let state = Digest([1; 32]);
            vec![ToClient::Published(Published { state, ..published })]
        }
        other => vec![other],
    });
    let peer = pair.peer(VICTIM);
    assert_eq!(peer.outcomes.get(&round), Some(&Outcome::Broken(reason.clone())));
    assert_eq!(peer.declined(round).collect::<Vec<_>>(), [&Refusal::TrainingFailed, &reason]);
    assert_eq!(peer.history.standing().unwrap().model_version, ModelVersion(0));
}
