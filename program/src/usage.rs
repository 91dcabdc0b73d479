//! What a command line says when it is wrong, the same for every program: one line for people, an
//! object for programs.

/// Whether arguments ask for JSON, though the command line as a whole may be nonsense.
pub(crate) fn wants_json(arguments: impl IntoIterator<Item = impl AsRef<str>>) -> bool {
    let mut before_is_output = false;
    arguments.into_iter().any(|argument| {
        let argument = argument.as_ref();
        let wants = argument == "--output=json" || (before_is_output && argument == "json");
        before_is_output = argument == "--output";
        wants
    })
}

/// A parser's paragraphs as one line: what is wrong, what may be meant, and how the verb is used.
pub(crate) fn one_line(rendered: &str) -> String {
    let whole = rendered.strip_prefix("error: ").unwrap_or(rendered);
    let paragraphs = whole.split("\n\n").filter(|text| !text.starts_with("For more information"));
    let lines: Vec<String> = paragraphs
        .map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|text| !text.is_empty())
        .map(|text| match text.strip_prefix("Usage: ") {
            Some(usage) => format!("usage: {usage}"),
            None => text,
        })
        .collect();
    lines.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_wanted_in_both_spellings_and_never_by_chance() {
        assert!(wants_json(["serve", "--output", "json"]) && wants_json(["--output=json", "x"]));
        assert!(!wants_json(["json", "--output"]) && !wants_json(["--output", "human", "json"]));
    }

    #[test]
    fn a_parsers_paragraphs_become_one_line() {
        let rendered = "error: the following required arguments were not provided:\n  <NAME>\n\n\
                        Usage: roundelay-client manifest sign <NAME>\n\n\
                        For more information, try '--help'.\n";
        assert_eq!(
            one_line(rendered),
            "the following required arguments were not provided: <NAME>; \
             usage: roundelay-client manifest sign <NAME>"
        );
        let rendered = "error: unrecognized subcommand 'tennant'\n\n  tip: a similar subcommand \
                        exists: 'tenant'\n\nUsage: x <COMMAND>\n\nFor more information, try it";
        assert_eq!(
            one_line(rendered),
            "unrecognized subcommand 'tennant'; tip: a similar subcommand exists: 'tenant'; \
             usage: x <COMMAND>"
        );
    }
}
