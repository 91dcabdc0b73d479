//! A state that members have signed. A client that can't derive the newest state itself, because
//! it is new or was away for too long, takes it over only where at least c + 1 other members of the
//! manifest that it has pinned have signed the very same standing: at most c of them lie, so one
//! honest member has derived it. The initial state needs none: it is a function of the manifest.

use std::collections::BTreeSet;

use roundelay_crypto::identity::Signature;
use serde::{Deserialize, Serialize};

use super::Standing;
use crate::bounded::List;
use crate::error::Refusal;
use crate::ids::ClientId;
use crate::limits::ATTESTATIONS_MAX;
use crate::round::horizontal::terms::Terms;

/// A standing with the signatures of members that have derived it themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attested {
    /// What was signed ([`Statement::Stands`](crate::signed::Statement::Stands)).
    pub standing: Standing,
    /// By identity keys of the manifest's clients.
    pub signatures: List<(ClientId, Signature), ATTESTATIONS_MAX>,
}

impl Attested {
    /// Refuses a standing that fewer than c + 1 distinct members other than `own` have signed.
    /// Signatures that do not count are passed over, so that nobody spoils the others' by adding one.
    pub fn verify(&self, terms: &Terms, own: ClientId) -> Result<(), Refusal> {
        let (present, required) = (self.signers(terms, own), terms.attesters_min());
        if present >= required {
            return Ok(());
        }
        let [present, required] =
            [present, required].map(|count| u16::try_from(count).unwrap_or(u16::MAX));
        Err(Refusal::StateNotAttested { present, required })
    }

    /// Distinct members other than `own` with a valid signature.
    fn signers(&self, terms: &Terms, own: ClientId) -> usize {
        let mut counted = BTreeSet::new();
        for (client, signature) in &self.signatures {
            if *client != own
                && !counted.contains(client)
                && terms.attests(*client, &self.standing, signature)
            {
                counted.insert(*client);
            }
        }
        counted.len()
    }
}

#[cfg(test)]
mod tests;
