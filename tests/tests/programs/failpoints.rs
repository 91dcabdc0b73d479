//! docs/failpoints.md names every failpoint in the code, and no other.

use std::collections::BTreeSet;
use std::path::Path;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/failpoints.md");

#[test]
fn the_page_of_failpoints_is_what_the_code_can_reach() {
    let page = std::fs::read_to_string(PAGE).expect("docs/failpoints.md");
    for (program, folder) in
        [("roundelay-coordinator", "coordinator"), ("roundelay-client", "client")]
    {
        let (_, section) = page.split_once(&format!("## {program}\n")).expect("a section");
        let section = section.split("\n## ").next().unwrap_or(section);
        let listed: BTreeSet<String> = section
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
            .map(str::to_owned)
            .collect();
        assert_eq!(listed, in_the_code(folder), "{program}");
    }
}

/// The names in `failpoint!(…)` and `reached(&[…])`, with what only a run can fill in upper case.
fn in_the_code(folder: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder).join("src");
    for text in texts(&source) {
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(&text);
        let code = code.lines().filter(|line| !line.trim().starts_with("//"));
        let code = code.collect::<Vec<_>>().join("\n");
        for (mark, end) in [("failpoint!(", ");"), ("reached(&[", "]")] {
            for rest in code.split(mark).skip(1) {
                let parts = rest.split(end).next().unwrap_or_default();
                if !parts.contains('"') {
                    continue; // the macro's own definition
                }
                names.insert(name_of(parts));
            }
        }
    }
    names
}

/// `"store", batch.name(), "before"` is `store.NAME.before`.
fn name_of(parts: &str) -> String {
    let part = |text: &str| match text.trim().strip_prefix('"') {
        Some(literal) => literal.trim_end_matches([')', '"']).to_owned(),
        None => text
            .trim()
            .rsplit('.')
            .next()
            .unwrap_or(text)
            .trim_end_matches(['(', ')'])
            .to_uppercase(),
    };
    parts.split(',').map(part).collect::<Vec<_>>().join(".")
}

fn texts(folder: &Path) -> Vec<String> {
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            texts.extend(texts_of(&path));
        } else if path.file_name().is_some_and(|name| name != "tests.rs" && name != "failpoint.rs")
        {
            texts.push(std::fs::read_to_string(&path).expect("text"));
        }
    }
    texts
}

fn texts_of(folder: &Path) -> Vec<String> {
    if folder.file_name().is_some_and(|name| name == "tests") { Vec::new() } else { texts(folder) }
}
