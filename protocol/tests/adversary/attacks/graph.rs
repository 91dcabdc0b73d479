//! Attacks on sparse graphs, where a client's seeds lie with its neighbours alone: which seeds come
//! open when clients are shown which sets. The graph and its numbers are the real ones.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use roundelay_crypto::digest::Digest;
use roundelay_crypto::graph::{Graph, Parameters};
use roundelay_crypto::identity::Signature;
use roundelay_protocol::error::Refusal;
use roundelay_protocol::ids::{RosterIndex, RoundNumber};
use roundelay_protocol::manifest::{CoordinatorTrust, Rules};
use roundelay_protocol::message::{Advert, FromClient, Quorum, SurvivorSet, ToClient};
use roundelay_protocol::pair::{Options, Pair};
use roundelay_protocol::plan::PlanKind;
use roundelay_protocol::round::horizontal::client::Input;
use roundelay_protocol::time::Millis;

const CLIENTS: u16 = 600;
const TARGET: u16 = 77;

type Set = BTreeSet<u16>;

fn parameters() -> Parameters {
    let parameters = Parameters::semi_honest(CLIENTS, Some(30), 50).unwrap();
    assert!(!parameters.is_complete());
    parameters
}

fn graph(parameters: &Parameters) -> Graph {
    Graph::sparse(&[4; 32], CLIENTS, parameters.degree()).unwrap()
}

fn neighbours(graph: &Graph, client: u16) -> Set {
    graph.neighbours(client).collect()
}

/// Whether a client's vector lies open alone: its b, and the k of everyone that it has a mask with,
/// each by t neighbours that answer for a set that they believe in. `believed` is the set for which
/// a client answers, if it answers at all.
fn is_isolated(
    graph: &Graph,
    threshold: u16,
    client: u16,
    believed: impl Fn(u16) -> Option<Set>,
) -> bool {
    let rebuilt = |dealer: u16, survives: bool| {
        let holders = graph.neighbours(dealer).filter(|holder| {
            believed(*holder).is_some_and(|set| set.contains(&dealer) == survives)
        });
        holders.count() >= usize::from(threshold)
    };
    rebuilt(client, true) && graph.neighbours(client).all(|peer| rebuilt(peer, false))
}

/// Everybody but the target's neighbours: a set that is large enough, with the target in it.
fn without_the_neighbourhood(graph: &Graph) -> Set {
    let around = neighbours(graph, TARGET);
    (0..CLIENTS).filter(|client| !around.contains(client)).collect()
}

#[test]
fn an_answer_from_outside_the_set_isolates_a_client_and_none_comes() {
    let parameters = parameters();
    let graph = graph(&parameters);
    let set = without_the_neighbourhood(&graph);
    // A quorum signs it: it is the one set of the round, and no client is lied to.
    assert!(set.len() >= usize::from(parameters.quorum()));
    let threshold = parameters.threshold();
    let whoever_is_asked = |_| Some(set.clone());
    assert!(is_isolated(&graph, threshold, TARGET, whoever_is_asked), "the weak clients' vector");
    // A real client that the set lacks answers nothing (`a9_a_client_outside_the_survivor_set_…`).
    let those_inside = |client: u16| set.contains(&client).then(|| set.clone());
    assert!(!is_isolated(&graph, threshold, TARGET, those_inside));
}

#[test]
fn a_set_for_one_neighbourhood_and_another_for_the_rest_isolates_a_client_without_one_quorum() {
    let parameters = parameters();
    let (graph, threshold) = (graph(&parameters), parameters.threshold());
    let rest = without_the_neighbourhood(&graph);
    let around = neighbours(&graph, TARGET);
    // Each neighbour is told that it alone of them survived: it believes in a set with itself in
    // it, as large as any other, and answers for it without a quorum of the whole cohort.
    let told = |client: u16| {
        let mut set = rest.clone();
        set.insert(client);
        Some(set)
    };
    assert!(is_isolated(&graph, threshold, TARGET, told), "of the weak clients");
    // With a quorum one of all these sets is opened, whichever: 2q > n + c, so that no two have q
    // signers among the honest, who sign one, and the colluders, who sign all.
    let (clients, corrupt) = (parameters.clients(), parameters.corrupt());
    let honest = clients - corrupt;
    let both = (0..=honest).filter(|one| {
        let other = honest - one;
        one.min(&other) + corrupt >= parameters.quorum()
    });
    assert_eq!(both.count(), 0);
    let opened = around.iter().chain([&TARGET]).filter(|chosen| {
        let set = told(**chosen).unwrap();
        is_isolated(&graph, threshold, TARGET, |client| set.contains(&client).then(|| set.clone()))
    });
    assert_eq!(opened.count(), 0);
}

/// A round of the real machines over a sparse graph, in which everybody has uploaded and nobody was
/// shown a set.
struct Uploaded {
    pair: Pair,
    round: RoundNumber,
    /// What an honest coordinator would show.
    set: SurvivorSet,
    /// The target's neighbours.
    around: BTreeSet<RosterIndex>,
}

const VICTIM: usize = 77;
/// The smallest cohort with a sparse graph.
const FEWEST: u16 = 513;

/// A round on a sparse graph in which so many may drop out.
fn sparse(dropout_permille: u16) -> Pair {
    let plain = Options::new(FEWEST, 5);
    let rules = Rules {
        coordinator: CoordinatorTrust::SemiHonest,
        corrupt_max: Some(0),
        dropout_permille,
        ..plain.rules
    };
    Pair::new(Options { rules, delay_ms: 5..=5, ..plain })
}

/// So many may drop out that a set without a whole neighbourhood is large enough.
fn uploaded() -> Uploaded {
    let mut pair = sparse(80);
    let shown: Rc<RefCell<Option<SurvivorSet>>> = Rc::default();
    let kept = Rc::clone(&shown);
    pair.on_message_to(move |_, message| match message {
        ToClient::SurvivorSet(set) => {
            *kept.borrow_mut() = Some(SurvivorSet::clone(&set));
            Vec::new()
        }
        ToClient::Aborted(_) => Vec::new(),
        message => vec![message],
    });
    let round = pair.prepare();
    pair.train(round, PlanKind::Train);
    pair.run_for(Millis(900));
    let set = shown.borrow().clone().expect("a survivor set");
    let around = pair.peer(VICTIM).sent.iter().find_map(|(_, message)| match message {
        FromClient::Shares(shares) => Some(shares.leaves.iter().map(|leaf| leaf.to).collect()),
        _ => None,
    });
    Uploaded { pair, round, set, around: around.expect("shares") }
}

fn without(set: &SurvivorSet, left_out: impl Fn(RosterIndex) -> bool) -> SurvivorSet {
    let inputs = set.inputs.iter().filter(|(index, _)| !left_out(*index));
    SurvivorSet { inputs: inputs.copied().collect() }
}

fn signature(pair: &Pair, client: usize) -> Option<Signature> {
    pair.peer(client).sent.iter().find_map(|(_, message)| match message {
        FromClient::SurvivorSignature(signed) => Some(signed.signature),
        _ => None,
    })
}

fn has_revealed(pair: &Pair, client: usize) -> bool {
    pair.peer(client).sent.iter().any(|(_, message)| matches!(message, FromClient::Reveal(_)))
}

#[test]
fn a_split_of_the_real_sparse_graph_leaves_the_target_and_its_neighbours_silent() {
    let Uploaded { mut pair, round, set, around } = uploaded();
    let floors = pair.terms().floors(FEWEST.into()).unwrap();
    let rest = without(&set, |index| around.contains(&index));
    assert!(rest.inputs.len() >= usize::from(floors.survivors_min(set.inputs.len())));
    // S to the rest and the target; to each neighbour S with itself in it.
    for (index, _) in &set.inputs {
        let lie = match around.contains(index) {
            true => without(&set, |other| other != *index && around.contains(&other)),
            false => rest.clone(),
        };
        let shown = Input::Message(ToClient::SurvivorSet(Arc::new(lie)));
        pair.tell(usize::from(index.0), round, shown);
    }
    // The target sees that its neighbourhood is gone: without that it would give its own b away.
    let refused = pair.peer(VICTIM).refusal(round);
    let required = floors.threshold();
    assert_eq!(refused, Some(&Refusal::TooFewNeighbours { present: 0, required }));
    assert_eq!(signature(&pair, VICTIM), None);
    // A quorum signed S. To the neighbours its signatures are under other bytes than theirs.
    let signers = rest.inputs.iter().map(|(index, _)| *index);
    let signatures: Vec<_> = signers
        .filter_map(|index| Some((index, signature(&pair, usize::from(index.0))?)))
        .collect();
    let quorum = signatures.into_iter().take(floors.quorum().into()).collect();
    let quorum = Arc::new(Quorum { signatures: quorum });
    assert_eq!(quorum.signatures.len(), usize::from(floors.quorum()));
    // To those that the lie is about, and to some of the others.
    let others = rest.inputs.iter().map(|(index, _)| *index).filter(|it| it.0 < 20);
    let others: Vec<RosterIndex> = others.collect();
    let victim = RosterIndex(u16::try_from(VICTIM).unwrap());
    for index in around.iter().chain(&others).chain([&victim]) {
        let shown = Input::Message(ToClient::Quorum(Arc::clone(&quorum)));
        pair.tell(usize::from(index.0), round, shown);
    }
    let answered = |index: &RosterIndex| has_revealed(&pair, usize::from(index.0));
    assert!(others.len() > 10 && others.iter().all(answered), "for what they signed");
    assert!(!has_revealed(&pair, VICTIM));
    for neighbour in &around {
        assert!(!has_revealed(&pair, usize::from(neighbour.0)), "{neighbour:?}");
        let refused = pair.peer(usize::from(neighbour.0)).refusal(round);
        let by_signatures = matches!(refused, Some(Refusal::BadQuorumSignature(_)));
        let by_neighbours = matches!(refused, Some(Refusal::TooFewNeighbours { .. }));
        assert!(by_signatures || by_neighbours, "{refused:?}");
    }
}

/// A lie of the coordinator to one client about the graph, and what the client makes of it.
type Lie = (usize, fn(ToClient) -> ToClient, Refusal);

#[test]
fn a_graph_that_a_client_cannot_recompute_is_refused() {
    let index = |client: usize| RosterIndex(u16::try_from(client).unwrap());
    let lies: [Lie; 6] = [
        // Its own advert is missing, or listed with another nonce.
        (10, |it| listing(it, |adverts| drop_at(adverts, 10)), Refusal::OwnAdvertAltered),
        (11, |it| listing(it, |adverts| adverts[11].2.0[0] ^= 1), Refusal::OwnAdvertAltered),
        // Its own nonce is missing, or another's is none that was committed to.
        (12, |it| beacon(it, |nonces| drop_at(nonces, 12)), Refusal::BadBeacon),
        (13, |it| beacon(it, |nonces| nonces[400].1[0] ^= 1), Refusal::BadBeacon),
        // Without one nonce the graph is another, and the adverts are not those of its neighbours.
        (14, |it| beacon(it, |nonces| drop_at(nonces, 400)), Refusal::BadBeacon),
        (15, |it| adverts(it, |adverts| drop_at(adverts, 3)), Refusal::BadBeacon),
    ];
    let mut pair = sparse(20);
    let ids = pair.ids();
    let told = lies.iter().map(|(client, lie, _)| (ids[*client], *lie)).collect::<Vec<_>>();
    let forged = ids[16];
    pair.on_message_to(move |to, message| {
        let lie = told.iter().find(|(client, _)| *client == to);
        // The others need not deal.
        if lie.is_none() && to != forged && matches!(message, ToClient::Adverts(_)) {
            return Vec::new();
        }
        let message = lie.map_or(message.clone(), |(_, lie)| lie(message));
        // Keys of the coordinator's own in place of a neighbour's.
        let swap = |list: &mut Vec<(RosterIndex, Advert)>| list[0].1.mask = list[1].1.mask.clone();
        vec![if to == forged { adverts(message, swap) } else { message }]
    });
    let round = pair.prepare();
    pair.run_for(Millis(900));
    for (client, _, expected) in &lies {
        assert_eq!(pair.peer(*client).refusal(round), Some(expected), "client {client}");
    }
    let refused = pair.peer(16).refusal(round);
    assert!(matches!(refused, Some(Refusal::BadAdvert(_))), "{refused:?}");
    for client in 10..=16 {
        let dealt = |message: &FromClient| matches!(message, FromClient::Shares(_));
        let sent = pair.peer(client).sent.iter();
        assert!(!sent.map(|(_, message)| message).any(dealt), "{:?} dealt", index(client));
    }
}

fn drop_at<T>(list: &mut Vec<T>, at: usize) {
    list.remove(at);
}

fn listing(
    message: ToClient,
    lie: impl FnOnce(&mut Vec<(RosterIndex, Digest, Digest)>),
) -> ToClient {
    let ToClient::Listing(mut roster) = message else { return message };
    lie(&mut Arc::make_mut(&mut roster).adverts);
    ToClient::Listing(roster)
}

fn beacon(message: ToClient, lie: impl FnOnce(&mut Vec<(RosterIndex, [u8; 32])>)) -> ToClient {
    let ToClient::Beacon(mut roster) = message else { return message };
    lie(&mut Arc::make_mut(&mut roster).nonces);
    ToClient::Beacon(roster)
}

fn adverts(message: ToClient, lie: impl FnOnce(&mut Vec<(RosterIndex, Advert)>)) -> ToClient {
    let ToClient::Adverts(mut roster) = message else { return message };
    lie(&mut Arc::make_mut(&mut roster).adverts);
    ToClient::Adverts(roster)
}
