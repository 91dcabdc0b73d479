//! The peers of a federation whose fingerprints this tenant has compared by another channel. Only
//! these count for `pinned_peers_min`: a coordinator that invents members can't invent them.

use std::collections::BTreeSet;

use roundelay_protocol::codec;
use roundelay_protocol::ids::ClientId;

use super::files::{Access, Kind, read_sealed, write_sealed};
use super::{CheckpointError, FederationDir};

const COMPARED: Kind = Kind { name: "compared", format: 1 };
/// Bytes of the list at most.
const BYTES_MAX: usize = 1 << 20;

impl FederationDir {
    /// All that were compared so far, also for manifests of before.
    ///
    /// # Errors
    /// The file is damaged or newer.
    pub fn compared(&self) -> Result<BTreeSet<ClientId>, CheckpointError> {
        let path = self.path("compared");
        let Some(bytes) = read_sealed(&path, COMPARED, BYTES_MAX as u64)? else {
            return Ok(BTreeSet::new());
        };
        let clients: Vec<ClientId> = codec::decode(&bytes, BYTES_MAX)
            .map_err(|error| CheckpointError::damaged(&path, error.to_string()))?;
        Ok(clients.into_iter().collect())
    }

    /// Adds peers to those that were compared.
    ///
    /// # Errors
    /// It can't be written, or what is there can't be read.
    pub fn add_compared(&self, clients: &BTreeSet<ClientId>) -> Result<(), CheckpointError> {
        let before = self.compared()?;
        if clients.is_subset(&before) {
            return Ok(());
        }
        let all: Vec<ClientId> = before.union(clients).copied().collect();
        write_sealed(&self.path("compared"), COMPARED, Access::Plain, &codec::encode(&all))
    }
}

#[cfg(test)]
mod tests {
    use roundelay_crypto::digest::Digest;
    use roundelay_protocol::ids::FederationId;

    use super::*;
    use crate::checkpoint::StateDir;

    #[test]
    fn what_was_compared_is_kept_and_added_to() {
        let root = tempfile::tempdir().unwrap();
        let dir = StateDir::create(root.path()).unwrap().federation(FederationId([7; 16])).unwrap();
        let client = |number| ClientId(Digest([number; 32]));
        assert!(dir.compared().unwrap().is_empty(), "nothing is taken for compared by itself");
        dir.add_compared(&BTreeSet::from([client(1)])).unwrap();
        dir.add_compared(&BTreeSet::from([client(2), client(1)])).unwrap();
        assert_eq!(dir.compared().unwrap(), BTreeSet::from([client(1), client(2)]));
    }
}
