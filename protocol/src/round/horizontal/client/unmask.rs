//! Unmasking: with proof that a quorum signed the very same survivor set, this client reveals its
//! shares of b_v for survivors and of k_v for dropouts, and its own b_u whole. It computes the partition from the set
//! that it signed; nothing in the message could ask for another.

use std::collections::BTreeMap;
use std::sync::Arc;

use roundelay_crypto::digest::Digest;
use roundelay_crypto::secret::Seed;

use super::{Core, Event, Seat, Turn};
use crate::error::{Refusal, Stage};
use crate::ids::RosterIndex;
use crate::message::{FromClient, Published, Quorum, Reveal, SurvivorSet};
use crate::plan::TrainingPlan;
use crate::round::horizontal::keys::Holding;
use crate::signed::Statement;
use crate::transcript::{TrainingContext, quorum_root, transcript_root};

/// Waits for the quorum over the set that this client signed.
pub(super) struct Unmask {
    pub(super) seat: Seat,
    /// b_u.
    pub(super) self_mask: Seed,
    /// Shares of every member of A that is a neighbour, in a complete graph this client's own too.
    pub(super) holdings: BTreeMap<RosterIndex, Holding>,
    pub(super) context: TrainingContext,
    pub(super) plan: Box<TrainingPlan>,
    pub(super) set: Arc<SurvivorSet>,
    /// Root of MaskedInput: what was signed.
    pub(super) root: Digest,
}

/// Has revealed its shares, and waits for the result.
pub(super) struct Revealed {
    pub(super) plan: Box<TrainingPlan>,
    pub(super) survivors: usize,
    /// Root of ConsistencyCheck.
    quorum: Digest,
}

impl Unmask {
    pub(super) fn quorum(
        self,
        core: &Core,
        quorum: &Quorum,
        turn: &mut Turn<'_>,
    ) -> Result<Revealed, Refusal> {
        turn.history.rises(Stage::Unmasking, core.scope.round)?;
        self.check(core, quorum)?;
        turn.remember(core, Event::Revealed);
        turn.reply(FromClient::Reveal(self.reveal()));
        let quorum = quorum_root(&self.root, quorum);
        Ok(Revealed { plan: self.plan, survivors: self.set.inputs.len(), quorum })
    }

    /// At least q valid signatures by different members of the set over the set that this client
    /// signed. A single one that does not verify is a lie of the coordinator.
    fn check(&self, core: &Core, quorum: &Quorum) -> Result<(), Refusal> {
        let statement = Statement::Survivors { context: &self.context, set: &self.root };
        let signatures = &quorum.signatures;
        let counts = |signer| self.survived(signer);
        let valid = self.seat.signatures(core, &statement, signatures, counts);
        if let Some((liar, _)) = signatures.get(valid) {
            return Err(Refusal::BadQuorumSignature(*liar));
        }
        let present = u16::try_from(valid).unwrap_or(u16::MAX);
        let required = self.seat.floors.quorum();
        if present < required {
            return Err(Refusal::QuorumNotReached { present, required });
        }
        Ok(())
    }

    fn survived(&self, index: RosterIndex) -> bool {
        self.set.inputs.binary_search_by_key(&index, |(index, _)| *index).is_ok()
    }

    fn reveal(&self) -> Reveal {
        let (mut self_mask_shares, mut key_shares) = (Vec::new(), Vec::new());
        for (index, holding) in &self.holdings {
            if self.survived(*index) {
                self_mask_shares.push(*holding.self_mask.expose());
            } else {
                key_shares.push(*holding.key.expose());
            }
        }
        let own_self_mask = Some(*self.self_mask.expose());
        Reveal { own_self_mask, self_mask_shares, key_shares }
    }
}

impl Revealed {
    /// Whether the announced result belongs to what this client signed.
    pub(super) fn check(&self, published: &Published) -> Result<(), Refusal> {
        if usize::from(published.survivors) != self.survivors {
            return Err(Refusal::LineageBroken);
        }
        if transcript_root(&self.quorum, published) != published.transcript {
            return Err(Refusal::TranscriptMismatch);
        }
        Ok(())
    }
}
