//! What a signature of a round covers: a domain label, the message type, federation, round,
//! manifest hash, and the statement in canonical encoding. A signature of one round, federation,
//! manifest or stage is worth nothing in another.

use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::{IdentityKey, IdentityPublic, Signature};
use serde::Serialize;

use crate::codec;
use crate::ids::{FederationId, RoundNumber};
use crate::lineage::Standing;
use crate::message::Advert;
use crate::plan::RosterPlan;
use crate::transcript::TrainingContext;

/// The first bytes of everything that an identity key signs in a round.
const DOMAIN: &str = "roundelay/1 round signature";

/// The round that a signature belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Scope {
    /// The federation.
    pub federation: FederationId,
    /// The round.
    pub round: RoundNumber,
    /// Hash of the manifest.
    pub manifest: Digest,
}

/// What a client states by its signature. Each statement covers the root of the stage before.
#[derive(Debug, Clone, Copy)]
pub enum Statement<'a> {
    /// AdvertiseKeys: these are my keys under this plan, and the last transcript I saw.
    Advert {
        /// Root of the roster plan.
        plan: &'a Digest,
        /// The advert; its own signature is not covered.
        advert: &'a Advert,
    },
    /// ShareKeys: my leaves have this root, under this advert roster.
    Shares {
        /// Root of AdvertiseKeys.
        adverts: &'a Digest,
        /// Root over the leaves.
        root: &'a Digest,
    },
    /// ShareKeys: every box of these leaves that is for me opened and holds what it should.
    Opened {
        /// Root of ShareKeys.
        shares: &'a Digest,
    },
    /// MaskedInput: my masked vector has this root.
    Input {
        /// What it was computed from and masked for.
        context: &'a TrainingContext,
        /// Root over its chunks.
        root: &'a Digest,
    },
    /// ConsistencyCheck: this is the survivor set that I was shown.
    Survivors {
        /// What the round computes.
        context: &'a TrainingContext,
        /// Root of MaskedInput, over U3 with its roots.
        set: &'a Digest,
    },
    /// After the round: I have derived this state myself. The scope's round is the standing's.
    Stands(&'a Standing),
}

impl Scope {
    /// The scope of a roster plan.
    #[must_use]
    pub fn of(plan: &RosterPlan) -> Self {
        Self { federation: plan.federation, round: plan.round, manifest: plan.manifest }
    }

    /// The bytes that are signed.
    #[must_use]
    pub fn message(&self, statement: &Statement<'_>) -> Vec<u8> {
        match *statement {
            Statement::Advert { plan, advert } => {
                let Advert { mask, boxes, self_mask_commitment, last_transcript, draw, .. } =
                    advert;
                let keys = (plan, mask, boxes, self_mask_commitment, last_transcript, draw);
                self.encode("advert", &keys)
            }
            Statement::Shares { adverts, root } => self.encode("shares", &(adverts, root)),
            Statement::Opened { shares } => self.encode("opened", &shares),
            Statement::Input { context, root } => self.encode("input", &(context, root)),
            Statement::Survivors { context, set } => self.encode("survivors", &(context, set)),
            Statement::Stands(Standing { model_version, state, transcript, .. }) => {
                self.encode("stands", &(model_version, state, transcript))
            }
        }
    }

    fn encode(&self, kind: &str, body: &impl Serialize) -> Vec<u8> {
        codec::canonical(&(DOMAIN, kind, self, body))
    }

    /// Signs a statement.
    #[must_use]
    pub fn sign(&self, key: &IdentityKey, statement: &Statement<'_>) -> Signature {
        key.sign(&self.message(statement))
    }

    /// Whether a signature is this identity's over the statement.
    #[must_use]
    pub fn verifies(
        &self,
        identity: &IdentityPublic,
        statement: &Statement<'_>,
        signature: &Signature,
    ) -> bool {
        identity.verify(&self.message(statement), signature).is_ok()
    }
}
