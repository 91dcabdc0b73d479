//! Words on a terminal, above all those from outside: a name that moves the cursor, clears a line or turns the
//! direction of writing could show other fingerprints than the ones that stand there.

use std::borrow::Cow;

/// Whether a text shows as it is written: no control characters, line breaks and overrides of the
/// direction of writing (Unicode UAX #9) included.
#[must_use]
pub fn is_plain(text: &str) -> bool {
    !text.contains(acts)
}

/// A text as it may be shown: what acts on a terminal is spelled out, as `\u{1b}`.
#[must_use]
pub fn shown(text: &str) -> Cow<'_, str> {
    if is_plain(text) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if acts(c) {
            plain.extend(c.escape_unicode());
        } else {
            plain.push(c);
        }
    }
    Cow::Owned(plain)
}

/// A number of things, as people count them: `1 round`, `2 rounds`.
#[must_use]
pub fn counted(count: u64, thing: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {thing}{s}")
}

fn acts(c: char) -> bool {
    let turns = matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    c.is_control() || turns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_a_terminal_is_spelled_out_and_letters_of_all_scripts_stay() {
        for text in ["", "ja / nein", "γλῶσσα", "日本語", "זן", "é", "👩\u{200d}🔬"]
        {
            assert!(is_plain(text) && shown(text) == text, "{text}");
        }
        for c in
            ['\u{1b}', '\n', '\r', '\t', '\u{7f}', '\u{9b}', '\u{202e}', '\u{2066}', '\u{2029}']
        {
            let text = format!("yes{c}[2K");
            assert!(!is_plain(&text), "{c:?}");
            assert_eq!(shown(&text), format!("yes{}[2K", c.escape_unicode()));
        }
    }

    #[test]
    fn one_thing_is_counted_without_an_s() {
        assert_eq!(
            [0, 1, 2].map(|count| counted(count, "round")),
            ["0 rounds", "1 round", "2 rounds"]
        );
    }
}
