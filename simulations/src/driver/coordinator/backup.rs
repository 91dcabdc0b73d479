//! A backup of the store, the restoring of it, and the state that a client gives back afterwards.

use roundelay_protocol::ids::ModelVersion;

use super::*;

/// A backup is taken of the store that first holds this version.
const BACKUP_AT: ModelVersion = ModelVersion(1);

impl Coordinator {
    /// The first store that holds a model stays as a backup.
    pub(super) fn back_up(&mut self) {
        let made = self.rows.progress.as_ref().is_some_and(|it| it.version >= BACKUP_AT);
        if self.restores && made && self.backup.is_none() && !self.restored {
            self.backup = Some(self.rows.clone());
        }
    }

    /// Whether the backup is older than the newest model by some versions.
    #[must_use]
    pub fn is_to_be_restored(&self) -> bool {
        let newest = self.rows.progress.as_ref().map(|progress| progress.version.0);
        let backup = self.backup.as_ref().and_then(|rows| Some(rows.progress.as_ref()?.version.0));
        !self.restored && newest.zip(backup).is_some_and(|(newest, backup)| newest >= backup + 2)
    }

    /// The process dies, and comes back with the backup for a store.
    pub fn restore(&mut self, turn: &mut Turn<'_>) {
        self.restored = true;
        turn.watch.see(turn.now, &Observed::Restored);
        self.die(turn);
    }

    /// Stores a state that a client gave back, if it is the one that was asked for.
    pub(super) fn given(&mut self, bytes: &Arc<[u8]>) -> Option<bool> {
        let life = self.life.as_mut()?;
        let asked = life.asked.take()?;
        let state = lineage::State::from_bytes(self.population.task(), bytes).ok()?;
        if state.hash() != asked.state {
            return None;
        }
        let (blob, aggregate) = (Some(self.rows.put(bytes)), Digest([0; 32]));
        life.results.insert(asked.round, Stored { state: blob, aggregate });
        let standardised = state.standardisation().is_some();
        life.model = Arc::new(state);
        Some(standardised)
    }
}
