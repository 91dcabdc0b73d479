//! Every verb says in a sentence what it does, takes `--output human|json`, and stands in
//! docs/commands.md.

use std::fmt::Write as _;

use clap::{Command, CommandFactory};
use roundelay_client::{cli as client, train::cli as trainer};
use roundelay_coordinator::cli as coordinator;
use roundelay_protocol::exit::HELP;

fn programs() -> [(Command, &'static str); 3] {
    [
        (coordinator::Cli::command(), HELP),
        (client::Arguments::command(), HELP),
        (trainer::Arguments::command(), HELP),
    ]
}

/// The verbs that do something, by their whole path.
fn leaves(command: &Command, path: &str, found: &mut Vec<(String, Command)>) {
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        let path = format!("{path} {}", verb.get_name()).trim().to_owned();
        if verb.has_subcommands() {
            leaves(verb, &path, found);
        } else {
            found.push((path, verb.clone()));
        }
    }
}

#[test]
fn every_verb_has_a_sentence_and_takes_output_human_or_json() {
    for (mut program, status) in programs() {
        program.build();
        let name = program.get_name().to_owned();
        assert!(
            program.clone().render_help().to_string().contains("Exit status: 0 done"),
            "{name}"
        );
        assert!(program.get_after_help().is_some_and(|text| text.to_string() == status), "{name}");
        let mut verbs = Vec::new();
        leaves(&program, "", &mut verbs);
        assert!(verbs.len() > 4, "{name}");
        for (path, verb) in
            verbs.iter().filter(|(path, _)| !path.split(' ').any(|word| word == "help"))
        {
            let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
            assert!(about.split(' ').count() > 1, "{name} {path}: `{about}`");
            let output = verb.get_arguments().find(|it| it.get_id() == "output");
            let output = output.unwrap_or_else(|| panic!("{name} {path} has no --output"));
            let values: Vec<String> =
                output.get_possible_values().iter().map(|it| it.get_name().to_owned()).collect();
            assert_eq!(values, ["human", "json"], "{name} {path}");
            for argument in verb.get_arguments().filter(|it| it.get_id() != "help") {
                let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
                assert!(!help.is_empty(), "{name} {path}: {} has no help", argument.get_id());
            }
        }
    }
}

#[test]
fn the_page_of_commands_lists_every_verb_and_every_exit_status() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/commands.md");
    let page = std::fs::read_to_string(page).expect("docs/commands.md");
    for (program, status) in programs() {
        let mut table = format!("## {}\n| verb | what it does |\n|---|---|\n", program.get_name());
        let mut verbs = Vec::new();
        leaves(&program, "", &mut verbs);
        for (path, verb) in verbs {
            let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
            writeln!(table, "| `{path}` | {about} |").expect("text");
        }
        writeln!(table, "\n{}.", status).expect("text");
        assert!(page.contains(&table), "docs/commands.md should say\n{table}");
    }
}
