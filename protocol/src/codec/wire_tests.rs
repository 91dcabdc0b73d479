//! Every message type on the wire: frozen bytes, one encoding per value, no panic on any bytes.

use proptest::prelude::*;

use super::*;
use crate::fixtures::frozen;
use crate::fixtures::wire::{messages, roster_plan, training_plan};
use crate::limits::{COHORT_MAX, FRAME_BYTES_MAX};
use crate::message;

/// The frozen encodings of wire version 1, one file per type with a line per variant. They change
/// with the wire version alone: `ROUNDELAY_WRITE_VECTORS=1 cargo test -p roundelay-protocol wire`
/// writes them anew, and `python3 protocol/tests/vectors/wire-v1/check.py` builds some of them
/// without this code.
#[test]
fn the_messages_of_wire_version_1_are_frozen() {
    let mut files = std::collections::BTreeMap::<String, String>::new();
    for message in messages() {
        let (kind, variant) = message.name.split_once('/').unwrap();
        let line = format!("{variant} {}\n", hex::encode(&message.bytes));
        files.entry(kind.to_owned()).or_default().push_str(&line);
    }
    for (kind, lines) in files {
        frozen(&format!("wire-v1/{kind}.txt"), &lines);
    }
}

#[test]
fn every_message_decodes_to_itself_and_to_nothing_with_a_byte_more_or_less() {
    for message in messages() {
        assert_eq!((message.again)(&message.bytes), Ok(message.bytes.clone()), "{}", message.name);
        let longer = [message.bytes.clone(), vec![0]].concat();
        assert_eq!(
            (message.again)(&longer),
            Err(DecodeError::TrailingBytes(1)),
            "{}",
            message.name
        );
        // All of the short ones; long ones hold keys whose parsing takes its time.
        let stride = if message.bytes.len() < 512 { 1 } else { 97 };
        for length in (0..message.bytes.len()).step_by(stride) {
            assert!(
                (message.again)(&message.bytes[..length]).is_err(),
                "{} {length}",
                message.name
            );
        }
    }
}

#[test]
fn the_largest_control_messages_fit_a_frame() {
    let clients = u16::try_from(COHORT_MAX).unwrap();
    let plans = [
        message::ToClient::RosterPlan(Box::new(roster_plan(clients))),
        message::ToClient::TrainingPlan(Box::new(training_plan(clients))),
    ];
    for plan in plans {
        assert!(encode(&plan).len() < FRAME_BYTES_MAX / 2);
    }
    let reveal = message::Reveal {
        own_self_mask: Some([0; 32]),
        self_mask_shares: vec![[0; 32]; COHORT_MAX],
        key_shares: vec![],
    };
    assert!(encode(&message::FromClient::Reveal(reveal)).len() < FRAME_BYTES_MAX / 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_bytes_are_refused_or_have_one_encoding(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for message in messages() {
            if let Ok(again) = (message.again)(&bytes) {
                prop_assert_eq!(&again, &bytes, "{}", message.name);
            }
        }
    }

    #[test]
    fn damaged_messages_are_refused_or_have_one_encoding(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        for message in messages() {
            let mut bytes = message.bytes.clone();
            for (place, byte) in &damage {
                bytes[place.index(message.bytes.len())] ^= byte;
            }
            for bytes in [&bytes[..], &bytes[..cut.index(bytes.len())]] {
                if let Ok(again) = (message.again)(bytes) {
                    prop_assert_eq!(&again, bytes, "{}", message.name);
                }
            }
        }
    }
}
