//! Clients that are found at fault: they hear of it, and are planned for nothing more.

use roundelay_crypto::agreement::KemCiphertext;
use roundelay_crypto::identity::Signature;
use roundelay_crypto::tree;
use roundelay_protocol::ids::RosterIndex;
use roundelay_protocol::message::{Accusation, BoxDelivery, ShareCommitments, ShareLeaf};

use super::*;

#[test]
fn a_short_upload_expels_its_client_and_the_others_finish_the_round() {
    let mut world = World::new(5, 1, false, 9);
    world.script = vec![incident(3, 1, Point::Upload, What::Short(16))];
    world.run();
    assert_finished(&world);
    let (who, fault) = &world.expelled[0];
    assert!(*who == 3 && matches!(fault, Fault::WrongLength { .. }), "{fault}");
    let first = world.disk.rounds.values().next().unwrap();
    assert_eq!((first.survivors, first.dropouts), (4, 1));
    assert_eq!(world.status().expelled.len(), 1);
    assert_eq!(world.heard, world.expelled, "it is told of what it is blamed for");
}

#[test]
fn a_client_that_was_away_when_it_was_expelled_hears_it_when_it_is_back_in_that_round() {
    let mut world = World::new(5, 1, false, 29);
    let training = |world: &World| world.status().training;
    world.run_until(|world| {
        training(world).is_some_and(|round| round.stage == Some(Stage::MaskedInput))
    });
    let round = RoundNumber(training(&world).unwrap().round);
    world.lose(3, None);
    let fault = Fault::WrongLength { sent: 1, expected: 2 };
    let client = world.clients[3].id;
    world.tell(Event::UploadRefused { client, round, fault: fault.clone() });
    assert_eq!(world.heard, []);
    world.return_now(3);
    world.go_on();
    assert_finished(&world);
    assert_eq!(world.heard, [(3, fault)]);
    let rounds: Vec<_> = world.disk.rounds.values().collect();
    assert!(rounds.iter().all(|round| round.survivors == 4), "it is planned for nothing more");
}

#[test]
fn a_client_that_was_proved_to_lie_is_left_out_until_the_federation_is_started_again() {
    let mut world = World::new(5, 3, false, 16);
    let prepared = |world: &World| {
        let training = world.status().training;
        training.is_some_and(|round| round.stage == Some(Stage::MaskedInput))
    };
    world.run_until(prepared);
    let (liar, round) = (world.clients[2].id, RoundNumber(world.status().training.unwrap().round));
    let message = FromClient::Accusation(Box::new(false_accusation()));
    world.tell(Event::Message { client: liar, round, message });
    world.go_on();
    assert_eq!(world.status().state, State::Finished);
    assert_eq!(world.expelled, [(2, Fault::FalseAccusation)]);
    assert_eq!(world.heard, world.expelled, "it is told of what it is blamed for");
    let last = world.disk.rounds.values().last().unwrap();
    assert_eq!((last.survivors, last.dropouts), (4, 1));
    world.return_now(2);
    world.go_on();
    assert!(world.refused.contains(&(2, "barred".to_owned())), "{:?}", world.refused);
}

/// Of a box that nobody ever sealed.
fn false_accusation() -> Accusation {
    let ciphertext = KemCiphertext::new(Box::new([1; KemCiphertext::BYTES]));
    let nothing = Digest([0; 32]);
    let leaf = ShareLeaf {
        to: RosterIndex(2),
        mask_ciphertext: None,
        box_ciphertext: ciphertext,
        sealed: Vec::new(),
        commitments: ShareCommitments { key: nothing, self_mask: nothing },
        met: RoundNumber(0),
    };
    let (from, path) = (RosterIndex(0), tree::Path::new(Vec::new()).unwrap());
    let delivery = BoxDelivery { from, leaf, path, root: nothing, signature: Signature([0; 64]) };
    Accusation { delivery, boxes: [0; 32] }
}
