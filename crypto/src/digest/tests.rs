use super::*;
use crate::vectors::{list, slices, text};

#[test]
fn blake3_agrees_with_its_published_vectors() {
    for case in list(text!("published/blake3"), "cases") {
        let bytes = case.number("input_bytes");
        let input: Vec<u8> = (0..bytes).map(|i| (i % 251) as u8).collect();
        assert_eq!(blake3::hash(&input).to_hex().as_str(), case.text("hash"), "{bytes} bytes");
    }
}

#[test]
fn digests_agree_with_an_independent_implementation() {
    for case in list(text!("frozen/digest"), "cases") {
        let digest = Digest::of(case.text("label"), &slices(&case.byte_lists("parts")));
        assert_eq!(digest.to_string(), case.text("digest"));
    }
}

#[test]
fn neither_a_shifted_boundary_nor_an_empty_part_collides() {
    let digests = [
        Digest::of("ab", &[]),
        Digest::of("a", &[b"b"]),
        Digest::of("", &[b"ab"]),
        Digest::of("", &[b"a", b"b"]),
        Digest::of("ab", &[b""]),
    ];
    let distinct: std::collections::BTreeSet<_> = digests.iter().collect();
    assert_eq!(distinct.len(), digests.len());
}

#[test]
fn a_digest_is_printed_and_parsed_as_64_hex_digits() {
    let digest = Digest::of("roundelay/test", &[b"x"]);
    let text = digest.to_string();
    assert_eq!(text.len(), 64);
    assert_eq!(format!("{digest:?}"), text);
    assert_eq!(text.parse(), Ok(digest));
    assert_eq!(text.to_uppercase().parse(), Ok(digest));
}

#[test]
fn text_that_is_no_digest_is_refused() {
    let digits = "0".repeat(64);
    for text in ["", &digits[1..], &format!("{digits}0"), &format!("{}g", &digits[1..])] {
        assert_eq!(text.parse::<Digest>(), Err(ParseDigestError), "{text}");
    }
    assert_eq!(format!("{}é", &digits[2..]).parse::<Digest>(), Err(ParseDigestError));
}

#[test]
fn a_part_in_pieces_has_the_digest_of_the_whole() {
    let part: Vec<u8> = (0..5000_u32).map(|i| (i % 251) as u8).collect();
    for piece in [1, 7, 1024, 5000] {
        let mut stream = Digest::of_stream("roundelay/test", 5000);
        part.chunks(piece).for_each(|piece| stream.push(piece));
        assert_eq!(stream.finish(), Digest::of("roundelay/test", &[&part]));
    }
    assert_eq!(Digest::of_stream("", 0).finish(), Digest::of("", &[b""]));
}

#[test]
fn a_part_of_another_length_than_announced_has_another_digest() {
    for announced in [0, 4, 6, u64::MAX] {
        let mut stream = Digest::of_stream("roundelay/test", announced);
        stream.push(b"five!");
        assert_ne!(stream.finish(), Digest::of("roundelay/test", &[b"five!"]), "{announced}");
    }
}
