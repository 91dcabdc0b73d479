use proptest::prelude::*;

use super::*;
use crate::vectors::{list, text};

fn leaves(count: usize) -> Vec<Digest> {
    (0..count).map(|i| Digest::of("leaf", &[&i.to_le_bytes()])).collect()
}

fn digests(bytes: &[Vec<u8>]) -> Vec<Digest> {
    bytes.iter().map(|bytes| Digest(bytes.as_slice().try_into().unwrap())).collect()
}

#[test]
fn roots_and_paths_agree_with_an_independent_implementation() {
    for case in list(text!("frozen/tree"), "cases") {
        let leaves = digests(&case.byte_lists("leaves"));
        assert_eq!(root(&leaves).to_string(), case.text("root"));
        for (index, steps) in case.lists("paths").iter().enumerate() {
            assert_eq!(path(&leaves, index).unwrap().steps(), digests(steps));
        }
    }
}

#[test]
fn the_shape_is_that_of_rfc_6962() {
    // Section 2.1.3: seven leaves, as a drawing.
    let l = leaves(7);
    let h = |i: usize| leaf(&l[i]);
    let (g, hh, i, j) = (node(&h(0), &h(1)), node(&h(2), &h(3)), node(&h(4), &h(5)), h(6));
    let (k, m) = (node(&g, &hh), node(&i, &j));
    assert_eq!(root(&l), node(&k, &m));
    assert_eq!(path(&l, 0).unwrap().steps(), [h(1), hh, m]);
    assert_eq!(path(&l, 3).unwrap().steps(), [h(2), g, m]);
    assert_eq!(path(&l, 4).unwrap().steps(), [h(5), j, k]);
    assert_eq!(path(&l, 6).unwrap().steps(), [i, k]);
}

#[test]
fn a_leaf_is_no_node_and_an_empty_list_is_no_leaf() {
    let [a, b] = [leaves(2)[0], leaves(2)[1]];
    assert_ne!(root(&[a, b]), root(&[node(&a, &b)]));
    assert_ne!(root(&[]), root(&[empty()]));
    assert_ne!(root(&[a]), a);
    assert!(path(&[], 0).is_none());
    assert!(path(&[a, b], 2).is_none());
}

#[test]
fn a_path_with_more_steps_than_any_list_needs_is_refused() {
    assert!(Path::new(leaves(PATH_STEPS_MAX)).is_some());
    assert!(Path::new(leaves(PATH_STEPS_MAX + 1)).is_none());
}

proptest! {
    #[test]
    fn a_path_proves_its_own_leaf_at_its_own_place(
        (count, index) in (1_usize..70).prop_flat_map(|n| (Just(n), 0..n)),
        elsewhere in 0_usize..80,
        another_count in 0_usize..80,
    ) {
        let leaves = leaves(count);
        let (root, path) = (root(&leaves), path(&leaves, index).unwrap());
        prop_assert!(verify(&root, &leaves[index], index, count, &path));
        if elsewhere != index {
            prop_assert!(!verify(&root, &leaves[index], elsewhere, count, &path));
        }
        prop_assert!(!verify(&root, &Digest([0; 32]), index, count, &path));
        prop_assert!(!verify(&Digest([0; 32]), &leaves[index], index, count, &path));
        // Another number of leaves may ask for the same path: never another leaf, though.
        let other = (index + 1) % count;
        if other != index {
            prop_assert!(!verify(&root, &leaves[other], index, another_count, &path));
        }
    }

    #[test]
    fn a_path_with_a_step_altered_missing_or_added_proves_nothing(
        (count, index) in (2_usize..70).prop_flat_map(|n| (Just(n), 0..n)),
        at: prop::sample::Index,
    ) {
        let leaves = leaves(count);
        let (root, path) = (root(&leaves), path(&leaves, index).unwrap());
        let steps = path.steps().to_vec();
        let at = at.index(steps.len());
        let (mut altered, mut shorter, mut longer) = (steps.clone(), steps.clone(), steps);
        altered[at].0[0] ^= 1;
        shorter.remove(at);
        longer.insert(at, leaves[0]);
        for steps in [altered, shorter, longer] {
            prop_assert!(!verify(&root, &leaves[index], index, count, &Path::new(steps).unwrap()));
        }
    }
}

#[test]
fn all_paths_at_once_are_the_paths_one_by_one() {
    for count in 0..20_u8 {
        let leaves: Vec<Digest> = (0..count).map(|i| Digest::of("leaf", &[&[i]])).collect();
        let one_by_one: Vec<Path> =
            (0..leaves.len()).map(|index| path(&leaves, index).unwrap()).collect();
        assert_eq!(paths(&leaves), one_by_one);
    }
}
