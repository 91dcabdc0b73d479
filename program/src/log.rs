//! What a program logs: a level, or `target=level,…`.

/// The levels of a filter.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Refuses a filter of which a word is neither a level nor `target=level`. Parsed, such a word would
/// be a target of which everything is logged, and the log of a program with `log = "loud"` is empty.
///
/// # Errors
/// The word, and what may stand there.
pub fn check_filter(filter: &str) -> Result<(), String> {
    let is_level = |word: &&str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
    let words = filter.split(',').map(str::trim).filter(|word| !word.contains(['=', '[', ']']));
    match words.filter(|word| !word.is_empty()).find(|word| !is_level(word)) {
        Some(word) => Err(format!("`{word}` is no level; those are {}", LEVELS.join(", "))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_no_level_is_named_with_those_that_are() {
        for filter in ["info", "WARN,quinn=debug", "", "roundelay[client{id=1}]=trace,off"] {
            assert_eq!(check_filter(filter), Ok(()), "{filter}");
        }
        let words = "`loud` is no level; those are off, error, warn, info, debug, trace";
        assert_eq!(check_filter("info, loud"), Err(words.to_owned()));
    }
}
