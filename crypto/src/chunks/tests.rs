use proptest::prelude::*;

use super::*;
use crate::tree;
use crate::vectors::{list, text};

fn root_of(chunks: &[Vec<u8>]) -> Digest {
    let mut root = ChunkRoot::new();
    chunks.iter().for_each(|chunk| root.push(chunk));
    assert_eq!(root.count(), chunks.len() as u64);
    root.finish()
}

#[test]
fn roots_agree_with_an_independent_implementation() {
    for case in list(text!("frozen/chunks"), "cases") {
        assert_eq!(root_of(&case.byte_lists("chunks")).to_string(), case.text("root"));
    }
}

#[test]
fn the_same_bytes_in_other_chunks_have_another_root() {
    let roots = [
        root_of(&[b"abcd".to_vec()]),
        root_of(&[b"ab".to_vec(), b"cd".to_vec()]),
        root_of(&[b"abcd".to_vec(), Vec::new()]),
        root_of(&[b"cd".to_vec(), b"ab".to_vec()]),
    ];
    let distinct: std::collections::BTreeSet<_> = roots.iter().collect();
    assert_eq!(distinct.len(), roots.len());
}

proptest! {
    #[test]
    fn the_incremental_root_is_the_root_of_the_whole_list(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..4), 0..100),
    ) {
        let digests: Vec<Digest> = chunks.iter().map(|chunk| chunk_digest(chunk)).collect();
        prop_assert_eq!(root_of(&chunks), tree::root(&digests));
    }
}
