//! The partition lie: some clients are told that the victim survived, the others that it dropped
//! out, so that its b and its k are both rebuilt. Colluders sign both sets and give both shares.

use std::collections::BTreeSet;
use std::sync::Arc;

use roundelay_crypto::identity::Signature;
use roundelay_crypto::shamir;
use roundelay_protocol::ids::{RosterIndex, RoundNumber};
use roundelay_protocol::message::{FromClient, Quorum, Reveal, SurvivorSet, ToClient};
use roundelay_protocol::pair::{Fault, Options, Pair, Point, When};
use roundelay_protocol::plan::PlanKind;
use roundelay_protocol::round::horizontal::client::Input;
use roundelay_protocol::signed::{Scope, Statement};
use roundelay_protocol::time::Millis;
use roundelay_protocol::transcript::set_root;

use crate::harness::{VICTIM, colluder, context, drawn_first, everybody};

const CLIENTS: usize = 7;

fn options() -> Options {
    Options { delay_ms: 5..=5, ..Options::new(7, 11) }
}

/// What a client revealed in the first round.
fn reveal(pair: &Pair, client: usize) -> Option<Reveal> {
    pair.peer(client).sent.iter().find_map(|(_, message)| match message {
        FromClient::Reveal(reveal) => Some(reveal.clone()),
        _ => None,
    })
}

/// The victim's shares that a colluder holds, of b and of k: it gives them away.
fn both_shares(client: usize) -> ([u8; 32], [u8; 32]) {
    let mut survived = Pair::new(options());
    survived.round(PlanKind::Train);
    let (at, when) = (Point::Upload, When::Before);
    let dropout = Fault::Crash { client: VICTIM, at, when, back_after: None };
    let mut dropped = Pair::new(Options { faults: vec![dropout], ..options() });
    dropped.round(PlanKind::Train);
    let [survived, dropped] = [survived, dropped].map(|pair| reveal(&pair, client).unwrap());
    (survived.self_mask_shares[VICTIM], dropped.key_shares[0])
}

/// A round in which everybody has uploaded, and the coordinator has shown nothing yet.
struct Lie {
    pair: Pair,
    round: RoundNumber,
    colluders: Vec<usize>,
}

impl Lie {
    fn new(colluders: usize) -> Self {
        let mut pair = Pair::new(options());
        pair.on_message_to(|_, message| match message {
            ToClient::SurvivorSet(_) | ToClient::Aborted(_) => Vec::new(),
            message => vec![message],
        });
        let round = pair.prepare();
        pair.train(round, PlanKind::Train);
        pair.run_for(Millis(500));
        Self { pair, round, colluders: (CLIENTS - colluders..CLIENTS).collect() }
    }

    /// The set of these clients with their roots.
    fn set(&self, members: impl Iterator<Item = usize>) -> Arc<SurvivorSet> {
        let input = |client: usize| {
            let mut sent = self.pair.peer(client).sent.iter();
            let root = sent.find_map(|(_, message)| match message {
                FromClient::InputCommit(commit) => Some(commit.root),
                _ => None,
            });
            (index(client), root.expect("it has uploaded"))
        };
        Arc::new(SurvivorSet { inputs: members.map(input).collect() })
    }

    /// Shows a set to some honest clients; their signatures and the colluders'.
    fn signed(&mut self, set: &Arc<SurvivorSet>, honest: &[usize]) -> Quorum {
        let mut signatures = Vec::new();
        for client in honest {
            let message = ToClient::SurvivorSet(Arc::clone(set));
            self.pair.tell(*client, self.round, Input::Message(message));
            let signature = self.pair.peer(*client).sent.iter().find_map(|(_, m)| match m {
                FromClient::SurvivorSignature(signed) => Some(signed.signature),
                _ => None,
            });
            signatures.push((index(*client), signature.expect("an honest set as far as it sees")));
        }
        let colluding =
            self.colluders.iter().map(|client| (index(*client), self.sign(*client, set)));
        signatures.extend(colluding);
        signatures.sort_unstable_by_key(|(signer, _)| *signer);
        Quorum { signatures }
    }

    fn sign(&self, client: usize, set: &SurvivorSet) -> Signature {
        let mut plan = self.pair.coordinator().training_plan(self.round, PlanKind::Train);
        plan.active = (0..CLIENTS).map(index).collect();
        let context = context(&self.pair, self.round, &plan);
        let set = set_root(&context, set);
        let scope = Scope::of(&everybody(&self.pair, self.round));
        scope.sign(
            &colluder(&self.pair, client),
            &Statement::Survivors { context: &context, set: &set },
        )
    }

    /// Shows the clients a quorum; what they reveal.
    fn revealed(&mut self, quorum: Quorum, honest: &[usize]) -> Vec<(usize, Reveal)> {
        let message = ToClient::Quorum(Arc::new(quorum));
        for client in honest {
            self.pair.tell(*client, self.round, Input::Message(message.clone()));
        }
        honest.iter().filter_map(|client| Some((*client, reveal(&self.pair, *client)?))).collect()
    }
}

fn index(client: usize) -> RosterIndex {
    RosterIndex(u16::try_from(client).unwrap())
}

fn rebuilt(shares: &[(usize, [u8; 32])]) -> Option<[u8; 32]> {
    let mut shares = shares.to_vec();
    shares.sort_unstable_by_key(|(client, _)| *client);
    let placed: Vec<(u16, &[u8; 32])> =
        shares.iter().map(|(client, share)| (index(*client).0 + 1, share)).collect();
    shamir::combine(&placed, 5).ok().map(|seed| *seed.expose())
}

/// The seeds of the victim that the coordinator has after the lie with so many colluders, where the
/// honest are divided as `with` (of whom the victim is one) and the rest.
fn opened(colluders: usize, with: &[usize]) -> (Option<[u8; 32]>, Option<[u8; 32]>) {
    let mut lie = Lie::new(colluders);
    let without: Vec<usize> =
        (0..CLIENTS - colluders).filter(|client| !with.contains(client)).collect();
    let (survived, dropped) =
        (lie.set(0..CLIENTS), lie.set((0..CLIENTS).filter(|client| *client != VICTIM)));
    let quorum = lie.signed(&survived, with);
    let survived = lie.revealed(quorum, with);
    let quorum = lie.signed(&dropped, &without);
    let dropped = lie.revealed(quorum, &without);
    let mut self_mask: Vec<(usize, [u8; 32])> = survived
        .iter()
        .map(|(client, reveal)| (*client, reveal.self_mask_shares[VICTIM]))
        .collect();
    let mut key: Vec<(usize, [u8; 32])> =
        dropped.iter().map(|(client, reveal)| (*client, reveal.key_shares[0])).collect();
    for client in lie.colluders {
        let (of_self_mask, of_key) = both_shares(client);
        self_mask.push((client, of_self_mask));
        key.push((client, of_key));
    }
    (rebuilt(&self_mask), rebuilt(&key))
}

/// Five of seven sign and rebuild: 2t − n − 1 = 2 colluders are withstood, and three are not.
#[test]
fn a_partition_lie_opens_a_vector_only_above_the_collusion_bound() {
    let pair = Pair::new(options());
    let floors = pair.terms().floors(CLIENTS).unwrap();
    let bound = 2 * usize::from(floors.threshold()) - CLIENTS - 1;
    assert_eq!((floors.threshold(), floors.quorum(), bound), (5, 5, 2));
    let [key, self_mask, ..] = drawn_first(pair.peer(VICTIM));

    // Above it the attack succeeds: no check of a client is missing, its assumption is.
    assert_eq!(opened(bound + 1, &[0, VICTIM]), (Some(self_mask), Some(key)));

    // At it, however the other honest clients are divided, one half of the lie has no quorum.
    for others in [vec![], vec![0], vec![0, 2], vec![0, 2, 3], vec![0, 2, 3, 4]] {
        let with: BTreeSet<usize> = others.iter().copied().chain([VICTIM]).collect();
        let with: Vec<usize> = with.into_iter().collect();
        let (of_self_mask, of_key) = opened(bound, &with);
        assert!(of_self_mask.is_none() || of_key.is_none(), "told that it survived: {with:?}");
    }
}
