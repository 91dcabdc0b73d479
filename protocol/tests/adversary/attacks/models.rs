//! Two models for two clients (Pasquini et al. 2022): the others are shown a model on which they
//! have nothing to add, so that the sum is the victim's vector alone.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use roundelay_crypto::digest::Digest;
use roundelay_crypto::kdf;
use roundelay_crypto::mask::{MaskKey, Sign, add_masks, add_words};
use roundelay_crypto::secret::{Secret, Seed};
use roundelay_protocol::codec;
use roundelay_protocol::ids::{ModelVersion, RoundNumber};
use roundelay_protocol::layout::Layout;
use roundelay_protocol::message::{Published, ToClient};
use roundelay_protocol::pair::{Options, Pair};
use roundelay_protocol::plan::{PlanKind, TrainingPlan};
use roundelay_protocol::round::horizontal::client::Input;
use roundelay_protocol::signed::Scope;
use roundelay_protocol::time::Millis;

use super::weak;
use crate::harness::{VICTIM, context, drawn_first, everybody};

const CLIENTS: usize = 5;

/// Masked vectors of weak clients with their self masks taken off, summed: everyone's pairwise
/// masks are bound to the model that it was shown, or to nothing.
fn weak_sum(is_bound: bool) -> (Vec<u8>, Vec<u8>) {
    let mut clients = weak::clients(5);
    for (at, client) in clients.iter_mut().enumerate() {
        if at != VICTIM {
            client.contribution.fill(0);
        }
    }
    let model = |client: usize| if client == VICTIM { b"real model" } else { b"dead model" };
    let masked = |own: usize| {
        let pairs = (0..CLIENTS).filter(|peer| *peer != own).map(|peer| {
            let (low, high) = (own.min(peer), own.max(peer));
            let secret = weak::edge_secret(&clients[low], high, clients[high].masks.public());
            let context: &[&[u8]] = if is_bound { &[model(own)] } else { &[] };
            (peer, secret.pair_seed("weak/pair", context))
        });
        let mut vector = weak::masked(&clients[own], own, pairs.collect());
        let off = [weak::self_mask(&clients[own], Sign::Minus)];
        add_masks(&mut vector, roundelay_crypto::mask::Ring::Z32, &off, 0);
        vector
    };
    let vectors: Vec<Vec<u8>> = (0..CLIENTS).map(masked).collect();
    (weak::sum(&vectors), clients[VICTIM].contribution.clone())
}

#[test]
fn two_models_give_the_victims_vector_where_masks_are_bound_to_none() {
    let (sum, contribution) = weak_sum(false);
    assert_eq!(sum, contribution);
    let (sum, contribution) = weak_sum(true);
    assert_ne!(sum, contribution, "bound masks do not cancel");
}

/// What the coordinator has when everybody has uploaded, with all self masks taken off, as if every
/// b were open: more than it can get.
fn unmasked(lies: bool) -> (Vec<u8>, Vec<u8>) {
    let mut pair = Pair::new(Options { delay_ms: 5..=5, ..Options::new(5, 11) });
    let (victim, ids) = (pair.ids()[VICTIM], pair.ids());
    let plans: Rc<RefCell<BTreeMap<usize, TrainingPlan>>> = Rc::default();
    let shown = Rc::clone(&plans);
    pair.on_message_to(move |to, mut message| {
        match &mut message {
            ToClient::TrainingPlan(plan) => {
                if lies && to == victim {
                    plan.model = another().state;
                    plan.model_version = ModelVersion(1);
                    plan.previous_transcript = another().transcript;
                }
                let client = ids.iter().position(|id| *id == to).unwrap();
                shown.borrow_mut().insert(client, TrainingPlan::clone(plan));
            }
            // Nothing is shown to anyone after the uploads.
            ToClient::SurvivorSet(_) => return Vec::new(),
            _ => {}
        }
        vec![message]
    });
    let (first, second) = (pair.prepare(), pair.prepare());
    pair.run_for(Millis(500));
    if lies {
        // The victim alone has come to stand at another model, whoever brought it there.
        pair.tell(VICTIM, second, Input::Message(ToClient::Published(another())));
        pair.tell(VICTIM, second, Input::Applied(Some(another().state)));
    }
    pair.train(first, PlanKind::Train);
    pair.run_for(Millis(500));
    let layout = pair.coordinator().training_plan(first, PlanKind::Train).layout;
    let mut sum = layout.blank();
    sum.fill(0);
    for client in 0..CLIENTS {
        let uploads = &pair.peer(client).uploads;
        let [(round, vector)] = &uploads[..] else { panic!("client {client} uploads once") };
        assert_eq!(*round, first);
        let mut vector = vector.clone();
        let self_mask = self_mask(&pair, first, client, &plans.borrow()[&client]);
        let key = MaskKey { seed: self_mask, sign: Sign::Minus };
        for chunk in layout.chunks() {
            add_masks(
                &mut vector[chunk.range()],
                chunk.ring,
                std::slice::from_ref(&key),
                chunk.offset as u64,
            );
        }
        add(&mut sum, &layout, &vector);
    }
    let mut plain = layout.blank();
    plain.fill(0);
    for client in 0..CLIENTS {
        add(&mut plain, &layout, &pair.peer(client).contributions[&first]);
    }
    (sum, plain)
}

fn add(sum: &mut [u8], layout: &Layout, vector: &[u8]) {
    layout
        .chunks()
        .for_each(|chunk| add_words(&mut sum[chunk.range()], chunk.ring, &vector[chunk.range()]));
}

/// A client's self mask, from its b and what it was shown.
fn self_mask(pair: &Pair, round: RoundNumber, client: usize, plan: &TrainingPlan) -> Seed {
    let scope = Scope::of(&everybody(pair, round));
    let masks = codec::canonical(&(scope, context(pair, round, plan)));
    let [_, own, ..] = drawn_first(pair.peer(client)).map(Secret::new);
    let index = u16::try_from(client).unwrap().to_le_bytes();
    kdf::derive(&own, "roundelay/round/self-mask", &[&masks, &index])
}

/// A result that brings the victim to a model of its own.
fn another() -> Published {
    Published {
        kind: PlanKind::Train,
        model_version: ModelVersion(0),
        survivors: 5,
        aggregate: Digest([1; 32]),
        state: Digest([2; 32]),
        transcript: Digest([3; 32]),
    }
}

#[test]
fn two_models_give_noise_with_real_clients() {
    let (sum, plain) = unmasked(false);
    assert_eq!(sum, plain, "one model: with every b open the masks cancel");
    let (sum, plain) = unmasked(true);
    let differing: u32 =
        sum.iter().zip(&plain).map(|(one, other)| (one ^ other).count_ones()).sum();
    let bits = u32::try_from(sum.len() * 8).unwrap();
    // Six standard deviations around one half, as of random bits.
    let deviation = (f64::from(differing) - f64::from(bits) / 2.0).abs();
    assert!(deviation < 3.0 * f64::from(bits).sqrt(), "{differing} of {bits} bits");
}
