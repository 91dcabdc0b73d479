//! A manifest as its tenant looks at it before signing: who is in, what is promised, what is
//! learned, with fingerprints to compare by another channel.

use std::collections::BTreeSet;

use roundelay_protocol::ids::ClientId;
use roundelay_protocol::manifest::{
    AmendmentRule, AncestryError, CoordinatorTrust, Manifest, OwnEntry, Pinned, SignedManifest,
    Standing, Task, readable,
};
use roundelay_protocol::model::ModelSpec;
use roundelay_protocol::schema::Schema;
use serde_json::{Value, json};

use super::difference::Difference;
use crate::checkpoint::pins::Pins;
use roundelay_program::tell;

/// A manifest with what this client knows about it.
pub(super) struct Shown {
    signed: SignedManifest,
    standing: Option<Standing>,
    /// Why it must not be signed, if so.
    fault: Option<String>,
    /// What this client has agreed to.
    agreement: Agreement,
    /// What it changes of the manifest that this client has pinned.
    changes: Option<Difference>,
    /// Whose fingerprints were compared by another channel.
    compared: BTreeSet<ClientId>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Agreement {
    None,
    Older,
    Signed,
    InForce,
}

impl Agreement {
    fn word(self) -> &'static str {
        match self {
            Self::None => "not signed by this tenant's client yet",
            Self::Older => "amends the one that this client has pinned; not signed yet",
            Self::Signed => "signed and pinned here; waiting for the others",
            Self::InForce => "in force here",
        }
    }
}

impl Shown {
    /// `predecessor` is what it amends, where that is at hand and verified, or why it is not.
    pub(super) fn new(
        signed: SignedManifest,
        predecessor: Result<Option<&Manifest>, &AncestryError>,
        pins: &Pins,
        own: &OwnEntry,
        compared: BTreeSet<ClientId>,
    ) -> Self {
        let hash = signed.manifest.hash();
        let in_force = pins.in_force.as_ref();
        let agreement = if in_force.map(Pinned::hash) == Some(hash) {
            Agreement::InForce
        } else if pins.next() == Some(hash) {
            Agreement::Signed
        } else if in_force.is_some() {
            Agreement::Older
        } else {
            Agreement::None
        };
        let before = in_force.filter(|_| agreement != Agreement::InForce).map(Pinned::manifest);
        let changes = before.map(|before| Difference::between(before, &signed.manifest));
        let fault = match predecessor {
            Err(why) => Some(why.to_string()),
            Ok(predecessor) if leaves(own, predecessor, &signed.manifest) => None,
            Ok(_) => own.check(&signed.manifest).err().map(|error| error.to_string()),
        };
        // One in force was verified against its predecessor, which need not be at hand any more.
        let standing = predecessor.ok().and_then(|it| signed.standing(it).ok());
        Self { signed, standing, fault, agreement, changes, compared }
    }

    pub(super) fn to_json(&self) -> Value {
        let Manifest { federation, name, version, predecessor, owner, members, rules, task } =
            &self.signed.manifest;
        let members: Vec<Value> = members
            .iter()
            .map(|member| {
                let clients = member.clients.iter().map(|key| key.fingerprint().to_string());
                json!({
                    "tenant": member.tenant,
                    "tenant_key": member.tenant_key.fingerprint().to_string(),
                    "clients": clients.collect::<Vec<_>>(),
                    "compared": member
                        .clients
                        .iter()
                        .map(|key| self.compared.contains(&ClientId(key.fingerprint())))
                        .collect::<Vec<_>>(),
                })
            })
            .collect();
        json!({
            "federation": federation.to_string(),
            "name": name,
            "version": version,
            "manifest": self.signed.manifest.hash().to_string(),
            "predecessor": predecessor.map(|hash| hash.to_string()),
            "owner": owner,
            "signed": self.agreement != Agreement::None && self.agreement != Agreement::Older,
            "in_force": self.agreement == Agreement::InForce,
            "fault": self.fault,
            "changes": self.changes.as_ref().map(Difference::to_json),
            "signatures": self.standing.as_ref().map(|it| it.signatures),
            "required": self.standing.as_ref().map(|it| it.required),
            "missing": self.standing.as_ref().map(|it| &it.missing),
            "members": members,
            "rules": rules,
            "task": task,
        })
    }
}

/// Whether this tenant is in the manifest before and not in this one any more.
pub(super) fn leaves(own: &OwnEntry, before: Option<&Manifest>, manifest: &Manifest) -> bool {
    let was_in = before.is_some_and(|before| before.member(&own.tenant).is_some());
    was_in && manifest.member(&own.tenant).is_none()
}

/// Prints it for people.
pub(super) fn print(shown: &Shown) {
    let manifest = &shown.signed.manifest;
    tell!("federation   {} ({})", manifest.name, manifest.federation);
    tell!("manifest     version {}, {}", manifest.version, shown.agreement.word());
    tell!("             {}", readable(&manifest.hash()));
    if let Some(standing) = &shown.standing {
        let missing: Vec<&str> = standing.missing.iter().map(|it| it.as_str()).collect();
        let waits = if missing.is_empty() {
            "complete".to_owned()
        } else {
            format!("waiting for {}", missing.join(", "))
        };
        tell!("signatures   {} of {}; {waits}", standing.signatures, standing.required);
    }
    if let Some(fault) = &shown.fault {
        tell!("DO NOT SIGN  {fault}");
    }
    if let Some(changes) = &shown.changes {
        tell!("changes      of the manifest that is pinned here:");
        changes.lines().iter().for_each(|line| tell!("  {line}"));
    }
    print_members(manifest, &shown.compared);
    print_rules(manifest);
    print_task(&manifest.task, manifest.client_count());
    tell!();
}

fn print_members(manifest: &Manifest, compared: &BTreeSet<ClientId>) {
    tell!("owner        {}", manifest.owner);
    tell!("members      compare these fingerprints with each tenant by another channel:");
    for member in &manifest.members {
        tell!("  {}", member.tenant);
        tell!("    tenant key {}", readable(&member.tenant_key.fingerprint()));
        for client in &member.clients {
            let fingerprint = client.fingerprint();
            let mark = if compared.contains(&ClientId(fingerprint)) { "  compared" } else { "" };
            tell!("    client     {}{mark}", readable(&fingerprint));
        }
    }
}

fn print_rules(manifest: &Manifest) {
    let (rules, clients) = (&manifest.rules, manifest.client_count());
    tell!("rules");
    tell!(
        "  coordinator  {}",
        match rules.coordinator {
            CoordinatorTrust::Malicious => "may lie and collude with clients",
            CoordinatorTrust::SemiHonest => "follows the protocol, and is curious",
        }
    );
    let floors = manifest.floors(clients);
    if let Ok(floors) = &floors {
        tell!(
            "  with all {clients} clients: {} may collude with it, a sum is over at least {}, \
             shares of {} open a mask",
            floors.corrupt(),
            floors.survivors_min(clients),
            floors.threshold()
        );
    }
    tell!("  clients_min  {} honest clients in every published sum", rules.clients_min);
    let share = f64::from(rules.dropout_permille) / 10.0;
    match floors.map(|floors| clients.saturating_sub(floors.survivors_min(clients).into())) {
        Ok(0) => {
            tell!("  dropouts     none: a round of all {clients} clients needs every one of them")
        }
        Ok(borne) => {
            tell!("  dropouts     {borne} of all {clients} clients, up to {share:.1} % of a round")
        }
        Err(_) => tell!("  dropouts     up to {share:.1} % of a round"),
    }
    tell!("  peers        {} pinned ones in every round at least", rules.pinned_peers_min);
    if rules.whole_groups {
        tell!("  groups       a dropout takes its whole fixed group with it");
    }
    tell!(
        "  amended by   {}",
        match rules.amendment {
            AmendmentRule::All => "every member and every newcomer",
            AmendmentRule::Majority => "more than half of the members, and every newcomer",
        }
    );
}

fn print_task(task: &Task, clients: usize) {
    tell!("task");
    match &task.schema {
        Schema::Table { columns, label, labels, standardise } => {
            let standardised = if *standardise { ", standardised together" } else { "" };
            tell!("  data         table of {} columns{standardised}", columns.len());
            tell!("  label        `{label}`: {}", labels.join(", "));
        }
        Schema::Images { channels, height, width, classes } => {
            tell!("  data         images of {channels} × {height} × {width}, {classes} classes")
        }
    }
    let parameters = task.model.parameter_count(&task.schema).unwrap_or(0);
    tell!("  model        {}, {parameters} parameters", model_name(&task.model));
    tell!("  optimiser    {}", words(&task.optimiser));
    tell!("  training     {}", words(&task.hyperparameters));
    tell!("  quantisation {}{}", words(&task.quantisation), step(task, clients));
    tell!("  rounds       {}", task.rounds);
}

/// To what a coordinate of an update is rounded. Private updates are rounded by their noise.
fn step(task: &Task, clients: usize) -> String {
    let clients = u32::try_from(clients).unwrap_or(u32::MAX);
    let levels = task.quantisation.levels(clients).filter(|_| task.privacy.is_none());
    let of = |levels| f64::from(task.quantisation.clip) / f64::from(levels);
    levels.map(|levels| format!(", in steps of {:.1e}", of(levels))).unwrap_or_default()
}

fn model_name(model: &ModelSpec) -> String {
    match model {
        ModelSpec::Softmax { .. } => "softmax regression".to_owned(),
        ModelSpec::Mlp { hidden, .. } => format!("mlp with hidden layers {hidden:?}"),
        ModelSpec::Cnn { channels, .. } => format!("cnn with channels {channels:?}"),
        ModelSpec::TorchScript { module, .. } => {
            format!("TorchScript module {}", readable(module))
        }
    }
}

/// A small configuration in one line: `learning_rate 0.1, momentum 0`.
pub(super) fn words(value: &impl serde::Serialize) -> String {
    fn flat(value: &Value) -> String {
        match value {
            Value::Object(fields) => {
                let fields = fields.iter().map(|(name, value)| format!("{name} {}", flat(value)));
                fields.collect::<Vec<_>>().join(", ")
            }
            // Numbers of a manifest are f32: their shortest form says what was written.
            Value::Number(number) => match number.as_f64() {
                #[expect(clippy::cast_possible_truncation, reason = "was an f32 before")]
                Some(float) if number.is_f64() => (float as f32).to_string(),
                _ => number.to_string(),
            },
            other => other.to_string(),
        }
    }
    serde_json::to_value(value).map(|value| flat(&value)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use roundelay_protocol::optimiser::OptimiserSpec;

    use super::*;

    #[test]
    fn numbers_are_shown_as_they_were_written() {
        let optimiser = OptimiserSpec::FedAvgM { learning_rate: 0.1, momentum: 0.9 };
        assert_eq!(words(&optimiser), "fedavgm learning_rate 0.1, momentum 0.9");
    }
}
