//! The masked vectors of a federation's rounds, as long as those rounds may still ask for them.

use std::collections::BTreeMap;

use roundelay_protocol::ids::RoundNumber;
use tokio::task::spawn_blocking;

use crate::checkpoint::FederationDir;
use crate::outbound::MaskedVector;

pub(super) struct Vectors {
    dir: FederationDir,
    durable: BTreeMap<RoundNumber, MaskedVector>,
}

impl Vectors {
    pub(super) fn new(dir: FederationDir) -> Self {
        Self { dir, durable: BTreeMap::new() }
    }

    /// Keeps the vector of a round that is alive. One whose round ended while it was stored is
    /// removed: nobody would forget it later.
    pub(super) fn stored(&mut self, round: RoundNumber, vector: MaskedVector, alive: bool) {
        self.durable.insert(round, vector);
        if !alive {
            self.forget(round);
        }
    }

    pub(super) fn of(&self, round: RoundNumber) -> Option<MaskedVector> {
        self.durable.get(&round).cloned()
    }

    /// The round is over.
    pub(super) fn forget(&mut self, round: RoundNumber) {
        if self.durable.remove(&round).is_some() {
            let dir = self.dir.clone();
            spawn_blocking(move || dir.forget_masked(round));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use roundelay_protocol::ids::FederationId;

    use super::*;
    use crate::checkpoint::StateDir;
    use crate::engine::work::Masked;

    #[tokio::test]
    async fn a_vector_that_was_stored_after_the_end_of_its_round_is_gone_from_memory_and_disk() {
        let root = tempfile::tempdir().unwrap();
        let dir = StateDir::create(root.path()).unwrap().federation(FederationId([7; 16])).unwrap();
        let mut vectors = Vectors::new(dir.clone());
        let store = |round| dir.store_masked(&Masked::of_words(round, vec![1; 100])).unwrap();
        let (alive, over) = (RoundNumber(4), RoundNumber(3));
        let late = store(over);
        vectors.stored(alive, store(alive), true);
        vectors.stored(over, late.clone(), false);
        assert!(vectors.of(over).is_none());
        for _ in 0..500 {
            if !late.path.exists() {
                assert!(vectors.of(alive).unwrap().path.exists());
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it is still on the disk");
    }
}
