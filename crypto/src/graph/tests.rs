use super::*;

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
