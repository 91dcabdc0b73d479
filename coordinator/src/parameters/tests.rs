use super::*;

fn ask(coordinator: CoordinatorTrust, clients: u16, corrupt: f64, dropout: f64) -> Question {
    let corrupt = Some(corrupt);
    Question { coordinator, clients, corrupt, dropout, parameters: 1_000_000, ring_bits: 32 }
}

#[test]
fn a_thousand_clients_get_the_numbers_that_rounds_are_planned_with() {
    let report = ask(CoordinatorTrust::SemiHonest, 1000, 0.1, 0.1).answer().unwrap();
    let planned = Parameters::semi_honest(1000, Some(100), 100).unwrap();
    assert_eq!((report.corrupt, report.dropouts), (100, 100));
    assert_eq!((report.degree, report.threshold), (planned.degree(), planned.threshold()));
    assert!(!report.complete && report.quorum == 551);
    let Guarantees { exposed_bits, cut_bits, stuck_bits, .. } = report.guarantees;
    assert!(exposed_bits.unwrap() >= 40 && cut_bits.unwrap() >= 40 && stuck_bits.unwrap() >= 20);
    let report = ask(CoordinatorTrust::Malicious, 1000, 0.1, 0.1).answer().unwrap();
    assert!(report.complete && report.degree == 999 && report.threshold == 667);
    assert_eq!(report.guarantees.exposed_bits, None);
    assert_eq!(report.guarantees.honest_in_a_sum_min, 567);
}

#[test]
fn the_dearer_graph_costs_in_proportion_to_its_neighbours() {
    let cost = |trust| ask(trust, 1000, 0.1, 0.1).answer().unwrap().cost;
    let (complete, sparse) =
        (cost(CoordinatorTrust::Malicious), cost(CoordinatorTrust::SemiHonest));
    assert_eq!((complete.agreements, complete.masks), (2 * 999, 1000));
    assert_eq!(complete.vector_bytes_up, 4_000_000);
    assert!(complete.client_masks_ms > 9.0 * sparse.client_masks_ms);
    assert!(complete.control_bytes_up > 9 * sparse.control_bytes_up);
    assert!(complete.control_bytes_down > 5 * sparse.control_bytes_down);
}

#[test]
fn numbers_that_no_graph_has_are_refused_with_ones_that_would_do() {
    let refused = ask(CoordinatorTrust::Malicious, 10, 0.1, 0.4).answer().unwrap_err();
    assert!(refused.to_string().contains("3 may drop out, not 4: a dropout of 0.300"), "{refused}");
    assert!(ask(CoordinatorTrust::Malicious, 10, 0.1, 0.3).answer().is_ok());
    let refused = ask(CoordinatorTrust::Malicious, 10, 0.5, 0.0).answer().unwrap_err();
    assert!(refused.to_string().contains("at most 3 colluders"), "{refused}");
    let refused = ask(CoordinatorTrust::SemiHonest, 1000, 0.4, 0.3).answer().unwrap_err();
    assert!(refused.to_string().contains("would do"), "{refused}");
    for share in [-0.1, 1.1, f64::NAN] {
        let refused = ask(CoordinatorTrust::Malicious, 10, 0.1, share).answer().unwrap_err();
        assert!(refused.to_string().starts_with("dropout is a share from 0 to 1"), "{refused}");
    }
}
