use super::*;

fn demand(clients: u32, corrupt_per_mille: u32, dropout_per_mille: u32) -> Demand {
    Demand {
        clients,
        corrupt: clients * corrupt_per_mille / 1000,
        dropped: (clients * dropout_per_mille).div_ceil(1000),
        security_bits: 40,
        correctness_bits: 30,
    }
}

/// Colluders and dropouts per mille, n, k, and two numbers more.
type Row = [u32; 6];

/// The table of the research behind the design, at 2^-40 and 2^-30; its last numbers are t and c_k.
const WITH_COLLUDERS_IN_BOTH: [Row; 20] = [
    [50, 50, 100, 30, 18, 5],
    [50, 50, 300, 42, 29, 15],
    [50, 50, 1000, 60, 41, 21],
    [50, 50, 10_000, 74, 51, 26],
    [50, 50, 100_000, 80, 55, 28],
    [100, 100, 100, 42, 27, 10],
    [100, 100, 300, 76, 52, 27],
    [100, 100, 1000, 114, 78, 40],
    [100, 100, 10_000, 144, 98, 51],
    [100, 100, 100_000, 156, 106, 55],
    [200, 100, 100, 54, 38, 20],
    [200, 100, 300, 102, 75, 47],
    [200, 100, 1000, 158, 115, 71],
    [200, 100, 10_000, 214, 155, 95],
    [200, 100, 100_000, 236, 171, 105],
    [300, 100, 100, 72, 52, 30],
    [300, 100, 300, 128, 99, 69],
    [300, 100, 1000, 220, 168, 115],
    [300, 100, 10_000, 318, 242, 165],
    [300, 100, 100_000, 350, 266, 181],
];

/// Its other table, where t only has to be above the colluders; its last numbers are the least and
/// the largest t. Its five cells with a third of colluders and degrees of 150 and more are not those
/// of an exact search: docs/decisions/0061-sparse-graphs.md.
const ABOVE_COLLUDERS: [Row; 19] = [
    [50, 50, 300, 30, 15, 18],
    [50, 50, 1000, 34, 18, 19],
    [50, 50, 10_000, 38, 21, 21],
    [50, 50, 100_000, 40, 22, 22],
    [100, 100, 300, 42, 22, 23],
    [100, 100, 1000, 52, 28, 28],
    [100, 100, 10_000, 60, 32, 32],
    [100, 100, 100_000, 64, 34, 34],
    [200, 50, 300, 50, 33, 36],
    [200, 50, 1000, 58, 39, 39],
    [200, 50, 10_000, 68, 46, 46],
    [200, 50, 100_000, 74, 49, 50],
    [200, 200, 300, 80, 42, 42],
    [200, 200, 1000, 112, 58, 59],
    [200, 200, 10_000, 134, 70, 70],
    [200, 200, 100_000, 146, 76, 76],
    [330, 100, 300, 82, 57, 57],
    [330, 100, 1000, 114, 78, 78],
    [330, 100, 10_000, 140, 95, 95],
];

#[test]
fn degrees_against_a_lying_partition_are_those_of_the_research() {
    for [corrupt, dropout, clients, degree, threshold, neighbours] in WITH_COLLUDERS_IN_BOTH {
        let found = demand(clients, corrupt, dropout).neighbourhood();
        let expected = Neighbourhood { degree, threshold, corrupt: neighbours };
        assert_eq!(found, Some(expected), "{clients} clients, {corrupt} and {dropout}");
    }
}

#[test]
fn degrees_against_an_honest_partition_are_those_of_the_research() {
    for [corrupt, dropout, clients, degree, least, largest] in ABOVE_COLLUDERS {
        let demand = demand(clients, corrupt, dropout);
        let found = (demand.connected_degree().unwrap()..clients).step_by(2).find_map(|k| {
            let above = demand.exceeded_rarely(demand.corrupt, k, 40) + 1;
            let below = k - demand.exceeded_rarely(demand.dropped, k, 30);
            (above <= below).then_some((k, above, below))
        });
        assert_eq!(found, Some((degree, least, largest)), "{clients}, {corrupt}, {dropout}");
    }
}

#[test]
fn tails_are_those_of_small_populations_counted_by_hand() {
    // Of 4 others 2 are marked, 2 are drawn: both marked in 1 of 6 choices, at least one in 5.
    let demand =
        Demand { clients: 5, corrupt: 2, dropped: 0, security_bits: 0, correctness_bits: 0 };
    // 5 · 1/6 ≤ 1 < 5 · 5/6.
    assert_eq!(demand.exceeded_rarely(2, 2, 0), 1);
    // 5 · 1/6 · 2 > 1.
    assert_eq!(demand.exceeded_rarely(2, 2, 1), 2);
    // None is marked, all are marked, all are drawn.
    assert_eq!(demand.exceeded_rarely(0, 2, 40), 0);
    assert_eq!(demand.exceeded_rarely(4, 2, 40), 2);
    assert_eq!(demand.exceeded_rarely(2, 4, 40), 2);
    assert_eq!(demand.exceeded_rarely(9, 2, 40), 2, "no more than the others can be marked");
}

#[test]
fn more_colluders_or_dropouts_never_need_a_smaller_degree_by_more_than_rounding() {
    let degree = |corrupt, dropout| {
        demand(1000, corrupt, dropout).neighbourhood().map_or(u32::MAX, |found| found.degree)
    };
    for rate in [50, 100, 150, 200, 250] {
        assert!(degree(rate + 50, 100) >= degree(rate, 100), "{rate} colluders");
        assert!(degree(100, rate + 50) >= degree(100, rate), "{rate} dropouts");
    }
    assert_eq!(degree(500, 300), u32::MAX);
    assert_eq!(degree(500, 500), u32::MAX);
}

#[test]
fn how_rarely_numbers_fail_is_counted_exactly() {
    let small =
        Demand { clients: 5, corrupt: 2, dropped: 1, security_bits: 0, correctness_bits: 0 };
    // 5 · 1/6 ≤ 2^-0, 5 · 5/6 is above.
    assert_eq!(small.rarity(2, 2, 1), Some(0));
    assert_eq!(small.rarity(2, 2, 2), None, "no more than two can be drawn");
    let large = demand(1000, 100, 100);
    let found = large.neighbourhood().unwrap();
    let rarities = large.rarities(&found);
    assert!(rarities.exposed.unwrap() >= 40 && rarities.cut.unwrap() >= 40, "{rarities:?}");
    assert!((30..40).contains(&rarities.stuck.unwrap()), "{rarities:?}");
    // One colluder less, or one share more, and it is not what was asked for.
    assert!(large.rarity(large.corrupt, found.degree, found.corrupt - 1).unwrap() < 40);
    assert!(
        large.rarity(large.dropped, found.degree, found.degree - found.threshold - 1).unwrap() < 30
    );
}
