use clap::CommandFactory;
use clap::error::ErrorKind;

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("roundelay-coordinator").chain(line.split_whitespace()))
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_verb_parses_with_options_before_and_behind_it() {
    let client = "ab".repeat(32);
    let lines = [
        "serve".to_owned(),
        "serve --listen [::]:0 --config c.toml".to_owned(),
        "tenant add acme".to_owned(),
        "tenant list --output json".to_owned(),
        "enrol-token --tenant acme --minutes 5 --address fl.example.org:4433".to_owned(),
        "client list".to_owned(),
        format!("client revoke --tenant acme {client}"),
        "federation create --name f --owner a --members a,b,c --task t.toml --clients-min 2"
            .to_owned(),
        "federation amend f --members a,b,c,d --task t.toml".to_owned(),
        "federation start f --initial m.safetensors".to_owned(),
        "federation stop f".to_owned(),
        "federation status f".to_owned(),
        "federation list".to_owned(),
        "rounds f".to_owned(),
        "model list f".to_owned(),
        "model export f --version 3 --to m.safetensors".to_owned(),
        "audit verify --tenant acme".to_owned(),
        "parameters --clients 1000 --dropout 0.1 --corrupt 0.1 --malicious".to_owned(),
        "parameters --clients 1000 --dropout 0.1 --semi-honest --ring-bits 16".to_owned(),
    ];
    for line in lines {
        for line in
            [line.clone(), format!("--data d --output json {line}"), format!("{line} --data d")]
        {
            if line.matches("--output").count() == 1 || !line.contains("--output") {
                assert!(parse(&line).is_ok(), "{line}: {}", parse(&line).unwrap_err());
            }
        }
    }
}

#[test]
fn members_are_split_at_commas() {
    let cli = parse("federation create --name f --owner a --members a,b --task t.toml").unwrap();
    let Verb::Federation(FederationVerb::Create(create)) = cli.verb else { panic!("another verb") };
    assert_eq!(create.members.iter().map(TenantId::as_str).collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn nonsense_is_refused_by_name() {
    let cases = [
        ("", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
        ("tennant list", ErrorKind::InvalidSubcommand),
        ("tenant add Bad_Name", ErrorKind::ValueValidation),
        ("tenant add", ErrorKind::MissingRequiredArgument),
        ("client revoke --tenant a abc", ErrorKind::ValueValidation),
        ("serve --listen nowhere", ErrorKind::ValueValidation),
        ("tenant list --output yaml", ErrorKind::InvalidValue),
        ("rounds", ErrorKind::MissingRequiredArgument),
        ("federation create --name f --owner a --task t", ErrorKind::MissingRequiredArgument),
        ("parameters --clients 9 --dropout 0.1", ErrorKind::MissingRequiredArgument),
        (
            "parameters --clients 9 --dropout 0.1 --malicious --semi-honest",
            ErrorKind::ArgumentConflict,
        ),
        ("parameters --clients 70000 --dropout 0.1 --malicious", ErrorKind::ValueValidation),
        (
            "parameters --clients 9 --dropout 0.1 --malicious --ring-bits 8",
            ErrorKind::ValueValidation,
        ),
    ];
    for (line, expected) in cases {
        assert_eq!(parse(line).unwrap_err().kind(), expected, "{line}");
    }
}

#[test]
fn parameters_are_told_in_words_of_what_can_go_wrong() {
    let ask = |coordinator| {
        crate::parameters::Question {
            coordinator,
            clients: 1000,
            corrupt: Some(0.1),
            dropout: 0.1,
            parameters: 1_000_000,
            ring_bits: 32,
        }
        .answer()
        .unwrap()
    };
    use roundelay_protocol::manifest::CoordinatorTrust::{Malicious, SemiHonest};
    let text = parameters::render(&ask(SemiHonest));
    assert!(text.contains("sparse graph: everybody shares masks with 96 others"), "{text}");
    assert!(text.contains("at most one round in 10^12 (2^-4"), "{text}");
    let text = parameters::render(&ask(Malicious));
    assert!(text.contains("complete graph") && text.contains("cannot happen"), "{text}");
    assert!(text.contains("1000 masks"), "{text}");
}
