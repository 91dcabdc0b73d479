//! What the members agree on while the federation runs.

use super::*;
use crate::testing::{Change, amendment};

impl World {
    /// The members agree on more rounds.
    pub(in crate::engine::tests) fn amend(&mut self, rounds: u32) {
        let mut manifest = self.setup.terms.manifest().clone();
        manifest.predecessor = Some(manifest.hash());
        manifest.version += 1;
        manifest.task.rounds = rounds;
        self.set_manifest(manifest);
        self.tell(Event::Amended(Box::new(self.setup.clone())));
    }

    /// The members agree on others.
    pub(in crate::engine::tests) fn change(&mut self, change: Change) {
        let mut all = keys(self.clients.len() + 1);
        let spare = all.pop().unwrap();
        let (manifest, _) = amendment(self.setup.terms.manifest(), &all, &spare, change);
        self.set_manifest(manifest);
        if change != Change::Leave {
            let mut newcomer = TestClient::new(&self.setup.terms, &spare, 99);
            newcomer.pin(&all);
            self.clients.push(newcomer);
            self.connections.push(None);
        }
        self.tell(Event::Amended(Box::new(self.setup.clone())));
    }

    /// The first client that the manifest names gives its place to a newcomer, in another tenant's
    /// name all the while.
    pub(in crate::engine::tests) fn replace_first(&mut self) {
        let mut manifest = self.setup.terms.manifest().clone();
        let newcomer = keys(self.clients.len() + 1).pop().unwrap();
        let first = manifest.members.iter_mut().find(|member| {
            let first = member.clients.first().unwrap().fingerprint();
            self.clients.iter().take(4).any(|client| client.id == ClientId(first))
        });
        first.unwrap().clients = vec![newcomer.public()];
        (manifest.version, manifest.predecessor) = (manifest.version + 1, Some(manifest.hash()));
        self.set_manifest(manifest);
        // A seed of its own: two clients with the same keys would blame each other.
        let seed = 1_000 + self.clients.len() as u64;
        self.clients.push(TestClient::new(&self.setup.terms, &newcomer, seed));
        self.connections.push(None);
        self.tell(Event::Amended(Box::new(self.setup.clone())));
    }

    fn set_manifest(&mut self, manifest: Manifest) {
        let setup = Setup::new(manifest, self.setup.pace, self.setup.timing);
        self.superseded.push(std::mem::replace(&mut self.setup, setup));
    }
}
