//! What people may have meant: the nearest known key for one that does not exist.

/// Shortens serde's "unknown field `x`, expected one of `a`, `b`" to the nearest known name; a
/// message without a near one, or of another kind, stays as it is.
#[must_use]
pub fn with_suggestion(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = message.starts_with("unknown field") || message.starts_with("unknown variant");
    let nearest = quoted.next().filter(|_| unknown).and_then(|wrong| {
        let near = quoted.map(|known| (distance(wrong, known), known));
        near.filter(|(far, known)| *far <= 1 + known.len() / 3).min()
    });
    match nearest {
        Some((_, known)) => {
            let what = message.split(", expected").next().unwrap_or(message);
            format!("{what}; did you mean `{known}`?")
        }
        None => message.to_owned(),
    }
}

/// Levenshtein distance: edits of one character between two words.
#[must_use]
pub fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut left = i + 1;
        let mut diagonal = i;
        for (cell, y) in row.iter_mut().skip(1).zip(b.chars()) {
            let substituted = diagonal + usize::from(x != y);
            diagonal = *cell;
            left = substituted.min(diagonal + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_counted_in_edits() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(distance("listen", "lisen"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("flaw", "lawn"), 2);
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest_or_with_all() {
        let message = "unknown field `thread`, expected one of `program`, `threads`";
        assert_eq!(with_suggestion(message), "unknown field `thread`; did you mean `threads`?");
        let message = "unknown field `banana`, expected one of `program`, `threads`";
        assert_eq!(with_suggestion(message), message);
        let message = "missing field `threads`";
        assert_eq!(with_suggestion(message), message);
    }
}
