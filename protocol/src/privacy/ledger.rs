//! What was released over one data set so far. A client keeps one for each data set, whatever
//! federation asked; the coordinator one for each federation, so that it plans nothing that all would
//! refuse.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::accountant::{Curve, within};
use super::calibration::Release;

/// ε and δ that may be spent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// ε.
    pub epsilon: f64,
    /// δ.
    pub delta: f64,
}

/// A valid one has finite numbers, so this agrees with `==`.
impl Eq for Budget {}

/// A release that the budget does not pay.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error(
    "{spent:.3} of the budget of {budget:.3} are spent, and this round would make it {with:.3}"
)]
pub struct Overspent {
    /// ε spent before.
    pub spent: f64,
    /// ε with this release.
    pub with: f64,
    /// ε that may be spent.
    pub budget: f64,
}

/// How often each kind of release was charged.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ledger {
    charged: Vec<(Release, u64)>,
}

impl Ledger {
    /// Charges a release. What was charged stays charged, whatever becomes of the round.
    pub fn charge(&mut self, release: Release) {
        match self.charged.iter_mut().find(|(known, _)| *known == release) {
            Some((_, count)) => *count = count.saturating_add(1),
            None => self.charged.push((release, 1)),
        }
    }

    /// Whether a budget pays one more release of this kind.
    ///
    /// # Errors
    /// It does not.
    pub fn check(&self, release: Release, budget: Budget) -> Result<(), Overspent> {
        let before = self.curve();
        let with = before.and(&release.curve()).epsilon(budget.delta);
        if within(with, budget.epsilon) {
            return Ok(());
        }
        let spent = before.epsilon(budget.delta);
        Err(Overspent { spent, with, budget: budget.epsilon })
    }

    /// Releases charged.
    #[must_use]
    pub fn releases(&self) -> u64 {
        self.charged.iter().map(|(_, count)| count).sum()
    }

    /// ε spent at a δ.
    #[must_use]
    pub fn epsilon(&self, delta: f64) -> f64 {
        self.curve().epsilon(delta)
    }

    /// How many more releases of this kind a budget pays, at most `most`.
    #[must_use]
    pub fn left(&self, release: Release, budget: Budget, most: u64) -> u64 {
        let (spent, one) = (self.curve(), release.curve());
        spent.affordable(&one, budget.epsilon, budget.delta, most)
    }

    fn curve(&self) -> Curve {
        let charged = self.charged.iter();
        charged
            .fold(Curve::default(), |sum, (release, count)| sum.and(&release.curve().times(*count)))
    }
}

/// The ledger of one data set, shared by all federations that the data serves on one client, with
/// what they have promised about it.
#[derive(Debug, Clone, Default)]
pub struct Account(Arc<Mutex<Shared>>);

#[derive(Debug, Default)]
struct Shared {
    ledger: Ledger,
    promised: Vec<Budget>,
}

impl Shared {
    /// What one federation releases is released to the others too: each budget has to pay it.
    fn check(&self, release: Release, budget: Budget) -> Result<(), Overspent> {
        let mut budgets = self.promised.iter().chain(std::iter::once(&budget));
        budgets.try_for_each(|budget| self.ledger.check(release, *budget))
    }
}

impl Account {
    /// An account that goes on from a ledger.
    #[must_use]
    pub fn new(ledger: Ledger) -> Self {
        Self(Arc::new(Mutex::new(Shared { ledger, promised: Vec::new() })))
    }

    /// Every release has to be paid by this budget too from now on, whoever asks for it.
    pub fn promise(&self, budget: Budget) {
        let mut shared = self.lock();
        if !shared.promised.contains(&budget) {
            shared.promised.push(budget);
        }
    }

    /// What was charged so far.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.lock().ledger.clone()
    }

    /// Whether a budget, and every other one that was promised, pays one more release of this kind
    /// ([`Ledger::check`]).
    ///
    /// # Errors
    /// One does not.
    pub fn check(&self, release: Release, budget: Budget) -> Result<(), Overspent> {
        self.lock().check(release, budget)
    }

    /// Charges a release that all budgets pay; of two at one time, the first one.
    ///
    /// # Errors
    /// One does not pay it. Nothing was charged.
    pub fn charge(&self, release: Release, budget: Budget) -> Result<(), Overspent> {
        let mut shared = self.lock();
        shared.check(release, budget)?;
        shared.ledger.charge(release);
        Ok(())
    }

    /// It is whole between two statements, whoever panicked.
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Budget = Budget { epsilon: 4.0, delta: 1e-6 };

    fn release(noise_multiplier: f64) -> Release {
        Release::Gaussian { noise_multiplier }
    }

    #[test]
    fn a_budget_pays_as_many_releases_as_it_says_and_no_more() {
        let (mut ledger, release) = (Ledger::default(), release(5.0));
        let left = ledger.left(release, BUDGET, 1000);
        assert!(left > 1);
        for _ in 0..left {
            assert_eq!(ledger.check(release, BUDGET), Ok(()));
            ledger.charge(release);
        }
        let overspent = ledger.check(release, BUDGET).unwrap_err();
        assert!(overspent.spent <= 4.0 && overspent.with > 4.0);
        assert_eq!(ledger.left(release, BUDGET, 1000), 0);
        assert_eq!(ledger.releases(), left);
    }

    #[test]
    fn a_federation_with_a_larger_budget_does_not_break_the_promise_of_another() {
        let (account, release) = (Account::default(), release(5.0));
        let larger = Budget { epsilon: 40.0, delta: 1e-3 };
        let pays = |account: &Account| account.ledger().left(release, BUDGET, 1000);
        account.promise(larger);
        for _ in 0..pays(&account) {
            account.charge(release, larger).unwrap();
        }
        let before = account.ledger();
        assert_eq!(account.check(release, larger), Ok(()), "nobody has promised less");
        account.promise(BUDGET);
        assert_eq!(account.charge(release, larger).unwrap_err().budget, BUDGET.epsilon);
        assert_eq!(account.ledger(), before);
    }

    #[test]
    fn releases_of_other_kinds_add_up() {
        let mut ledger = Ledger::default();
        ledger.charge(release(2.0));
        let before = ledger.left(release(5.0), BUDGET, 1000);
        ledger.charge(Release::Skellam { l2_squared: 1e8, words: 1e4, noise_multiplier: 2.0 });
        assert!(ledger.left(release(5.0), BUDGET, 1000) < before);
        assert_eq!(ledger.releases(), 2);
    }
}
