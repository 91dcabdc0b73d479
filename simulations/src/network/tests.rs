use rand::SeedableRng;

use super::*;

type Sent = Network<&'static str>;

fn line(latency_ms: u64, jitter_ms: u64) -> Line {
    Line { latency_ms, jitter_ms, bytes_per_ms: 1000, detection_ms: 500 }
}

fn connected(lines: Vec<Line>) -> (Sent, ConnectionId, Time) {
    let mut network = Network::new(lines, ChaCha12Rng::seed_from_u64(7));
    network.dial(Time(0), 0);
    let (at, arrival) = network.poll().unwrap();
    let Some(Arrival::Connected(0, connection)) = arrival else { panic!("{arrival:?}") };
    (network, connection, at)
}

fn delivered(network: &mut Sent) -> Vec<&'static str> {
    std::iter::from_fn(|| network.poll())
        .filter_map(|(_, arrival)| match arrival {
            Some(Arrival::Delivered { payload, .. }) => Some(payload),
            _ => None,
        })
        .collect()
}

#[test]
fn control_messages_keep_their_order_whatever_the_jitter() {
    let (mut network, connection, now) = connected(vec![line(10, 500)]);
    for payload in ["a", "b", "c", "d", "e", "f", "g"] {
        let to = (0, connection, Side::Coordinator);
        network.send(now, to, Lane::Control(None), 10, payload);
    }
    assert_eq!(delivered(&mut network), ["a", "b", "c", "d", "e", "f", "g"]);
}

#[test]
fn a_late_roster_holds_up_its_own_round_and_no_other() {
    let (mut network, connection, now) = connected(vec![line(10, 0)]);
    let to = (0, connection, Side::Client);
    let (one, other) = (RoundNumber(1), RoundNumber(2));
    network.send(now, to, Lane::Announced(one), 50_000, "quorum 1");
    network.send(now, to, Lane::Control(Some(one)), 10, "published 1");
    network.send(now, to, Lane::Control(Some(other)), 10, "training plan 2");
    assert_eq!(delivered(&mut network), ["training plan 2", "quorum 1", "published 1"]);
}

#[test]
fn streams_overtake_each_other_but_not_themselves() {
    let (mut network, connection, now) = connected(vec![line(10, 0)]);
    let to = (0, connection, Side::Coordinator);
    network.send(now, to, Lane::Stream(1), 90_000, "first half");
    network.send(now, to, Lane::Stream(1), 10, "second half");
    network.send(now, to, Lane::Control(None), 10, "commit");
    assert_eq!(delivered(&mut network), ["commit", "first half", "second half"]);
}

#[test]
fn a_cut_loses_the_end_of_what_was_under_way_and_both_sides_notice() {
    let (mut network, connection, now) = connected(vec![line(10, 40)]);
    for payload in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        network.send(now, (0, connection, Side::Client), Lane::Control(None), 10, payload);
    }
    network.cut(now, 0);
    network.send(now, (0, connection, Side::Client), Lane::Stream(9), 500_000, "much later");
    let (mut heard, mut lost) = (Vec::new(), Vec::new());
    while let Some((_, arrival)) = network.poll() {
        match arrival {
            Some(Arrival::Delivered { payload, .. }) => heard.push(payload),
            Some(Arrival::Lost { at, .. }) => lost.push(at),
            _ => {}
        }
    }
    lost.sort();
    assert_eq!(lost, [Side::Client, Side::Coordinator]);
    assert!(heard.len() < 8 && heard.iter().zip("abcdefgh".chars()).all(|(h, c)| h.contains(c)));
}

#[test]
fn whoever_ends_a_connection_is_not_told_of_it() {
    let (mut network, connection, now) = connected(vec![line(10, 40)]);
    network.close(now, 0, Side::Coordinator);
    let (_, arrival) = network.poll().unwrap();
    assert_eq!(arrival, Some(Arrival::Lost { client: 0, connection, at: Side::Client }));
    assert!(network.poll().is_none());
}

#[test]
fn nobody_answers_while_the_coordinator_is_gone() {
    let (mut network, old, now) = connected(vec![line(10, 0), line(10, 0)]);
    network.fall_silent(now);
    network.dial(now, 1);
    let arrivals: Vec<_> =
        std::iter::from_fn(|| network.poll()).filter_map(|(_, arrival)| arrival).collect();
    assert!(arrivals.contains(&Arrival::Unreachable(1)));
    assert!(arrivals.contains(&Arrival::Lost { client: 0, connection: old, at: Side::Client }));
    network.listen();
    network.dial(now, 1);
    assert!(matches!(network.poll(), Some((_, Some(Arrival::Connected(1, _))))));
}

#[test]
fn the_same_seed_gives_the_same_arrivals() {
    let arrivals = |seed| {
        let mut network =
            Network::new(vec![line(5, 100), line(50, 300)], ChaCha12Rng::seed_from_u64(seed));
        network.dial(Time(0), 0);
        network.dial(Time(3), 1);
        let mut seen = Vec::new();
        while let Some((at, arrival)) = network.poll() {
            if let Some(Arrival::Connected(client, connection)) = arrival {
                for payload in ["x", "y", "z"] {
                    let to = (client, connection, Side::Coordinator);
                    network.send(at, to, Lane::Stream(connection.0), 2_000, payload);
                }
                network.cut(at + Millis(80), client);
            }
            seen.push((at, format!("{arrival:?}")));
        }
        seen
    };
    assert_eq!(arrivals(1), arrivals(1));
    assert_ne!(arrivals(1), arrivals(2));
}
