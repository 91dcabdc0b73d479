//! What the machine does, action by action; whole rounds are in `tests/rounds`.

use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

use super::*;
use crate::fixtures::{manifest, wire};
use crate::ids::RoundNumber;
use crate::round::horizontal::client::{self, History};
use crate::round::horizontal::terms::{PlanError, Terms};

/// Four clients with their machines, and one coordinator.
struct Bench {
    terms: Arc<Terms>,
    round: Round,
    clients: Vec<(ClientId, client::Round, History)>,
    now: Time,
}

const TIMING: Timing = Timing {
    advertise_keys: Millis(100),
    share_keys: Millis(100),
    masked_input: Millis(1000),
    consistency_check: Millis(100),
    unmasking: Millis(100),
    grace: Millis(30),
};

impl Bench {
    fn new(absent: &[usize]) -> (Self, Vec<String>) {
        let terms = Arc::new(Terms::new(manifest(&[1, 1, 1, 1])));
        let plan = terms.roster_plan(RoundNumber(1), &terms.clients().collect()).unwrap();
        let pinned: Arc<std::collections::BTreeSet<ClientId>> = Arc::new(terms.clients().collect());
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let clients = plan.cohort.iter().map(|id| {
            let identity = (1..5).map(wire::key).find(|key| key.public().fingerprint() == id.0);
            let setup = client::Setup {
                account: crate::privacy::Account::default(),
                terms: Arc::clone(&terms),
                identity: Arc::new(identity.unwrap()),
                pinned: Arc::clone(&pinned),
                patience: Millis(10_000),
            };
            let machine = client::Round::new(&setup, RoundNumber(1), &mut rng);
            (*id, machine, History::new(terms.federation()))
        });
        let clients: Vec<_> = clients.collect();
        let absent: Vec<ClientId> = absent.iter().map(|client| clients[*client].0).collect();
        let mut actions = Vec::new();
        let round =
            Round::start(Arc::clone(&terms), plan, TIMING, &absent, Time(0), &mut actions).unwrap();
        let names = actions.iter().map(name).collect();
        (Self { terms, round, clients, now: Time(0) }, names)
    }

    fn input(&mut self, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        self.round.handle(self.now, input, &mut actions);
        actions
    }

    fn names(&mut self, input: Input) -> Vec<String> {
        self.input(input).iter().map(name).collect()
    }

    fn id(&self, client: usize) -> ClientId {
        self.clients[client].0
    }

    /// What a client answers to a message.
    fn answer(&mut self, client: usize, message: ToClient) -> FromClient {
        let mut actions = Vec::new();
        let (_, machine, history) = &mut self.clients[client];
        machine.handle(self.now, client::Input::Message(message), history, &mut actions);
        let sent = actions.into_iter().find_map(|action| match action {
            client::Action::Send(message) => Some(message),
            _ => None,
        });
        sent.expect("an answer")
    }

    fn advert(&mut self, client: usize) -> Input {
        let plan = ToClient::RosterPlan(Box::new(self.round.plan().clone()));
        Input::Message { from: self.id(client), message: self.answer(client, plan) }
    }
}

fn word(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
}

fn name(action: &Action) -> String {
    match action {
        Action::Persist(record) => format!("persist {}", word(record)),
        Action::Audit(entry) => format!("audit {}", word(entry)),
        Action::Send { message, .. } => format!("send {}", word(message)),
        Action::Broadcast { to, message } => format!("{} to {}", word(message), to.len()),
        Action::SetDeadline(time) => format!("deadline {}", time.0),
        Action::Expel { fault, .. } => format!("expel {fault:?}"),
        Action::Finish(outcome) => format!("finish {}", word(outcome)),
        other => word(other),
    }
}

#[test]
fn a_round_begins_with_its_plan_durable_before_anyone_hears_of_it() {
    let (bench, begun) = Bench::new(&[]);
    assert_eq!(begun, ["persist Planned", "StageBegan", "RosterPlan to 4", "deadline 100"]);
    assert_eq!(bench.round.stage(), Some(StageName::AdvertiseKeys));
    assert_eq!(bench.round.number(), RoundNumber(1));
}

#[test]
fn a_plan_that_is_not_the_manifests_begins_no_round() {
    let (bench, _) = Bench::new(&[]);
    let mut plan = bench.round.plan().clone();
    plan.threshold -= 1;
    let begun = Round::start(Arc::clone(&bench.terms), plan, TIMING, &[], Time(0), &mut Vec::new());
    assert_eq!(begun.err(), Some(PlanError::OtherPlan));
}

#[test]
fn a_stage_ends_with_the_last_answer_that_is_expected() {
    let (mut bench, _) = Bench::new(&[]);
    for client in 0..3 {
        let advert = bench.advert(client);
        assert_eq!(bench.names(advert), ["persist Advert"]);
    }
    bench.now = Time(7);
    let advert = bench.advert(3);
    let ended =
        ["persist Advert", "persist AdvertsClosed", "StageBegan", "Adverts to 4", "deadline 107"];
    assert_eq!(bench.names(advert), ended);
    assert_eq!(bench.round.stage(), Some(StageName::ShareKeys));
}

#[test]
fn an_absent_client_is_not_waited_for_once_all_others_have_answered() {
    let (mut bench, _) = Bench::new(&[2]);
    for client in [0, 1] {
        let advert = bench.advert(client);
        bench.input(advert);
    }
    let advert = bench.advert(3);
    let ended = [
        "persist Advert",
        "audit Dropout",
        "persist AdvertsClosed",
        "StageBegan",
        "Adverts to 3",
        "deadline 100",
    ];
    // The next stage's deadline falls on the same moment, so it is not set again.
    assert_eq!(bench.names(advert), ended[..5]);
}

#[test]
fn a_lost_client_is_waited_for_as_long_as_its_grace_and_asked_again_when_it_returns() {
    let (mut bench, _) = Bench::new(&[]);
    let (gone, advert) = (bench.id(2), bench.advert(2));
    assert!(bench.names(Input::Lost(gone)).is_empty());
    for client in [0, 1] {
        let advert = bench.advert(client);
        bench.input(advert);
    }
    bench.now = Time(10);
    let last = bench.advert(3);
    assert_eq!(bench.names(last), ["persist Advert", "deadline 30"]);
    // It returns: the stage waits for it to its own end again.
    assert_eq!(bench.names(Input::Returned(gone)), ["send RosterPlan", "deadline 100"]);
    assert!(bench.names(Input::Lost(gone)).contains(&"deadline 40".to_owned()));
    bench.now = Time(39);
    assert!(bench.names(Input::Deadline).is_empty(), "a stale deadline");
    bench.now = Time(40);
    assert!(bench.names(Input::Deadline).contains(&"Adverts to 3".to_owned()));
    // Its advert comes after all: late, and no fault.
    assert!(bench.names(advert).is_empty());
    assert_eq!(bench.round.late_messages(), 1);
}

#[test]
fn a_round_that_can_no_longer_reach_its_floor_ends_at_once_and_burns_everything() {
    let (mut bench, _) = Bench::new(&[]);
    let declined = |bench: &Bench, client| Input::Message {
        from: bench.id(client),
        message: FromClient::Declined(Refusal::Restarted),
    };
    let first = declined(&bench, 0);
    assert_eq!(bench.names(first), ["persist Left", "audit Left"]);
    let second = declined(&bench, 1);
    let ended = [
        "persist Left",
        "audit Left",
        "audit Dropout",
        "audit Dropout",
        "persist Finished",
        "audit Finished",
        "Aborted to 4",
        "finish Aborted",
    ];
    assert_eq!(bench.names(second), ended);
    assert_eq!(bench.round.stage(), None);
    let advert = bench.advert(3);
    assert!(bench.names(advert).is_empty(), "nothing is taken any more");
}

#[test]
fn a_stranger_is_ignored_and_a_message_that_cannot_be_honest_expels() {
    let (mut bench, _) = Bench::new(&[]);
    let from = ClientId(wire::digest("stranger"));
    let message = FromClient::Declined(Refusal::Restarted);
    assert!(bench.names(Input::Message { from, message }).is_empty());
    assert_eq!(bench.round.late_messages(), 1);
    let reveal = FromClient::Reveal(Reveal {
        own_self_mask: None,
        self_mask_shares: vec![],
        key_shares: vec![],
    });
    let early = Input::Message { from: bench.id(0), message: reveal };
    let told = ["persist Left", "audit Left", "send Expelled", "expel OutOfStage"];
    assert_eq!(bench.names(early), told);
}

#[test]
fn an_operators_end_is_told_to_everybody_in_any_stage() {
    let (mut bench, _) = Bench::new(&[]);
    let ended = bench.names(Input::Abort(AbortReason::Stopped));
    assert_eq!(ended, ["persist Finished", "audit Finished", "Aborted to 4", "finish Aborted"]);
}

#[test]
fn records_that_make_no_round_are_refused() {
    let (bench, _) = Bench::new(&[]);
    let plan = Record::Planned(Box::new(bench.round.plan().clone()));
    let restore = |records: Vec<Record>| {
        let terms = Arc::clone(&bench.terms);
        Round::restore(terms, TIMING, records, Time(0), &mut Vec::new()).err()
    };
    assert_eq!(restore(vec![]), Some(RestoreError::NoPlan));
    assert_eq!(restore(vec![Record::AdvertsClosed]), Some(RestoreError::NoPlan));
    let misplaced = restore(vec![plan.clone(), Record::SharesClosed]);
    assert_eq!(misplaced, Some(RestoreError::Misplaced(1)));
    let mut other = bench.round.plan().clone();
    other.manifest = wire::digest("other");
    let other = restore(vec![Record::Planned(Box::new(other))]);
    assert_eq!(other, Some(RestoreError::OtherTerms(PlanError::OtherPlan)));
    assert_eq!(restore(vec![plan]), None);
}
