use roundelay_crypto::agreement::decapsulate;
use roundelay_crypto::secret::Secret;

use super::*;
use crate::fixtures::wire::digest;
use crate::ids::{FederationId, ModelVersion, RoundNumber};
use crate::plan::PlanKind;

fn scope() -> Scope {
    let (federation, round) = (FederationId([7; 16]), RoundNumber(3));
    Scope { federation, round, manifest: digest("manifest") }
}

fn context() -> TrainingContext {
    TrainingContext {
        shares: digest("shares"),
        previous_transcript: digest("transcript"),
        kind: PlanKind::Train,
        model_version: ModelVersion(4),
        model: digest("model"),
        config: digest("config"),
        planned: digest("planned"),
        prepared: digest("prepared"),
        active: digest("active"),
    }
}

fn client(number: u16) -> (RosterIndex, ClientId) {
    (RosterIndex(number), ClientId(digest(&format!("client {number}"))))
}

fn seed(number: u8) -> Seed {
    Secret::new([number; 32])
}

fn pair_seed(scope: &Scope, context: &TrainingContext, leaves: [&str; 2]) -> [u8; 32] {
    let (low, high) = (mask_secret(&seed(1)), mask_secret(&seed(2)));
    let (_, secret) = encapsulate_mask(&seed(1), &low, client(1).1, high.public()).ok().unwrap();
    let [low, high] = [0, 1].map(|i| (RosterIndex(i), digest(leaves[usize::from(i)])));
    *Edge::between(low, high).seed(&secret, &MaskContext::new(scope, context)).expose()
}

#[test]
fn both_ends_of_an_edge_derive_the_same_mask_and_give_it_opposite_signs() {
    let (low, high) = (mask_secret(&seed(1)), mask_secret(&seed(2)));
    let (ciphertext, sent) =
        encapsulate_mask(&seed(1), &low, client(1).1, high.public()).ok().unwrap();
    let received = decapsulate(&high, low.public(), &ciphertext).ok().unwrap();
    let masks = MaskContext::new(&scope(), &context());
    let (one, other) = ((RosterIndex(0), digest("a")), (RosterIndex(1), digest("b")));
    let sent = Edge::between(one, other).seed(&sent, &masks);
    let received = Edge::between(other, one).seed(&received, &masks);
    assert_eq!(sent.expose(), received.expose());
    assert_eq!(sign(one.0, other.0), Sign::Plus);
    assert_eq!(sign(other.0, one.0), Sign::Minus);
}

#[test]
fn two_edges_never_share_an_encapsulation_message() {
    // Even where two neighbours advertised the same key, each tells nothing about the other's.
    let (own, peer) = (mask_secret(&seed(1)), mask_secret(&seed(2)));
    let to = |number| {
        let (ciphertext, _) =
            encapsulate_mask(&seed(1), &own, client(number).1, peer.public()).ok().unwrap();
        ciphertext
    };
    assert_eq!(to(1), to(1));
    assert_ne!(to(1), to(2));
}

#[test]
fn a_mask_depends_on_everything_that_two_clients_could_be_told_differently() {
    type Change = fn(&mut Scope, &mut TrainingContext);
    let changes: [Change; 12] = [
        |scope, _| scope.federation = FederationId([8; 16]),
        |scope, _| scope.round = RoundNumber(4),
        |scope, _| scope.manifest = digest("other"),
        |_, context| context.shares = digest("other"),
        |_, context| context.previous_transcript = digest("other"),
        |_, context| context.kind = PlanKind::Evaluate,
        |_, context| context.model_version = ModelVersion(5),
        |_, context| context.model = digest("other"),
        |_, context| context.config = digest("other"),
        |_, context| context.planned = digest("other"),
        |_, context| context.prepared = digest("other"),
        |_, context| context.active = digest("other"),
    ];
    let own = |scope: &Scope, context: &TrainingContext| {
        *MaskContext::new(scope, context).self_mask(RosterIndex(0), &seed(3)).expose()
    };
    let mut pairs = vec![
        pair_seed(&scope(), &context(), ["a", "b"]),
        // The ciphertexts of the edge, and which of the two sent which.
        pair_seed(&scope(), &context(), ["a", "other"]),
        pair_seed(&scope(), &context(), ["other", "b"]),
        pair_seed(&scope(), &context(), ["b", "a"]),
    ];
    let mut selves = vec![own(&scope(), &context())];
    for change in changes {
        let (mut scope, mut context) = (scope(), context());
        change(&mut scope, &mut context);
        pairs.push(pair_seed(&scope, &context, ["a", "b"]));
        selves.push(own(&scope, &context));
    }
    for seeds in [&mut pairs, &mut selves] {
        let number = seeds.len();
        seeds.sort_unstable();
        seeds.dedup();
        assert_eq!(seeds.len(), number);
    }
}

#[test]
fn a_box_opens_at_its_own_place_alone() {
    let (sender, receiver) = (box_secret(&seed(1)), box_secret(&seed(2)));
    let (_, secret) = encapsulate(&sender, receiver.public(), &seed(9)).ok().unwrap();
    let adverts = digest("adverts");
    let key = |scope: &Scope, adverts: &Digest, from, to| {
        *BoxPlace::new(scope, adverts, from, to).key(&secret).expose()
    };
    let mut other = scope();
    other.round = RoundNumber(4);
    let mut keys = vec![
        key(&scope(), &adverts, client(0), client(1)),
        key(&scope(), &adverts, client(1), client(0)),
        key(&scope(), &adverts, client(0), client(2)),
        key(&scope(), &digest("other"), client(0), client(1)),
        key(&other, &adverts, client(0), client(1)),
    ];
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 5);
}
