//! Which peers' fingerprints the tenant says it has compared by another channel.

use std::collections::BTreeSet;

use roundelay_protocol::ids::ClientId;
use roundelay_protocol::manifest::{Manifest, OwnEntry};

use super::CliError;

/// The clients that are meant by `all`, by names of members and by fingerprints of clients.
pub(super) fn named(manifest: &Manifest, who: &[String]) -> Result<BTreeSet<ClientId>, CliError> {
    let mut found = BTreeSet::new();
    for who in who {
        let digits: String = who.split_whitespace().collect();
        let meant: Vec<ClientId> = manifest
            .clients()
            .filter(|client| {
                let fingerprint = client.id.to_string();
                who == "all" || who == client.tenant.as_str() || digits == fingerprint
            })
            .map(|client| client.id)
            .collect();
        if meant.is_empty() {
            let members = manifest.members.iter().map(|it| it.tenant.to_string());
            return Err(CliError::NoSuchPeer { wanted: who.clone(), members: members.collect() });
        }
        found.extend(meant);
    }
    Ok(found)
}

/// How many of this client's peers are among them, and how many peers it has.
pub(crate) fn peers(
    manifest: &Manifest,
    own: &OwnEntry,
    compared: &BTreeSet<ClientId>,
) -> (usize, usize) {
    let own = own.identity.fingerprint();
    let peers: Vec<ClientId> =
        manifest.clients().map(|client| client.id).filter(|id| id.0 != own).collect();
    (peers.iter().filter(|id| compared.contains(id)).count(), peers.len())
}

/// Refuses to go on with fewer compared peers than a round has to have.
pub(super) fn check(
    manifest: &Manifest,
    own: &OwnEntry,
    compared: &BTreeSet<ClientId>,
) -> Result<(), CliError> {
    let required = manifest.rules.pinned_peers_min;
    let (compared, _) = peers(manifest, own, compared);
    if compared >= usize::from(required) {
        return Ok(());
    }
    Err(CliError::TooFewCompared { required, compared })
}

#[cfg(test)]
mod tests {
    use roundelay_protocol::manifest::readable;

    use super::*;
    use crate::engine::tests::world::manifest_of;

    #[test]
    fn peers_are_meant_by_all_by_tenant_and_by_fingerprint_and_nonsense_is_named() {
        let manifest = &manifest_of(4);
        let clients: Vec<_> = manifest.clients().collect();
        let meant = |who: &[&str]| {
            named(manifest, &who.iter().map(|who| (*who).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(meant(&["all"]).unwrap().len(), 4);
        assert!(meant(&[]).unwrap().is_empty());
        let (one, two) = (&clients[1], &clients[2]);
        let both = BTreeSet::from([one.id, two.id]);
        let hex = two.id.to_string();
        assert_eq!(meant(&[one.tenant.as_str(), &hex, &hex]).unwrap(), both);
        assert_eq!(meant(&[one.tenant.as_str(), &readable(&two.id.0)]).unwrap(), both);
        let error = meant(&["nobody"]).unwrap_err().to_string();
        assert!(error.contains("`nobody`") && error.contains(one.tenant.as_str()), "{error}");
    }

    #[test]
    fn a_manifest_that_wants_more_pinned_peers_than_were_compared_is_one_clear_line() {
        let manifest = &manifest_of(4);
        let clients: Vec<_> = manifest.clients().collect();
        let own = OwnEntry {
            tenant: clients[0].tenant.clone(),
            tenant_key: manifest.members[0].tenant_key,
            identity: *clients[0].identity,
        };
        assert_eq!(manifest.rules.pinned_peers_min, 2);
        // Oneself is no peer.
        let compared = BTreeSet::from([clients[0].id, clients[1].id]);
        let error = check(manifest, &own, &compared).unwrap_err().to_string();
        assert!(error.contains("at least 2") && error.contains("of 1 "), "{error}");
        assert!(error.contains("--compared") && !error.contains('\n'), "{error}");
        let compared = BTreeSet::from([clients[3].id, clients[1].id]);
        check(manifest, &own, &compared).unwrap();
        assert_eq!(peers(manifest, &own, &compared), (2, 3));
    }
}
