use super::*;

/// `tests/vectors/privacy/grid.txt`: what dp-accounting says.
const GRID: &str = include_str!("../../../tests/vectors/privacy/grid.txt");

fn lines(mechanism: &str) -> impl Iterator<Item = Vec<f64>> {
    let lines = GRID.lines().filter_map(move |line| line.strip_prefix(mechanism));
    lines.map(|line| line.split_whitespace().map(|word| word.parse().unwrap()).collect())
}

fn assert_within_one_percent(ours: f64, theirs: f64, of: &[f64]) {
    assert!((ours - theirs).abs() <= 0.01 * theirs, "{of:?}: {ours} is not {theirs}");
}

#[test]
fn there_are_as_many_orders_as_divergences_of_nothing() {
    assert_eq!(orders().count(), ORDERS);
    assert_eq!(Curve::default().epsilon(1e-6), 0.0);
}

#[test]
fn gaussian_rounds_cost_what_dp_accounting_says() {
    let mut seen = 0;
    for line in lines("gaussian ") {
        let [z, rounds, delta, epsilon] = line[..] else { panic!("{line:?}") };
        let ours = Curve::gaussian(z).times(rounds as u64).epsilon(delta);
        assert_within_one_percent(ours, epsilon, &line);
        seen += 1;
    }
    assert!(seen >= 100);
}

#[test]
fn skellam_rounds_cost_what_dp_accounting_converts_their_divergences_to() {
    let mut seen = 0;
    for line in lines("skellam ") {
        let [z, l2, words, rounds, delta, epsilon] = line[..] else { panic!("{line:?}") };
        let l1 = (words.sqrt() * l2).min(l2 * l2);
        let ours = Curve::skellam(l1, l2, z * z * l2 * l2).times(rounds as u64).epsilon(delta);
        assert_within_one_percent(ours, epsilon, &line);
        seen += 1;
    }
    assert!(seen >= 100);
}

#[test]
fn skellam_noise_costs_more_than_gaussian_noise_of_its_variance_and_hardly_more_at_scale() {
    let gaussian = Curve::gaussian(1.0).epsilon(1e-6);
    let coarse = Curve::skellam(16.0, 8.0, 64.0).epsilon(1e-6);
    let fine = Curve::skellam(1e6, 1e5, 1e10).epsilon(1e-6);
    assert!(coarse > fine && fine > gaussian);
    assert!(fine < gaussian * 1.001);
}

#[test]
fn what_is_affordable_is_within_the_budget_and_one_more_is_not() {
    let curve = Curve::gaussian(3.0);
    let rounds = Curve::default().affordable(&curve, 4.0, 1e-6, 1_000_000);
    assert!(rounds > 0);
    assert!(curve.times(rounds).epsilon(1e-6) <= 4.0);
    assert!(curve.times(rounds + 1).epsilon(1e-6) > 4.0);
    assert_eq!(Curve::default().affordable(&curve, 1e-3, 1e-6, 10), 0);
    assert_eq!(Curve::default().affordable(&curve, 1e6, 1e-6, 10), 10);
}

#[test]
fn two_releases_cost_as_much_as_twice_one() {
    let curve = Curve::gaussian(2.0);
    assert_eq!(curve.and(&curve), curve.times(2));
}
