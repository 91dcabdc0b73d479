//! What was released over each data set of this client, by whatever federation: the file `privacy`.
//!
//! A data set is what the tenant calls one: a budget is for the people behind the rows, who are the
//! same in a new export, with other columns, or with one row more. Rows that were counted under one
//! name are not counted under another.
//!
//! The file is durable before the first byte of an upload leaves. An older copy of it that is restored
//! knows less than was spent: with a copy of the state directory, this file must not go back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use roundelay_crypto::digest::Digest;
use roundelay_protocol::codec;
use roundelay_protocol::ids::FederationId;
use roundelay_protocol::privacy::{Account, Budget, Ledger, Release};
use serde::{Deserialize, Serialize};

use super::files::{Access, Kind, read_sealed, write_sealed};
use super::{CheckpointError, StateDir};

const PRIVACY: Kind = Kind { name: "privacy", format: 2 };
/// Bytes of the file at most.
const BYTES_MAX: usize = 4 << 20;
/// The newest versions of a data set by which its rows are known again.
const VERSIONS_MAX: usize = 1_000;

/// What a federation promised about a data set when it last ran here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Promise {
    /// ε and δ.
    pub(crate) budget: Budget,
    /// What one of its rounds costs.
    pub(crate) release: Release,
}

/// One data set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct DataSet {
    /// What was released over it with noise.
    pub(crate) ledger: Ledger,
    /// By federations that it serves or has served, with their names.
    pub(crate) promises: BTreeMap<FederationId, (String, Promise)>,
    /// Names of the federations that were to release over it without noise.
    pub(crate) unprotected: BTreeSet<String>,
    /// Digests of its rows, the oldest first.
    versions: Vec<Digest>,
}

/// All data sets by their names.
pub(crate) type DataSets = BTreeMap<String, DataSet>;

/// A federation that is to use a data set.
pub(crate) struct Use<'a> {
    /// What the tenant calls the data set.
    pub(crate) data_set: &'a str,
    /// Digest of the rows as they are now.
    pub(crate) version: Digest,
    /// Who asks.
    pub(crate) federation: FederationId,
    /// Its name.
    pub(crate) name: &'a str,
    /// What it promises about the data set, if anything.
    pub(crate) promise: Option<Promise>,
}

/// Why a data set is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccountError {
    /// Its budget would begin anew.
    #[error(
        "these rows were counted as data set {known:?} before, and here they are called {given:?}; \
         name it so (`data_set` beside the path of the data, or --data-set)"
    )]
    OtherName {
        /// Here.
        given: String,
        /// Before.
        known: String,
    },
    /// Nothing would be left of a promise.
    #[error(
        "{federation:?} promised differential privacy for data set {data_set:?}, and this federation \
         would release sums over it without any; give this one data of other people, under a \
         `data_set` of its own, or have its members put [privacy] into its task"
    )]
    Promised {
        /// The data set.
        data_set: String,
        /// Who promised.
        federation: String,
    },
    /// It can't be written down.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

/// A data set that may be used.
#[derive(Debug)]
pub(crate) struct Opened {
    /// All its federations share it.
    pub(crate) account: Account,
    /// Names of federations that were to release over it without noise, which no budget knows.
    pub(crate) unprotected: Vec<String>,
}

/// The accounts of a running client.
#[derive(Debug)]
pub(crate) struct Accounts {
    path: PathBuf,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    sets: BTreeMap<String, (Account, DataSet)>,
    /// A use that the file does not tell yet. What is known already needs no room on a disk that
    /// is full.
    unsaved: bool,
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
        codec::decode(&bytes, BYTES_MAX)
            .map_err(|error| CheckpointError::damaged(&path, error.to_string()))
    }

    /// The accounts, to be charged. One process at a time holds them, by the directory's lock.
    ///
    /// # Errors
    /// The file is damaged or newer: without it nobody knows what was spent.
    pub(crate) fn accounts(&self) -> Result<Accounts, CheckpointError> {
        let open = self.data_sets()?.into_iter().map(|(name, set)| {
            let account = Account::new(set.ledger.clone());
            set.promises.values().for_each(|(_, promise)| account.promise(promise.budget));
            (name, (account, set))
        });
        let open = Open { sets: open.collect(), unsaved: false };
        Ok(Accounts { path: self.file("privacy"), open: Mutex::new(open) })
    }
}

impl DataSet {
    /// How many more releases of a kind every promise about it pays, at most `most`.
    pub(crate) fn left(&self, release: Release, most: u64) -> u64 {
        let budgets = self.promises.values().map(|(_, promise)| promise.budget);
        budgets.map(|budget| self.ledger.left(release, budget, most)).min().unwrap_or(most)
    }

    fn refuses(&self, asks: &Use<'_>) -> Option<AccountError> {
        let (promised, _) = self.promises.values().next().filter(|_| asks.promise.is_none())?;
        let (data_set, federation) = (asks.data_set.to_owned(), promised.clone());
        Some(AccountError::Promised { data_set, federation })
    }

    fn take(&mut self, asks: &Use<'_>) {
        if !self.versions.contains(&asks.version) {
            self.versions.push(asks.version);
        }
        let surplus = self.versions.len().saturating_sub(VERSIONS_MAX);
        self.versions.drain(..surplus);
        match &asks.promise {
            Some(promise) => {
                let promise = (asks.name.to_owned(), promise.clone());
                self.promises.insert(asks.federation, promise);
            }
            None => drop(self.unprotected.insert(asks.name.to_owned())),
        }
    }
}

impl Accounts {
    /// The account of a data set, which all its federations share.
    ///
    /// # Errors
    /// The data set may not be used so, or its use can't be written down.
    pub(crate) fn open(&self, asks: &Use<'_>) -> Result<Opened, AccountError> {
        let (opened, unsaved) = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            let Open { sets, unsaved } = &mut *open;
            let other = sets.iter().find(|(name, (_, set))| {
                *name != asks.data_set && set.versions.contains(&asks.version)
            });
            if let Some((known, _)) = other {
                let (given, known) = (asks.data_set.to_owned(), known.clone());
                return Err(AccountError::OtherName { given, known });
            }
            let (account, set) = sets.entry(asks.data_set.to_owned()).or_default();
            if let Some(refused) = set.refuses(asks) {
                return Err(refused);
            }
            let before = set.clone();
            set.take(asks);
            *unsaved |= *set != before;
            asks.promise.iter().for_each(|promise| account.promise(promise.budget));
            let unprotected = set.unprotected.iter().cloned().collect();
            (Opened { account: account.clone(), unprotected }, *unsaved)
        };
        if unsaved {
            self.save()?;
        }
        Ok(opened)
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
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let sets: DataSets = open
            .sets
            .iter()
            .map(|(name, (account, set))| {
                (name.clone(), DataSet { ledger: account.ledger(), ..set.clone() })
            })
            .collect();
        let bytes = codec::encode(&sets);
        if bytes.len() > BYTES_MAX {
            // It could not be read again, and with it nobody would know what was spent.
            let full = std::io::Error::other("too many data sets and federations for one client");
            return Err(super::at(&self.path, full));
        }
        write_sealed(&self.path, PRIVACY, Access::Plain, &bytes)?;
        open.unsaved = false;
        Ok(())
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

    fn asks(data_set: &str, federation: u8, promise: Option<Budget>) -> Use<'_> {
        Use {
            data_set,
            version: DATA,
            federation: FederationId([federation; 16]),
            name: if promise.is_some() { "digits" } else { "open" },
            promise: promise.map(|budget| Promise { budget, release: RELEASE }),
        }
    }

    fn account(accounts: &Accounts, federation: u8) -> Account {
        accounts.open(&asks("people", federation, Some(BUDGET))).unwrap().account
    }

    fn accounts() -> (tempfile::TempDir, Accounts) {
        let root = tempfile::tempdir().unwrap();
        let accounts = StateDir::create(root.path()).unwrap().accounts().unwrap();
        (root, accounts)
    }

    #[test]
    fn two_federations_on_the_same_data_spend_one_budget() {
        let (_root, accounts) = accounts();
        let (one, other) = (account(&accounts, 1), account(&accounts, 2));
        let rounds = one.ledger().left(RELEASE, BUDGET, 1000);
        for round in 0..rounds {
            let either = if round % 2 == 0 { &one } else { &other };
            either.charge(RELEASE, BUDGET).unwrap();
        }
        let refused: Overspent = one.charge(RELEASE, BUDGET).unwrap_err();
        assert!(refused.with > 4.0);
        assert!(other.check(RELEASE, BUDGET).is_err());
        let others = Use { version: Digest([2; 32]), ..asks("others", 1, Some(BUDGET)) };
        assert!(accounts.open(&others).unwrap().account.check(RELEASE, BUDGET).is_ok());
    }

    #[test]
    fn another_schema_or_one_row_more_goes_on_with_the_same_budget() {
        let (_root, accounts) = accounts();
        account(&accounts, 1).charge(RELEASE, BUDGET).unwrap();
        // Its digest is another one, whatever was changed.
        let changed = Use { version: Digest([2; 32]), ..asks("people", 2, Some(BUDGET)) };
        assert_eq!(accounts.open(&changed).unwrap().account.ledger().releases(), 1);
        for version in [DATA, Digest([2; 32])] {
            let renamed = Use { version, ..asks("strangers", 3, Some(BUDGET)) };
            let refused = accounts.open(&renamed).unwrap_err();
            assert!(refused.to_string().contains("counted as data set \"people\""), "{refused}");
        }
    }

    #[test]
    fn the_smallest_promise_about_a_data_set_binds_every_federation() {
        let (root, accounts) = accounts();
        let larger = Budget { epsilon: 40.0, delta: 1e-3 };
        let other = accounts.open(&asks("people", 2, Some(larger))).unwrap().account;
        let one = account(&accounts, 1);
        for _ in 0..one.ledger().left(RELEASE, BUDGET, 1000) {
            other.charge(RELEASE, larger).unwrap();
        }
        assert!(other.charge(RELEASE, larger).is_err());
        accounts.save().unwrap();
        let again = StateDir::open(root.path()).unwrap().accounts().unwrap();
        let other = again.open(&asks("people", 2, Some(larger))).unwrap().account;
        assert!(other.charge(RELEASE, larger).is_err(), "the other one does not run any more");
    }

    #[test]
    fn what_one_federation_promised_no_other_releases_without_noise() {
        let (_root, accounts) = accounts();
        let before = accounts.open(&asks("people", 2, None)).unwrap();
        assert_eq!(before.account.ledger().releases(), 0);
        let opened = accounts.open(&asks("people", 1, Some(BUDGET))).unwrap();
        assert_eq!(opened.unprotected, ["open"], "no budget can take that back");
        let refused = accounts.open(&asks("people", 2, None)).unwrap_err().to_string();
        assert!(refused.contains("\"digits\" promised differential privacy"), "{refused}");
    }

    #[test]
    fn a_use_that_is_written_down_is_not_written_again_and_one_that_is_not_is() {
        let (root, accounts) = accounts();
        let written = || root.path().join("privacy").exists();
        arm("file.privacy.sync.before", Fault::Full);
        accounts.open(&asks("people", 1, None)).unwrap_err();
        assert!(!disarm() && !written());
        accounts.open(&asks("people", 1, None)).unwrap();
        assert!(written());
        std::fs::remove_file(root.path().join("privacy")).unwrap();
        accounts.open(&asks("people", 1, None)).unwrap();
        assert!(!written(), "nothing has changed");
        accounts.open(&asks("people", 1, Some(BUDGET))).unwrap();
        assert!(written());
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
        assert_eq!(sets["people"].promises.len(), 2);
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
        std::fs::write(dir.file("privacy"), b"roundelay privacy 2\n").unwrap();
        assert!(matches!(dir.accounts(), Err(CheckpointError::Damaged { .. })));
    }
}
