//! Amendments: join, leave, replace a lost key. A manifest names its predecessor, and the
//! predecessor's rule says who has to sign.
//!
//! | | `all` | `majority` |
//! |---|---|---|
//! | members of the predecessor | every one | more than half |
//! | newcomers, and a tenant with a new key | every one, by the new key | every one, by the new key |
//!
//! A tenant that replaces a lost key cannot sign with the old one: the others vouch for it. So one
//! amendment replaces at most one tenant's key; otherwise whoever drafts it could replace all keys
//! but one.

use std::collections::{BTreeMap, BTreeSet};

use roundelay_crypto::identity::{IdentityPublic, Signature};

use super::{AmendmentRule, Manifest, SignatureError, Standing};
use crate::ids::TenantId;

/// Why a manifest does not follow from another. Whoever drafted it is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AmendmentError {
    /// The first version was compared with a predecessor, or a later one with none.
    #[error("version {0} needs the manifest that it amends, version 0 amends none")]
    Predecessor(u32),
    /// It names another predecessor.
    #[error("the amendment follows another manifest than the one at hand")]
    OtherPredecessor,
    /// Its version is not the next one.
    #[error("the amendment is version {found}, the next one is {next}")]
    Version {
        /// As drafted.
        found: u32,
        /// As it should be.
        next: u32,
    },
    /// It changes what only a new federation may have.
    #[error("an amendment cannot change the {0}: make a new federation")]
    Fixed(&'static str),
    /// It replaces the keys of several tenants.
    #[error(
        "the amendment replaces the keys of `{first}` and `{second}`: one amendment replaces one \
         tenant's key, signed by the others"
    )]
    TwoKeysReplaced {
        /// One tenant.
        first: TenantId,
        /// Another.
        second: TenantId,
    },
}

/// Who has to sign a manifest, by which key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// Each of them has to sign.
    all_of: BTreeMap<TenantId, IdentityPublic>,
    /// Of these and those members above that voted before, so many have to sign.
    voters: BTreeMap<TenantId, IdentityPublic>,
    votes_min: usize,
}

impl Manifest {
    /// Who has to sign this manifest, as an amendment of `predecessor` or as the first version.
    pub fn requirement(&self, predecessor: Option<&Self>) -> Result<Requirement, AmendmentError> {
        let Some(predecessor) = predecessor else {
            if self.version != 0 {
                return Err(AmendmentError::Predecessor(self.version));
            }
            let members = self.members.iter();
            let all_of = members.map(|member| (member.tenant.clone(), member.tenant_key)).collect();
            return Ok(Requirement { all_of, voters: BTreeMap::new(), votes_min: 0 });
        };
        self.check_follows(predecessor)?;
        let replaced = self.one_replaced_key(predecessor)?;
        let is_new = |tenant: &TenantId| predecessor.member(tenant).is_none();
        let by_new_key = self
            .members
            .iter()
            .filter(|member| is_new(&member.tenant) || Some(&member.tenant) == replaced)
            .map(|member| (member.tenant.clone(), member.tenant_key));
        let by_old_key = predecessor
            .members
            .iter()
            .filter(|member| Some(&member.tenant) != replaced)
            .map(|member| (member.tenant.clone(), member.tenant_key));
        Ok(match predecessor.rules.amendment {
            AmendmentRule::All => Requirement {
                all_of: by_new_key.chain(by_old_key).collect(),
                voters: BTreeMap::new(),
                votes_min: 0,
            },
            AmendmentRule::Majority => Requirement {
                all_of: by_new_key.collect(),
                voters: by_old_key.collect(),
                votes_min: predecessor.members.len() / 2 + 1,
            },
        })
    }

    fn check_follows(&self, predecessor: &Self) -> Result<(), AmendmentError> {
        if self.version == 0 {
            return Err(AmendmentError::Predecessor(0));
        }
        if self.predecessor != Some(predecessor.hash()) {
            return Err(AmendmentError::OtherPredecessor);
        }
        let next = predecessor.version.saturating_add(1);
        if self.version != next {
            return Err(AmendmentError::Version { found: self.version, next });
        }
        let fixed = [
            ("federation", self.federation == predecessor.federation),
            ("owner", self.owner == predecessor.owner),
            ("rule of amendment", self.rules.amendment == predecessor.rules.amendment),
            ("schema", self.task.schema == predecessor.task.schema),
            ("model", self.task.model == predecessor.task.model),
            ("server optimiser", self.task.optimiser == predecessor.task.optimiser),
            (
                "choice of privacy",
                self.task.privacy.is_some() == predecessor.task.privacy.is_some(),
            ),
        ];
        fixed
            .iter()
            .find(|(_, same)| !same)
            .map_or(Ok(()), |(what, _)| Err(AmendmentError::Fixed(what)))
    }

    /// The one tenant whose key differs from the predecessor's.
    fn one_replaced_key(&self, predecessor: &Self) -> Result<Option<&TenantId>, AmendmentError> {
        let mut replaced = self.members.iter().filter(|member| {
            let before = predecessor.member(&member.tenant);
            before.is_some_and(|before| before.tenant_key != member.tenant_key)
        });
        match (replaced.next(), replaced.next()) {
            (Some(first), Some(second)) => Err(AmendmentError::TwoKeysReplaced {
                first: first.tenant.clone(),
                second: second.tenant.clone(),
            }),
            (first, _) => Ok(first.map(|member| &member.tenant)),
        }
    }
}

impl Requirement {
    /// Refuses a signature under `message`, the manifest's signed bytes, that is not asked for or
    /// does not verify.
    pub(super) fn verify(
        &self,
        message: &[u8],
        tenant: &TenantId,
        signature: &Signature,
    ) -> Result<(), SignatureError> {
        let key = self.all_of.get(tenant).or_else(|| self.voters.get(tenant));
        let key = key.ok_or_else(|| SignatureError::NotAsked(tenant.clone()))?;
        key.verify(message, signature).map_err(|_| SignatureError::DoesNotVerify(tenant.clone()))
    }

    /// How far these verified signers are.
    pub(super) fn standing<'a>(&self, signers: impl Iterator<Item = &'a TenantId>) -> Standing {
        let signers: BTreeSet<_> = signers.collect();
        let owed = self.all_of.keys().filter(|tenant| !signers.contains(tenant));
        let votes = self.voters.keys().filter(|tenant| signers.contains(tenant)).count();
        let votes_missing = self.votes_min.saturating_sub(votes);
        let voters = self.voters.keys().filter(|tenant| !signers.contains(tenant));
        let may_vote = if votes_missing == 0 { 0 } else { usize::MAX };
        let missing: Vec<_> = owed.chain(voters.take(may_vote)).cloned().collect();
        let owed_count = self.all_of.keys().filter(|t| !signers.contains(t)).count();
        let required = self.all_of.len() + self.votes_min;
        Standing { signatures: required - owed_count - votes_missing, required, missing }
    }
}
