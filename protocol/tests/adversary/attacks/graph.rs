//! Attacks on sparse graphs, where a client's seeds lie with its neighbours alone: which seeds come
//! open when clients are shown which sets. The graph and its numbers are the real ones.

use std::collections::BTreeSet;

use roundelay_crypto::graph::{Graph, Parameters};

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
