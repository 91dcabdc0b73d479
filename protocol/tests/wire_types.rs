//! No type of this crate contains itself: decoding a recursive one would let a peer overflow the
//! stack, whatever the limit on its bytes (see `codec`). Read off the sources, since types do not
//! say it at run time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A type by the file that defines it.
type Key = (PathBuf, String);

#[test]
fn no_type_contains_itself() {
    let types = types();
    for name in ["ToClient", "ToCoordinator", "SignedManifest", "TrainingPlan", "Refusal"] {
        assert!(types.keys().any(|key| key.1 == name), "{name} was not found in the sources");
    }
    for start in types.keys() {
        let mut reached = BTreeSet::new();
        let mut left = contained(&types, start);
        while let Some(key) = left.pop() {
            assert!(key != *start, "{start:?} contains itself");
            if reached.insert(key.clone()) {
                left.extend(contained(&types, &key));
            }
        }
    }
}

#[test]
fn a_type_that_contains_itself_would_be_found() {
    let text = "#[derive(Deserialize)]\npub enum Tree { Leaf(u8), Node(Vec<Branch>) }\n\n\
                #[derive(Deserialize)]\nstruct Branch {\n    tree: Box<Tree>,\n}\n\nstruct Other;";
    let types = definitions(Path::new("tree.rs"), text);
    assert_eq!(types.len(), 2);
    let tree = (PathBuf::from("tree.rs"), "Tree".to_owned());
    let branch = contained(&types, &tree);
    assert_eq!(contained(&types, &branch[0]), [tree]);
}

/// Every type outside tests that can be decoded, with the text of its fields.
fn types() -> BTreeMap<Key, String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![source];
    let mut types = BTreeMap::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let text = std::fs::read_to_string(&path).unwrap();
                types.extend(definitions(&path, text.split("#[cfg(test)]").next().unwrap()));
            }
        }
    }
    types
}

fn definitions(path: &Path, text: &str) -> BTreeMap<Key, String> {
    let uncommented: Vec<_> = text.lines().map(|line| line.split("//").next().unwrap()).collect();
    let text = uncommented.join("\n");
    let mut types = BTreeMap::new();
    for keyword in ["struct ", "enum "] {
        for (at, _) in text.match_indices(keyword) {
            let item = &text[at + keyword.len()..];
            let name: String = item.chars().take_while(|c| c.is_alphanumeric()).collect();
            let attributes = text[..at].rsplit("\n\n").next().unwrap();
            let by_hand = format!("Deserialize<'de> for {name}");
            if !attributes.contains("Deserialize") && !text.contains(&by_hand) {
                continue;
            }
            types.insert((path.to_owned(), name.clone()), body(&item[name.len()..]).to_owned());
        }
    }
    types
}

/// What stands between the brackets of an item, or before its semicolon.
fn body(item: &str) -> &str {
    let mut depth = 0_usize;
    let end = item.char_indices().find(|(_, c)| {
        match c {
            '{' | '(' => depth += 1,
            '}' | ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && matches!(c, '}' | ';')
    });
    &item[..end.map_or(item.len(), |(at, _)| at)]
}

/// The types that stand in the fields of a type: those of the module that is named before them,
/// else those of the same file, else all of that name.
fn contained(types: &BTreeMap<Key, String>, key: &Key) -> Vec<Key> {
    let words: Vec<_> = types[key].split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let mut found = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let module = at.checked_sub(2).filter(|_| words[at - 1].is_empty()).map(|at| words[at]);
        let named: Vec<_> = types.keys().filter(|other| other.1 == *word).collect();
        let qualified = |other: &&&Key| {
            module.is_some_and(|module| other.0.file_stem().is_some_and(|stem| stem == module))
        };
        let here = |other: &&&Key| other.0 == key.0;
        let chosen: Vec<_> = match named.iter().find(qualified).or_else(|| named.iter().find(here))
        {
            Some(one) => vec![(*one).clone()],
            None => named.into_iter().cloned().collect(),
        };
        found.extend(chosen);
    }
    found
}
