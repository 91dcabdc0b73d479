//! Attacks on keys and seeds: keys swapped by the coordinator, one encapsulation message for two
//! edges, and the search for a mask's seed.

use std::collections::BTreeSet;
use std::sync::Arc;

use roundelay_crypto::agreement::{AgreementPublic, AgreementSecret, encapsulate};
use roundelay_crypto::kdf;
use roundelay_crypto::mask::{MaskKey, Ring, Sign, add_masks};
use roundelay_crypto::secret::{Secret, Seed};
use roundelay_protocol::error::Refusal;
use roundelay_protocol::ids::{RosterIndex, RoundNumber};
use roundelay_protocol::message::{Advert, FromClient, ShareRoster, ToClient};
use roundelay_protocol::pair::{Options, Pair, Point};
use roundelay_protocol::plan::PlanKind;

use super::weak::{self, WORDS, WeakClient};
use crate::harness::{VICTIM, assert_refused, drawn_first, lie_in};

fn coordinators_own() -> WeakClient {
    WeakClient::new(99)
}

/// All peers of a client are the coordinator: it knows every mask, and with the box keys, which it
/// swaps as well, all shares of b.
#[test]
fn swapped_keys_open_a_client_that_verifies_no_advert_and_no_other() {
    let (clients, middle) = (weak::clients(5), coordinators_own());
    let pair_seed = |peer: usize| {
        let (low, high) = (VICTIM.min(peer), VICTIM.max(peer));
        let secret = if VICTIM < peer {
            weak::edge_secret(&clients[VICTIM], high, middle.masks.public())
        } else {
            weak::edge_secret(&middle, low, clients[VICTIM].masks.public())
        };
        secret.pair_seed("weak/pair", &[])
    };
    let peers = (0..5).filter(|peer| *peer != VICTIM);
    let pairs = peers.clone().map(|peer| (peer, pair_seed(peer))).collect();
    let mut vector = weak::masked(&clients[VICTIM], VICTIM, pairs);
    assert_ne!(vector, clients[VICTIM].contribution);
    // What the coordinator takes off: its own half of every edge, and the opened b.
    let sign = |peer| if VICTIM < peer { Sign::Minus } else { Sign::Plus };
    let mut keys: Vec<MaskKey> =
        peers.map(|peer| MaskKey { seed: pair_seed(peer), sign: sign(peer) }).collect();
    keys.push(weak::self_mask(&clients[VICTIM], Sign::Minus));
    add_masks(&mut vector, Ring::Z32, &keys, 0);
    assert_eq!(vector, clients[VICTIM].contribution, "the weak client's vector is open");

    let mut pair = Pair::new(Options::new(5, 11));
    let round = lie_in(&mut pair, |message| match message {
        ToClient::Adverts(mut roster) => {
            let mut number = 50;
            for (index, advert) in &mut Arc::make_mut(&mut roster).adverts {
                if usize::from(index.0) != VICTIM {
                    number += 1;
                    let own = |label| {
                        let secret = AgreementSecret::derive(&Secret::new([number; 32]), label);
                        secret.public().clone()
                    };
                    (advert.mask, advert.boxes) = (own("mask"), own("boxes"));
                }
            }
            vec![ToClient::Adverts(roster)]
        }
        other => vec![other],
    });
    assert_refused(&pair, round, &Refusal::BadAdvert(RosterIndex(0)), &[Point::Advert]);
}

/// Whoever receives an encapsulation learns its message (FIPS 203, algorithm 18), and whoever knows
/// the message of an edge, and can undo X25519, knows the edge's mask.
#[test]
fn the_message_of_one_edge_opens_another_where_a_client_uses_it_twice() {
    // The victim is 0, a colluder 3, and the edge to 2 is what the coordinator is after.
    const TARGET: usize = 2;
    const COLLUDER: usize = 3;
    let weak_message = |key: &Seed, _to: &[u8]| kdf::derive(key, "weak/encapsulation", &[]);
    let (key, [target, _]) = (Secret::new([1; 32]), [2, 3].map(|n| Secret::new([n; 32])));
    let masks = AgreementSecret::derive(&key, "weak");
    let target = AgreementSecret::derive(&target, "weak");
    let sent = encapsulate(&masks, target.public(), &weak_message(&key, b"2")).unwrap();
    let learnt: Seed = weak_message(&key, b"3");
    let again = encapsulate(&masks, target.public(), &learnt).unwrap();
    assert_eq!(sent.0, again.0, "the colluder's message is the target's");
    let seed = |secret: &roundelay_crypto::agreement::HybridSecret| {
        *secret.pair_seed("weak/pair", &[]).expose()
    };
    assert_eq!(seed(&sent.1), seed(&again.1), "so it has the mask of the edge");

    let mut pair = Pair::new(Options::new(5, 11));
    pair.round(PlanKind::Train);
    let adverts: Vec<Advert> = (0..5).map(|client| advert(&pair, client)).collect();
    let [key, ..] = drawn_first(pair.peer(0)).map(Secret::new);
    let masks = AgreementSecret::derive(&key, "roundelay/round/mask");
    assert_eq!(*masks.public(), adverts[0].mask);
    let real_message = |to: usize| -> Seed {
        kdf::derive(&key, "roundelay/round/encapsulation", &[&pair.ids()[to].0.0])
    };
    let encapsulated = |message: &Seed| {
        let peer: &AgreementPublic = &adverts[TARGET].mask;
        encapsulate(&masks, peer, message).unwrap().0
    };
    let shares = dealt(&pair, 0);
    let sent = shares.leaves.iter().find(|leaf| usize::from(leaf.to.0) == TARGET).unwrap();
    let sent = sent.mask_ciphertext.as_ref().unwrap();
    assert_eq!(encapsulated(&real_message(TARGET)), *sent);
    assert_ne!(encapsulated(&real_message(COLLUDER)), *sent, "the colluder's says nothing of it");
}

fn advert(pair: &Pair, client: usize) -> Advert {
    let sent = pair.peer(client).sent.iter();
    let mut adverts = sent.filter_map(|(_, message)| match message {
        FromClient::Advert(advert) => Some(Advert::clone(advert)),
        _ => None,
    });
    adverts.next().unwrap()
}

fn dealt(pair: &Pair, client: usize) -> Arc<ShareRoster> {
    let sent = pair.peer(client).sent.iter();
    let mut dealt = sent.filter_map(|(round, message)| match message {
        FromClient::Shares(shares) if *round == RoundNumber(1) => Some(Arc::clone(shares)),
        _ => None,
    });
    dealt.next().unwrap()
}

/// A vector of which the coordinator knows some words, as that most of an embedding is zero: it can
/// tell the right seed of the one mask that is on it.
#[test]
fn a_mask_seed_is_found_by_search_where_few_of_its_bits_vary_and_all_256_of_ours_do() {
    let folded = |seed: &Seed| {
        let mut small = [0; 32];
        for (at, byte) in seed.expose().iter().enumerate() {
            small[at % 2] ^= byte;
        }
        small
    };
    let secret = |number: u8| {
        let clients = weak::clients(number.max(2));
        let (last, others) = clients.split_last().unwrap();
        weak::edge_secret(&others[0], usize::from(number), last.masks.public())
    };
    let seeds: Vec<Seed> =
        (2..42).map(|number| secret(number).pair_seed("roundelay/round/pair-mask", &[])).collect();

    let target = folded(&seeds[0]);
    let expand = |seed: [u8; 32]| {
        let mut words = vec![0; 4 * WORDS];
        let key = MaskKey { seed: Secret::new(seed), sign: Sign::Plus };
        add_masks(&mut words, Ring::Z32, &[key], 0);
        words
    };
    let shown = expand(target);
    let found = (0..=u16::MAX).find(|guess| {
        let mut seed = [0; 32];
        seed[..2].copy_from_slice(&guess.to_le_bytes());
        expand(seed) == shown
    });
    assert_eq!(found, Some(u16::from_le_bytes([target[0], target[1]])));

    let varying = |seeds: &[[u8; 32]]| -> u32 {
        let bits = |combine: fn(u8, u8) -> u8, start: u8| {
            seeds
                .iter()
                .fold([start; 32], |all, seed| std::array::from_fn(|at| combine(all[at], seed[at])))
        };
        let (or, and) = (bits(|a, b| a | b, 0), bits(|a, b| a & b, 0xff));
        or.iter().zip(and).map(|(or, and)| (or & !and).count_ones()).sum()
    };
    let weak: Vec<[u8; 32]> = seeds.iter().map(folded).collect();
    assert!(varying(&weak) <= 16);
    let real: Vec<[u8; 32]> = seeds.iter().map(|seed| *seed.expose()).collect();
    assert_eq!(varying(&real), 256);
    assert_eq!(real.iter().collect::<BTreeSet<_>>().len(), real.len());
}
