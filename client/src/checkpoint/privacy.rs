//! What was released over each data set of this client, by whatever federation: the file `privacy`.
//!
//! It is durable before the first byte of an upload leaves. An older copy of it that is restored knows
//! less than was spent: with a copy of the state directory, this file must not go back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use roundelay_crypto::digest::Digest;
use roundelay_protocol::codec;
use roundelay_protocol::ids::FederationId;
use roundelay_protocol::privacy::{Account, Budget, Ledger, Release};
use serde::{Deserialize, Serialize};

use super::files::{Access, Kind, read_sealed, write_sealed};
use super::{CheckpointError, StateDir};

const PRIVACY: Kind = Kind { name: "privacy", format: 1 };
/// Bytes of the file at most.
const BYTES_MAX: usize = 4 << 20;

/// What a federation promised about a data set when it last ran here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Promise {
    /// Its name.
    pub(crate) name: String,
    /// ε and δ.
    pub(crate) budget: Budget,
    /// What one of its rounds costs.
    pub(crate) release: Release,
}

/// One data set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct DataSet {
    /// What was released over it.
    pub(crate) ledger: Ledger,
    /// By federations that it serves or has served.
    pub(crate) promises: BTreeMap<FederationId, Promise>,
}

/// All data sets by their digests.
pub(crate) type DataSets = BTreeMap<Digest, DataSet>;

/// An account that is open, and what was promised of its data set.
type Open = (Account, BTreeMap<FederationId, Promise>);

/// The accounts of a running client.
#[derive(Debug)]
pub(crate) struct Accounts {
    path: PathBuf,
    open: Mutex<BTreeMap<Digest, Open>>,
}

impl StateDir {
    /// What the file says; nothing where there is none.
    ///
    /// # Errors
    /// It is damaged or newer.
    pub(crate) fn data_sets(&self) -> Result<DataSets, CheckpointError> {
        let path = self.file("privacy");
        let Some(bytes) = read_sealed(&path, PRIVACY, BYTES_MAX as u64)? else {
            return Ok(DataSets::new());
        };
        let sets: Vec<(Digest, DataSet)> = codec::decode(&bytes, BYTES_MAX)
            .map_err(|error| CheckpointError::damaged(&path, error.to_string()))?;
        Ok(sets.into_iter().collect())
    }

    /// The accounts, to be charged. One process at a time holds them, by the directory's lock.
    ///
    /// # Errors
    /// The file is damaged or newer: without it nobody knows what was spent.
    pub(crate) fn accounts(&self) -> Result<Accounts, CheckpointError> {
        let sets = self.data_sets()?.into_iter();
        let open = sets.map(|(data, set)| (data, (Account::new(set.ledger), set.promises)));
        Ok(Accounts { path: self.file("privacy"), open: Mutex::new(open.collect()) })
    }
}

impl Accounts {
    /// The account of a data set, which all its federations share.
    ///
    /// # Errors
    /// The promise can't be written down.
    pub(crate) fn of(
        &self,
        data: Digest,
        federation: FederationId,
        promise: Promise,
    ) -> Result<Account, CheckpointError> {
        let account = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            let (account, promises) = open.entry(data).or_default();
            promises.insert(federation, promise);
            account.clone()
        };
        self.save()?;
        Ok(account)
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes all that was charged durable.
    ///
    /// # Errors
    /// It can't be written: what it pays for must not leave.
    pub(crate) fn save(&self) -> Result<(), CheckpointError> {
        // Held while it is written, so that an older state never takes the place of a newer one.
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let sets: Vec<(Digest, DataSet)> = open
            .iter()
            .map(|(data, (account, promises))| {
                let (ledger, promises) = (account.ledger(), promises.clone());
                (*data, DataSet { ledger, promises })
            })
            .collect();
        write_sealed(&self.path, PRIVACY, Access::Plain, &codec::encode(&sets))
    }
}

#[cfg(test)]
mod tests {
    use roundelay_protocol::privacy::Overspent;

    use super::*;
    use crate::checkpoint::failpoint::{Fault, arm, disarm};

    const BUDGET: Budget = Budget { epsilon: 4.0, delta: 1e-6 };
    const RELEASE: Release = Release::Gaussian { noise_multiplier: 3.0 };
    const DATA: Digest = Digest([1; 32]);

    fn promise(name: &str) -> Promise {
        Promise { name: name.to_owned(), budget: BUDGET, release: RELEASE }
    }

    fn account(accounts: &Accounts, federation: u8) -> Account {
        accounts.of(DATA, FederationId([federation; 16]), promise("digits")).unwrap()
    }

    #[test]
    fn two_federations_on_the_same_data_spend_one_budget() {
        let root = tempfile::tempdir().unwrap();
        let accounts = StateDir::create(root.path()).unwrap().accounts().unwrap();
        let (one, other) = (account(&accounts, 1), account(&accounts, 2));
        let rounds = one.ledger().left(RELEASE, BUDGET, 1000);
        for round in 0..rounds {
            let either = if round % 2 == 0 { &one } else { &other };
            either.charge(RELEASE, BUDGET).unwrap();
        }
        let refused: Overspent = one.charge(RELEASE, BUDGET).unwrap_err();
        assert!(refused.with > 4.0);
        assert!(other.check(RELEASE, BUDGET).is_err());
        let elsewhere = accounts.of(Digest([2; 32]), FederationId([1; 16]), promise("digits"));
        assert!(elsewhere.unwrap().check(RELEASE, BUDGET).is_ok());
    }

    #[test]
    fn what_was_charged_and_saved_is_there_after_a_restart() {
        let root = tempfile::tempdir().unwrap();
        let dir = StateDir::create(root.path()).unwrap();
        let accounts = dir.accounts().unwrap();
        account(&accounts, 1).charge(RELEASE, BUDGET).unwrap();
        accounts.save().unwrap();
        let again = dir.accounts().unwrap();
        assert_eq!(account(&again, 3).ledger().releases(), 1);
        let sets = dir.data_sets().unwrap();
        assert_eq!(sets[&DATA].promises.len(), 2);
    }

    #[test]
    fn a_ledger_that_cannot_be_written_or_read_is_an_error_and_never_an_empty_one() {
        let root = tempfile::tempdir().unwrap();
        let dir = StateDir::create(root.path()).unwrap();
        let accounts = dir.accounts().unwrap();
        let account = account(&accounts, 1);
        account.charge(RELEASE, BUDGET).unwrap();
        arm("file.privacy.sync.before", Fault::Full);
        assert!(accounts.save().is_err());
        disarm();
        std::fs::write(dir.file("privacy"), b"roundelay privacy 1\n").unwrap();
        assert!(matches!(dir.accounts(), Err(CheckpointError::Damaged { .. })));
    }
}
