use proptest::prelude::*;

use super::*;
use crate::vectors::{list, text};

#[test]
fn in_a_complete_graph_everybody_else_is_a_neighbour() {
    let graph = Graph::complete(4);
    assert_eq!(graph.clients(), 4);
    assert_eq!(graph.neighbours(0).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(graph.neighbours(2).collect::<Vec<_>>(), [0, 1, 3]);
}

#[test]
fn the_default_numbers_are_those_of_the_design() {
    // n, t, c: three clients tolerate no dropout, four and five one, ten three.
    for (clients, threshold, corrupt) in
        [(2, 2, 0), (3, 3, 0), (4, 3, 0), (5, 4, 1), (10, 7, 2), (100, 67, 24), (512, 342, 127)]
    {
        let parameters = Parameters::complete(clients, None).unwrap();
        assert_eq!(parameters.clients(), clients);
        assert_eq!(parameters.threshold(), threshold, "{clients} clients");
        assert_eq!(parameters.quorum(), threshold);
        assert_eq!(parameters.corrupt(), corrupt, "{clients} clients");
    }
}

#[test]
fn whatever_is_accepted_withstands_its_colluders() {
    for clients in (2..=600).chain([u16::MAX - 2, u16::MAX - 1, u16::MAX]) {
        let n = u32::from(clients);
        let corrupt_max = (0..=clients)
            .take_while(|c| Parameters::complete(clients, Some(*c)).is_ok())
            .last()
            .unwrap();
        let parameters = Parameters::complete(clients, Some(corrupt_max)).unwrap();
        let (t, c) = (u32::from(parameters.threshold()), u32::from(corrupt_max));
        assert_eq!(t, 2 * n / 3 + 1);
        assert!(2 * t > n + c && 2 * t == n + c + 1, "the largest c is tight: {n}");
        assert!(t <= n);
        assert!(Parameters::complete(clients, None).is_ok(), "the default fits: {n}");
    }
}

#[test]
fn too_few_clients_and_too_many_colluders_are_refused() {
    for clients in [0, 1] {
        let refused = Parameters::complete(clients, None);
        assert_eq!(refused, Err(ParametersError::TooFewClients(clients)));
    }
    let refused = Parameters::complete(10, Some(4));
    let expected = ParametersError::TooManyCorrupt { clients: 10, corrupt: 4, corrupt_max: 3 };
    assert_eq!(refused, Err(expected));
    let refused = Parameters::complete(10, Some(u16::MAX));
    assert!(refused.is_err());
}

#[test]
fn the_fewest_survivors_are_the_largest_of_three_floors() {
    let parameters = Parameters::complete(10, Some(2)).unwrap();
    // The quorum, 7.
    assert_eq!(parameters.survivors_min(10, 3, 500), Ok(7));
    // clients_min + c.
    assert_eq!(parameters.survivors_min(10, 7, 500), Ok(9));
    // ⌈(1 − δ)·|A|⌉, rounded up: 0.85 · 9 = 7.65.
    assert_eq!(parameters.survivors_min(9, 3, 150), Ok(8));
    assert_eq!(parameters.survivors_min(10, 3, 0), Ok(10));
    let refused = parameters.survivors_min(10, 3, 1001);
    assert_eq!(refused, Err(ParametersError::DropoutRate(1001)));
    assert_eq!(parameters.survivors_min(10, u16::MAX, 0), Ok(u16::MAX));
}

fn semi_honest(clients: u16, corrupt: u16, dropout: u16) -> Result<Parameters, ParametersError> {
    Parameters::semi_honest(clients, Some(corrupt), dropout)
}

#[test]
fn sparse_numbers_agree_with_an_independent_implementation() {
    for case in list(text!("frozen/parameters"), "cases") {
        let number = |name| u16::try_from(case.number(name)).unwrap();
        let (clients, corrupt, dropout) =
            (number("clients"), number("corrupt"), number("dropout_per_mille"));
        let found = semi_honest(clients, corrupt, dropout);
        if number("degree") == 0 {
            assert!(matches!(found, Err(ParametersError::NoDegree { .. })), "{found:?}");
            continue;
        }
        let found = found.unwrap();
        assert_eq!(found.degree(), number("degree"), "{clients} {corrupt} {dropout}");
        assert_eq!(found.threshold(), number("threshold"));
        assert_eq!(found.corrupt_neighbours(), number("corrupt_neighbours"));
        assert_eq!(found.quorum(), number("quorum"));
        assert!(!found.is_complete());
        assert_eq!(
            found.honest_share_holders_min(),
            found.threshold() - found.corrupt_neighbours()
        );
    }
}

#[test]
fn a_small_cohort_gets_the_complete_graph_whatever_the_coordinator_is() {
    for clients in [2, 5, 100, COMPLETE_CLIENTS_MAX] {
        let parameters = Parameters::semi_honest(clients, None, 100).unwrap();
        assert_eq!(Ok(parameters), Parameters::complete(clients, None));
        assert!(parameters.is_complete());
    }
    let parameters = Parameters::semi_honest(COMPLETE_CLIENTS_MAX + 1, None, 100).unwrap();
    assert!(!parameters.is_complete());
    assert_eq!(parameters.corrupt(), 128, "a quarter collude by default");
}

#[test]
fn the_largest_cohort_has_its_numbers_too() {
    let parameters = semi_honest(u16::MAX, 6553, 100).unwrap();
    assert!(parameters.degree() < 160, "{parameters:?}");
    assert_eq!(u32::from(parameters.quorum()), (65_535 + 6553) / 2 + 1);
}

#[test]
fn a_sparse_graph_is_never_the_complete_one_whose_bounds_are_others() {
    let cases = (300..=400).map(|dropout| semi_honest(601, 151, dropout));
    let found: Vec<_> = cases.filter_map(Result::ok).collect();
    assert!(found.iter().any(|parameters| parameters.degree() > 560), "close to it");
    assert!(found.iter().all(|parameters| !parameters.is_complete()));
}

#[test]
fn a_cohort_without_a_safe_degree_is_told_what_would_do() {
    let refused = semi_honest(1000, 400, 300).unwrap_err();
    let ParametersError::NoDegree { corrupt_fits, dropout_per_mille_fits, .. } = refused else {
        panic!("{refused}");
    };
    let (colluders, dropout) = (corrupt_fits.unwrap(), dropout_per_mille_fits.unwrap());
    assert!(semi_honest(1000, colluders, 300).is_ok());
    assert!(semi_honest(1000, colluders + 1, 300).is_err());
    assert!(semi_honest(1000, 400, dropout).is_ok());
    assert!(semi_honest(1000, 400, dropout + 1).is_err());
    let said = refused.to_string();
    assert!(said.contains(&format!("at most {dropout} per mille dropouts would do")), "{said}");
    assert!(said.contains(&format!("at most {colluders} colluders")), "{said}");
    // Neither number alone helps here.
    let hopeless = semi_honest(1000, 1000, 1000).unwrap_err();
    assert!(hopeless.to_string().ends_with("fewer of both are needed"), "{hopeless}");
    assert_eq!(semi_honest(1000, 10, 1001), Err(ParametersError::DropoutRate(1001)));
}

#[test]
fn sparse_graphs_agree_with_an_independent_implementation() {
    for case in list(text!("frozen/graph"), "cases") {
        let number = |name| u16::try_from(case.number(name)).unwrap();
        let graph =
            Graph::sparse(&case.array("seed"), number("clients"), number("degree")).unwrap();
        for (client, expected) in case.numbers("neighbours").iter().enumerate() {
            let found: Vec<u64> = graph.neighbours(client as u16).map(u64::from).collect();
            assert_eq!(&found, expected, "client {client} of {}", graph.clients());
        }
        assert_eq!(graph.neighbours(graph.clients()).count(), 0, "a stranger has no neighbours");
    }
}

#[test]
fn degrees_that_a_circle_cannot_have_are_refused() {
    for (clients, degree) in [(10, 0), (10, 3), (10, 10), (10, 12), (2, 2), (0, 2), (0, 0)] {
        let refused = Graph::sparse(&[0; 32], clients, degree);
        assert_eq!(refused, Err(DegreeError { clients, degree }));
    }
    let said = DegreeError { clients: 10, degree: 9 }.to_string();
    assert_eq!(said, "10 clients on a circle have an even degree from 2 to 8, not 9");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn neighbours_are_mutual_distinct_and_as_many_as_the_degree(
        seed: [u8; 32],
        (clients, degree) in (3_u16..600).prop_flat_map(|n| (Just(n), (1..=(n - 1) / 2).prop_map(|h| 2 * h))),
    ) {
        let graph = Graph::sparse(&seed, clients, degree).unwrap();
        let all: Vec<Vec<u16>> = (0..clients).map(|one| graph.neighbours(one).collect()).collect();
        for (one, neighbours) in all.iter().enumerate() {
            prop_assert_eq!(neighbours.len(), usize::from(degree));
            prop_assert!(neighbours.windows(2).all(|two| two[0] < two[1]));
            for other in neighbours {
                prop_assert!(all[usize::from(*other)].contains(&(one as u16)));
                prop_assert!(usize::from(*other) != one);
            }
        }
    }

    #[test]
    fn other_seeds_give_other_graphs(seed: [u8; 32], bit in 0_usize..256) {
        let mut other = seed;
        other[bit / 8] ^= 1 << (bit % 8);
        prop_assert_ne!(Graph::sparse(&seed, 100, 10), Graph::sparse(&other, 100, 10));
    }
}

#[test]
fn every_pair_of_clients_is_drawn_as_often_as_any_other() {
    let mut counts = [[0_u32; 9]; 9];
    for seed in 0..2000_u16 {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&seed.to_le_bytes());
        let graph = Graph::sparse(&bytes, 9, 2).unwrap();
        (0..9).for_each(|one| {
            graph.neighbours(one).for_each(|other| {
                counts[usize::from(one)][usize::from(other)] += 1;
            })
        });
    }
    // Each pair with probability 2 / 8: 500 of 2000, standard deviation 19.4.
    for (one, row) in counts.iter().enumerate() {
        for (other, count) in row.iter().enumerate().filter(|(other, _)| *other != one) {
            assert!((410..590).contains(count), "{one} {other}: {count}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// A Harary graph of degree k: k − 1 clients fewer, whichever, and it is still in one piece.
    #[test]
    fn a_drawn_graph_stays_in_one_piece_without_fewer_clients_than_its_degree(
        seed: [u8; 32],
        (clients, degree) in (5_u16..200).prop_flat_map(|n| (Just(n), (1..=(n - 1) / 2).prop_map(|h| 2 * h))),
        lost in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let graph = Graph::sparse(&seed, clients, degree).unwrap();
        prop_assert_eq!(&graph, &Graph::sparse(&seed, clients, degree).unwrap(), "the same seed");
        let mut left: std::collections::BTreeSet<u16> = (0..clients).collect();
        for lost in lost.iter().take(usize::from(degree) - 1) {
            left.remove(&(lost.index(clients.into()) as u16));
        }
        let first = *left.first().unwrap();
        let (mut reached, mut next) = (std::collections::BTreeSet::from([first]), vec![first]);
        while let Some(one) = next.pop() {
            next.extend(graph.neighbours(one).filter(|it| left.contains(it) && reached.insert(*it)));
        }
        prop_assert_eq!(reached, left);
    }
}
