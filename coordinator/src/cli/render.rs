//! Answers as people read them.

use serde_json::Value;

use crate::admin::{
    Answer, ClientView, FederationView, LeftView, ModelView, RoundView, StatusView,
};

/// An answer in lines, each with its end.
#[must_use]
pub(super) fn render(answer: &Answer) -> String {
    match answer {
        Answer::Tenants(rows) => table(
            &["TENANT", "CLIENTS", "SINCE"],
            rows.iter()
                .map(|row| vec![row.tenant.clone(), row.clients.to_string(), row.created.clone()]),
        ),
        // The token alone, so that it can be piped; what is to know about it stands in the help.
        Answer::Token(token) => format!("{}\n", token.token),
        Answer::Clients(rows) => clients(rows),
        Answer::Revoked(row) => format!("client {} of {} is revoked\n", row.client, row.tenant),
        Answer::Federation(row) => federation(row),
        Answer::Federations(rows) => federations(rows),
        Answer::Status(status) => self::status(status),
        Answer::Rounds(rows) => rounds(rows),
        Answer::Models(rows) => models(rows),
        Answer::Exported { version, file, bytes } => {
            format!("version {version} written to {} ({bytes} bytes)\n", file.display())
        }
        Answer::Audit(rows) => table(
            &["TENANT", "ENTRIES", "HEAD"],
            rows.iter()
                .map(|row| vec![row.tenant.clone(), row.entries.to_string(), row.head.clone()]),
        ),
    }
}

fn clients(rows: &[ClientView]) -> String {
    let columns = ["TENANT", "CLIENT", "STATE", "CONNECTED", "CERTIFICATE UNTIL"];
    let cells = rows.iter().map(|row| {
        let connected = if row.connected { "yes" } else { "no" };
        vec![
            row.tenant.clone(),
            row.client.clone(),
            row.state.clone(),
            connected.to_owned(),
            or_dash(row.certificate_until.as_ref()),
        ]
    });
    table(&columns, cells)
}

fn federation(row: &FederationView) -> String {
    let mut text = format!(
        "federation {} ({}) of {}: {}\nmanifest version {} {}\n{} clients, {} of {} signatures\n",
        row.name,
        row.federation,
        row.owner,
        row.state,
        row.manifest_version,
        row.manifest,
        row.clients,
        row.signatures,
        row.required,
    );
    if !row.missing.is_empty() {
        text.push_str(&format!("waiting for signatures of {}\n", row.missing.join(", ")));
    }
    text
}

fn federations(rows: &[FederationView]) -> String {
    let columns = ["NAME", "ID", "OWNER", "STATE", "CLIENTS", "SIGNED"];
    let cells = rows.iter().map(|row| {
        vec![
            row.name.clone(),
            row.federation.clone(),
            row.owner.clone(),
            row.state.clone(),
            row.clients.to_string(),
            format!("{}/{}", row.signatures, row.required),
        ]
    });
    table(&columns, cells)
}

fn status(status: &StatusView) -> String {
    let mut text = federation(&status.federation);
    if !status.coordinator_running {
        text.push_str("no coordinator runs on this data folder\n");
    }
    if let Some(trouble) = &status.trouble {
        text.push_str(&format!("not driven now: {trouble}\n"));
    }
    for (name, key) in ENGINE_FACTS {
        let value = &status.engine[key];
        if has_something_to_say(value) {
            text.push_str(&format!("{name}: {}\n", in_words(value)));
        }
    }
    if let Some(model) = &status.model {
        text.push_str(&models(std::slice::from_ref(model)));
    }
    if let Some(round) = &status.last_round {
        text.push_str(&rounds(std::slice::from_ref(round)));
    }
    text
}

/// What an engine says beyond the rows of model and round, in the order in which people ask.
const ENGINE_FACTS: [(&str, &str); 10] = [
    ("clients that are there", "ready"),
    ("waiting for", "waiting"),
    ("does not go on because", "reason"),
    ("round in training", "training"),
    ("round in preparation", "ahead"),
    ("rounds failed in a row", "failed"),
    ("training rounds in the task", "rounds"),
    ("privacy budget", "privacy"),
    ("expelled", "expelled"),
    ("declined", "declined"),
];

fn has_something_to_say(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::Number(number) => number.as_u64() != Some(0),
        _ => true,
    }
}

fn in_words(value: &Value) -> String {
    match value {
        Value::String(word) => word.replace('_', " "),
        Value::Array(items) => items.iter().map(in_words).collect::<Vec<_>>().join("; "),
        Value::Object(facts) => {
            let told = facts.iter().filter(|(_, value)| has_something_to_say(value));
            let told = told.map(|(key, value)| match (key.as_str(), in_words(value)) {
                // What is waited for follows its title.
                ("for", words) => words,
                (key, words) => format!("{} {words}", key.replace('_', " ")),
            });
            told.collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

fn rounds(rows: &[RoundView]) -> String {
    let columns =
        ["ROUND", "KIND", "MODEL", "STATE", "COHORT", "SURVIVORS", "DROPOUTS", "MS", "BEGAN"];
    let cells = rows.iter().map(|row| {
        let state = match &row.reason {
            Some(reason) => format!("{}: {reason}", row.state),
            None => row.state.clone(),
        };
        vec![
            row.round.to_string(),
            or_dash(row.kind.as_ref()),
            or_dash(row.model_version.as_ref()),
            state,
            row.cohort.to_string(),
            row.survivors.to_string(),
            row.dropouts.to_string(),
            or_dash(row.took_ms.as_ref()),
            row.began.clone(),
        ]
    });
    let mut text = table(&columns, cells);
    for row in rows {
        for LeftView { client, how, reason } in &row.left {
            text.push_str(&format!("round {}: client {client} {how}: {reason}\n", row.round));
        }
    }
    text
}

fn models(rows: &[ModelView]) -> String {
    let columns = ["VERSION", "ROUND", "SURVIVORS", "ACCURACY", "LOSS", "ROWS", "KEPT", "STATE"];
    let cells = rows.iter().map(|row| {
        vec![
            row.version.to_string(),
            or_dash(row.round.as_ref()),
            row.survivors.to_string(),
            or_dash(row.accuracy.map(|value| format!("{value:.4}")).as_ref()),
            or_dash(row.loss.map(|value| format!("{value:.4}")).as_ref()),
            or_dash(row.evaluated_rows.as_ref()),
            if row.kept { "yes" } else { "pruned" }.to_owned(),
            row.state.clone(),
        ]
    });
    let mut text = table(&columns, cells);
    text.extend(pruned_models(rows));
    text
}

/// Says in one line which of the listed versions can't be exported any more.
fn pruned_models(rows: &[ModelView]) -> Option<String> {
    let gone = rows.iter().filter(|row| !row.kept);
    let gone: Vec<u64> = gone.map(|row| row.version).collect();
    let which = match gone[..] {
        [] => return None,
        [one] => format!("version {one} was"),
        [first, .., last] => format!("versions {first} to {last} were"),
    };
    let kept = rows.iter().filter(|row| row.kept && row.version > 0).count();
    Some(format!(
        "{which} pruned; the coordinator keeps version 0 and the newest {kept}, see \
         `rounds.versions_kept` in coordinator.toml\n"
    ))
}

fn or_dash(value: Option<&impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), ToString::to_string)
}

/// Left-aligned columns two blanks apart.
fn table(columns: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let head: Vec<String> = columns.iter().map(|&name| name.to_owned()).collect();
    let lines: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let width = |at: usize| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        let cells: Vec<String> = cells.collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}
