//! A lying coordinator over real QUIC: the daemon of one tenant is told the five worst lies, each in a
//! round of its own. It says which one it was, nothing leaves that the lie was for, and it takes part
//! in the next round. The other refusals are tests of the machine (`protocol/tests/adversary`).

use std::path::Path;
use std::sync::Arc;

use roundelay_client::gate::ledger::Entries;
use roundelay_crypto::digest::Digest;
use roundelay_protocol::ids::RosterIndex;
use roundelay_protocol::message::ToClient as InRound;
use roundelay_tests::harness::Coordinator;
use serde_json::Value;

use crate::small::Small;

#[path = "lying/proxy.rs"]
mod proxy;
#[path = "lying/victim.rs"]
mod victim;

use proxy::Proxy;

/// The tenant that is lied to.
const VICTIM: usize = 2;
/// Train rounds.
const ROUNDS: u32 = 12;

/// A lie in one round.
struct Lie {
    round: u64,
    /// What it makes of a message to the client at this place of the roster.
    told: fn(RosterIndex, InRound) -> Vec<InRound>,
    /// Words of the reason that the client gives.
    reason: &'static str,
    /// What must not leave the client in this round.
    kept: &'static [&'static str],
}

const LIES: [Lie; 5] = [
    // A6: fewer signatures would do for the liar to have its way with two sets.
    Lie {
        round: 2,
        told: lower_quorum,
        reason: "threshold or quorum is not what the manifest's rule gives",
        kept: &["advert", "shares", "masked-vector", "survivor-signature", "reveal"],
    },
    // A7: a model for this client alone, made to draw rows out of its update.
    Lie {
        round: 4,
        told: other_model,
        reason: "the model is not the one this client has derived",
        kept: &["masked-vector", "survivor-signature", "reveal"],
    },
    // A9: of a client outside the set, others open what they open of a dropout.
    Lie {
        round: 6,
        told: set_without_it,
        reason: "the survivor set lacks this client",
        kept: &["survivor-signature", "reveal"],
    },
    // A10: two sets of one round, whose sums differ by one tenant.
    Lie {
        round: 8,
        told: second_set,
        reason: "a survivor set of this round was signed before",
        kept: &["reveal"],
    },
    // A11: shares for a set that no quorum has signed.
    Lie {
        round: 10,
        told: forged_quorum,
        reason: "the quorum holds a signature that does not verify",
        kept: &["reveal"],
    },
];

fn lower_quorum(_: RosterIndex, mut message: InRound) -> Vec<InRound> {
    if let InRound::RosterPlan(plan) = &mut message {
        plan.quorum -= 1;
    }
    vec![message]
}

fn other_model(_: RosterIndex, mut message: InRound) -> Vec<InRound> {
    if let InRound::TrainingPlan(plan) = &mut message {
        plan.model = Digest([7; 32]);
    }
    vec![message]
}

fn set_without_it(place: RosterIndex, mut message: InRound) -> Vec<InRound> {
    if let InRound::SurvivorSet(set) = &mut message {
        Arc::make_mut(set).inputs.retain(|(who, _)| *who != place);
    }
    vec![message]
}

fn second_set(place: RosterIndex, message: InRound) -> Vec<InRound> {
    let mut told = vec![message];
    if let InRound::SurvivorSet(set) = &told[0] {
        let mut other = set.as_ref().clone();
        let another = other.inputs.iter().position(|(who, _)| *who != place).expect("another");
        other.inputs.remove(another);
        told.push(InRound::SurvivorSet(other.into()));
    }
    told
}

fn forged_quorum(_: RosterIndex, mut message: InRound) -> Vec<InRound> {
    if let InRound::Quorum(quorum) = &mut message {
        Arc::make_mut(quorum).signatures.iter_mut().for_each(|(_, signature)| signature.0[9] ^= 1);
    }
    vec![message]
}

/// Lies to the victim in the rounds of [`LIES`] and tells it the truth in all others.
fn liar() -> victim::Lie {
    let mut place = RosterIndex(0);
    Box::new(move |victim, round, message| {
        if let InRound::RosterPlan(plan) = &message {
            let at = plan.cohort.iter().position(|client| *client == victim).expect("planned");
            place = RosterIndex(u16::try_from(at).expect("a small cohort"));
        }
        match LIES.iter().find(|lie| lie.round == round.0) {
            Some(lie) => (lie.told)(place, message),
            None => vec![message],
        }
    })
}

#[test]
fn a_daemon_refuses_the_five_worst_lies_of_its_coordinator_and_nothing_leaves_that_they_were_for() {
    let mut small = Small::found(5, ROUNDS, false);
    // The liar takes the address that the clients know.
    let (address, data) = {
        let coordinator = &mut small.federation.coordinator;
        coordinator.kill();
        (coordinator.address().to_owned(), coordinator.folder().to_owned())
    };
    let programs = roundelay_tests::harness::Programs::find().expect("the programs are built");
    small.federation.coordinator =
        Coordinator::start_at(&programs, &data, "127.0.0.1:0").expect("it serves elsewhere");
    let honest = small.federation.coordinator.address().to_owned();
    let victim = small.federation.sites[VICTIM].name().to_owned();
    let _proxy = Proxy::start(&data, &address, &honest, &victim, liar());

    small.federation.start().expect("it starts");
    small.federation.watch(&mut |_| {}).expect("it finishes");
    small.all_models_agree();
    let id = &small.federation.id;
    let rounds = small.federation.coordinator.verb(&["rounds", id]).expect("rounds");
    let site = small.federation.sites[VICTIM].folder();
    for lie in &LIES {
        let left = left(&rounds, lie.round);
        assert!(left.len() == 1 && left[0].contains(lie.reason), "{}: {left:?}", lie.round);
        let sent = sent(site, lie.round);
        assert!(lie.kept.iter().all(|kind| !sent.contains(&(*kind).to_owned())), "{sent:?}");
        let signed = sent.iter().filter(|kind| *kind == "survivor-signature");
        assert!(signed.count() <= 1, "{sent:?}");
        assert!(sent.contains(&"declined".to_owned()), "{sent:?}");
        let next = lie.round + 1;
        assert!(self::left(&rounds, next).is_empty(), "it is there again in round {next}");
        assert!(self::sent(site, next).contains(&"reveal".to_owned()), "round {next}");
    }
}

/// Why clients left a round.
fn left(rounds: &Value, number: u64) -> Vec<String> {
    let all = rounds.as_array().expect("a list");
    let round = all.iter().find(|round| round["round"] == number).expect("the round");
    let left = round["left"].as_array().expect("a list");
    left.iter().map(|left| left["reason"].as_str().expect("a reason").to_owned()).collect()
}

/// The kinds of what a client has sent about a round, by its own ledger.
fn sent(site: &Path, round: u64) -> Vec<String> {
    let entries = Entries::read(&site.join("ledger")).expect("a ledger").expect("it is there");
    let entries = entries.map(|entry| entry.expect("a line"));
    entries.filter(|entry| entry.round == Some(round)).map(|entry| entry.kind).collect()
}
