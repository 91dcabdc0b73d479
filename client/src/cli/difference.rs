//! What an amendment changes of the manifest that this client has pinned: who joins, who leaves,
//! whose keys are others, which terms. A tenant signs the difference, so it is shown the difference.

use std::collections::BTreeMap;

use roundelay_crypto::identity::IdentityPublic;
use roundelay_protocol::ids::TenantId;
use roundelay_protocol::manifest::{Manifest, Member, readable};
use serde_json::{Value, json};

/// The changes from one manifest to the next, in the order of the tenants' names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    joins: Vec<Member>,
    leaves: Vec<TenantId>,
    keys: Vec<KeyChange>,
    terms: Vec<TermChange>,
}

/// Other keys of a tenant that stays.
#[derive(Debug, Clone, PartialEq, Eq)]
struct KeyChange {
    tenant: TenantId,
    /// Before and after, where it differs.
    tenant_key: Option<(IdentityPublic, IdentityPublic)>,
    removed: Vec<IdentityPublic>,
    added: Vec<IdentityPublic>,
}

/// A value of the rules or the task.
#[derive(Debug, Clone, PartialEq, Eq)]
struct TermChange {
    /// Such as `rules.clients_min`.
    name: String,
    before: String,
    after: String,
}

impl Difference {
    pub(super) fn between(before: &Manifest, after: &Manifest) -> Self {
        let stays = |member: &&Member| before.member(&member.tenant).is_some();
        let gone = before.members.iter().filter(|it| after.member(&it.tenant).is_none());
        let keys = after.members.iter().filter_map(|member| {
            let earlier = before.member(&member.tenant)?;
            KeyChange::between(earlier, member)
        });
        Self {
            joins: after.members.iter().filter(|it| !stays(it)).cloned().collect(),
            leaves: gone.map(|member| member.tenant.clone()).collect(),
            keys: keys.collect(),
            terms: terms(before, after),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let hex = |keys: &[IdentityPublic]| -> Vec<String> {
            keys.iter().map(|key| key.fingerprint().to_string()).collect()
        };
        let joins = self.joins.iter().map(|member| {
            let tenant_key = member.tenant_key.fingerprint().to_string();
            json!({
                "tenant": member.tenant, "tenant_key": tenant_key, "clients": hex(&member.clients)
            })
        });
        let keys = self.keys.iter().map(|change| {
            let tenant_key = change.tenant_key.map(|(before, after)| {
                let text = |key: IdentityPublic| key.fingerprint().to_string();
                json!({ "before": text(before), "after": text(after) })
            });
            json!({
                "tenant": change.tenant,
                "tenant_key": tenant_key,
                "clients_removed": hex(&change.removed),
                "clients_added": hex(&change.added),
            })
        });
        let terms = self.terms.iter().map(|TermChange { name, before, after }| {
            json!({ "name": name, "before": before, "after": after })
        });
        json!({
            "joins": joins.collect::<Vec<_>>(),
            "leaves": self.leaves,
            "keys": keys.collect::<Vec<_>>(),
            "terms": terms.collect::<Vec<_>>(),
        })
    }

    /// One line for each change, for people.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for member in &self.joins {
            lines.push(format!("{} joins", member.tenant));
            lines.push(format!("    tenant key {}", readable(&member.tenant_key.fingerprint())));
            lines.extend(member.clients.iter().map(|key| client("client", key)));
        }
        lines.extend(self.leaves.iter().map(|tenant| format!("{tenant} leaves")));
        for change in &self.keys {
            lines.push(format!("{} has other keys", change.tenant));
            if let Some((before, after)) = &change.tenant_key {
                lines.push(format!("    tenant key {}", readable(&before.fingerprint())));
                lines.push(format!("    is now     {}", readable(&after.fingerprint())));
            }
            lines.extend(change.removed.iter().map(|key| client("without", key)));
            lines.extend(change.added.iter().map(|key| client("with   ", key)));
        }
        lines.extend(
            self.terms.iter().map(|it| format!("{}: {} → {}", it.name, it.before, it.after)),
        );
        lines
    }
}

fn client(word: &str, key: &IdentityPublic) -> String {
    format!("    {word:<10} {}", readable(&key.fingerprint()))
}

impl KeyChange {
    fn between(before: &Member, after: &Member) -> Option<Self> {
        let lacking = |of: &Member, from: &Member| -> Vec<IdentityPublic> {
            of.clients.iter().filter(|key| !from.clients.contains(key)).copied().collect()
        };
        let change = Self {
            tenant: after.tenant.clone(),
            tenant_key: (before.tenant_key != after.tenant_key)
                .then_some((before.tenant_key, after.tenant_key)),
            removed: lacking(before, after),
            added: lacking(after, before),
        };
        let is_any =
            change.tenant_key.is_some() || !change.removed.is_empty() || !change.added.is_empty();
        is_any.then_some(change)
    }
}

fn terms(before: &Manifest, after: &Manifest) -> Vec<TermChange> {
    let (before, after) = (values(before), values(after));
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    let shown = |value: Option<&String>| value.cloned().unwrap_or_else(|| "nothing".to_owned());
    names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name))
        .map(|name| TermChange {
            name: name.clone(),
            before: shown(before.get(name)),
            after: shown(after.get(name)),
        })
        .collect()
}

/// Every single value of rules and task, by its path.
fn values(manifest: &Manifest) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let name = json!(manifest.name);
    let rules = serde_json::to_value(&manifest.rules).unwrap_or_default();
    let task = serde_json::to_value(&manifest.task).unwrap_or_default();
    for (path, value) in [("name", name), ("rules", rules), ("task", task)] {
        collect(path, &value, &mut found);
    }
    found
}

fn collect(path: &str, value: &Value, found: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                collect(&format!("{path}.{name}"), value, found);
            }
        }
        other => {
            found.insert(path.to_owned(), super::show::words(other));
        }
    }
}

#[cfg(test)]
mod tests {
    use roundelay_crypto::identity::IdentityKey;
    use roundelay_crypto::secret::Secret;
    use roundelay_protocol::testing::manifest;

    use super::*;

    fn key(seed: u8) -> IdentityPublic {
        IdentityKey::from_seed(Secret::new([seed; 32])).public()
    }

    fn member(name: &str, tenant_key: u8, client: u8) -> Member {
        Member {
            tenant: name.parse().unwrap(),
            tenant_key: key(tenant_key),
            clients: vec![key(client)],
        }
    }

    #[test]
    fn every_change_of_members_keys_and_terms_is_named_and_nothing_else() {
        let before =
            manifest(vec![member("acme", 1, 11), member("bank", 2, 12), member("care", 3, 13)]);
        let mut after =
            manifest(vec![member("acme", 1, 21), member("bank", 9, 12), member("dune", 4, 14)]);
        after.rules.clients_min = 4;
        after.task.hyperparameters.learning_rate = 0.05;
        let changes = Difference::between(&before, &after).to_json();
        let hex = |seed| key(seed).fingerprint().to_string();
        let expected = json!({
            "joins": [{ "tenant": "dune", "tenant_key": hex(4), "clients": [hex(14)] }],
            "leaves": ["care"],
            "keys": [
                {
                    "tenant": "acme", "tenant_key": null,
                    "clients_removed": [hex(11)], "clients_added": [hex(21)],
                },
                {
                    "tenant": "bank",
                    "tenant_key": { "before": hex(2), "after": hex(9) },
                    "clients_removed": [], "clients_added": [],
                },
            ],
            "terms": [
                { "name": "rules.clients_min", "before": "3", "after": "4" },
                {
                    "name": "task.hyperparameters.learning_rate",
                    "before": "0.1", "after": "0.05",
                },
            ],
        });
        assert_eq!(changes, expected);
        let lines = Difference::between(&before, &after).lines().join("\n");
        for part in ["dune joins", "care leaves", "acme has other keys", "clients_min: 3 → 4"] {
            assert!(lines.contains(part), "{lines}");
        }
        assert!(!lines.contains(&readable(&key(3).fingerprint())), "{lines}");
        assert!(Difference::between(&before, &before).lines().is_empty());
    }
}
