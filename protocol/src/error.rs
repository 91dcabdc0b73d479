//! Who is at fault, and why something was refused or ended. Every reason is a variant with a
//! stable code, so that logs, ledgers and tests speak of the same thing.

use serde::{Deserialize, Serialize};

use crate::ids::RosterIndex;

/// Why a client refused a message of the coordinator. Nothing secret has left when it is returned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The plan names another manifest than the one this client has pinned.
    #[error("the plan's manifest is not the one this client has pinned")]
    ManifestNotPinned,
    /// The plan is for another federation than the session's.
    #[error("the plan belongs to another federation")]
    ForeignFederation,
    /// The round number does not rise strictly over what this client has done in this stage.
    #[error("round number {planned} does not rise over {seen}")]
    RoundNotRising {
        /// The number in the plan.
        planned: u64,
        /// The highest number seen.
        seen: u64,
    },
    /// The cohort is not sorted, has duplicates, or a client that is not in the manifest.
    #[error("the cohort is not a sorted set of manifest clients")]
    CohortNotInManifest,
    /// This client is not in the cohort.
    #[error("this client is not in the cohort")]
    NotInCohort,
    /// Fewer pinned peers in the cohort than this client asks for.
    #[error("{present} pinned peers in the cohort, {required} required")]
    TooFewPinnedPeers {
        /// Pinned peers in the cohort.
        present: u16,
        /// The manifest's floor.
        required: u16,
    },
    /// Threshold or quorum differ from what the manifest's rule gives for this cohort.
    #[error("threshold or quorum is not what the manifest's rule gives for this cohort")]
    ThresholdOffRule,
    /// The cohort is not a union of the manifest's fixed groups.
    #[error("the cohort is not a union of fixed groups")]
    CohortNotUnionOfGroups,
    /// An advert is unsigned, wrongly signed, duplicated, or from outside the cohort.
    #[error("the advert of client {0:?} does not verify")]
    BadAdvert(RosterIndex),
    /// This client's own advert is missing or altered.
    #[error("this client's own advert is missing or altered")]
    OwnAdvertAltered,
    /// Two clients advertise an equal key.
    #[error("two adverts carry an equal key")]
    EqualKeys,
    /// Too few adverts or boxes to reach the threshold.
    #[error("{present} members are left, {required} required")]
    TooFewMembers {
        /// Members left.
        present: u16,
        /// Members required.
        required: u16,
    },
    /// A share root is not signed by its sender over this advert roster.
    #[error("the shares of client {0:?} are not signed over this roster")]
    BadShareRoot(RosterIndex),
    /// A box has the wrong sender, receiver, round, index or content.
    #[error("the box of client {0:?} does not open as it should")]
    BadBox(RosterIndex),
    /// The training plan's kind, hyperparameters or layout differ from the manifest.
    #[error("the training plan departs from the manifest")]
    PlanOutsideManifest,
    /// The model hash is not the one that this client has derived.
    #[error("the model is not the one this client has derived from the published aggregates")]
    ModelNotDerived,
    /// The previous transcript is not the one this client has seen.
    #[error("the previous transcript is not the one this client has seen")]
    TranscriptMismatch,
    /// The active roster is not a subset of U2, or lacks this client.
    #[error("the active roster is not a subset of the prepared clients that holds this client")]
    BadActiveRoster,
    /// A set over this model was opened before, or this client signed one (the set rule).
    #[error(
        "a set over this model and kind may already have been opened; this client sits out until a \
         newer model is published"
    )]
    SetRule,
    /// The survivor set lacks this client.
    #[error("the survivor set lacks this client")]
    NotInSurvivorSet,
    /// The survivor set carries another root for this client than it committed to.
    #[error("the survivor set carries another root for this client")]
    RootAltered,
    /// The survivor set is not canonical or not a subset of the active roster.
    #[error("the survivor set is not a canonical subset of the active roster")]
    BadSurvivorSet,
    /// The survivor set is smaller than the floors allow.
    #[error("{present} survivors, {required} required")]
    TooFewSurvivors {
        /// Survivors.
        present: u16,
        /// Required.
        required: u16,
    },
    /// A second survivor set for a round that was signed.
    #[error("a survivor set of this round was signed before")]
    AlreadySigned,
    /// Fewer valid signatures over the very same set than the quorum.
    #[error("{present} valid signatures over the survivor set, {required} required")]
    QuorumNotReached {
        /// Valid signatures.
        present: u16,
        /// The quorum.
        required: u16,
    },
    /// A signature over other bytes, by a stranger, or twice.
    #[error("the quorum holds a signature that does not verify: client {0:?}")]
    BadQuorumSignature(RosterIndex),
    /// Shares of this round were revealed before.
    #[error("shares of this round were revealed before")]
    AlreadyRevealed,
    /// A message that does not belong to the stage this client is in.
    #[error("the message does not belong to this stage")]
    OutOfStage,
    /// A message that starts a stage came again with another content.
    #[error("the message that started {0:?} came again with another content")]
    Contradicted(Stage),
    /// The coordinator was silent for longer than this client keeps the keys of a round.
    #[error("the coordinator was silent for too long; the keys of the round are burned")]
    WaitedTooLong,
    /// The published aggregate or state is not what this client derives.
    #[error("the published result does not follow from the aggregate")]
    LineageBroken,
    /// This client has no memory of the round: it was restarted and sits it out.
    #[error("this client was restarted and sits the round out")]
    Restarted,
    /// Local work failed; the reason stays with the tenant.
    #[error("the tenant's client could not compute its contribution")]
    TrainingFailed,
    /// Local work gave a value that is not a finite number.
    #[error("the tenant's contribution has a value that is not finite")]
    ContributionNotFinite,
    /// The tenant's own policy forbids the contribution; the reason stays with the tenant.
    #[error("the tenant's policy forbids the contribution")]
    ForbiddenByPolicy,
    /// The tenant's side ended its part: the manifest or the policy changed, or the client stops.
    #[error("the tenant's client withdrew from the round")]
    Withdrawn,
    /// A state that too few members have derived themselves: it could be a forged one.
    #[error(
        "{present} of the {required} members that it takes have signed the model state; it could \
         be a forged one and is not taken"
    )]
    StateNotAttested {
        /// Distinct other members with a valid signature under it.
        present: u16,
        /// c + 1.
        required: u16,
    },
    /// More peers than may lie have signed survivor sets with this client that it knows nothing
    /// of: it was restored from an old snapshot, and has forgotten what it may not do again.
    #[error(
        "peers have signed sets with this client up to round {seen}, it remembers round \
         {remembered}: it was restored from an old snapshot, and sits out until a newer model is \
         published"
    )]
    RolledBack {
        /// The round that enough peers vouch for.
        seen: u64,
        /// The last round that this client remembers.
        remembered: u64,
    },
    /// Fewer members than the quorum have signed that their boxes opened.
    #[error("{present} clients have signed that their boxes opened, {required} are needed")]
    TooFewOpened {
        /// Signatures that count.
        present: u16,
        /// The quorum.
        required: u16,
    },
    /// The listing or the nonces of a sparse graph are not canonical, lack this client's own, or
    /// hold a nonce that its client did not commit to.
    #[error("the beacon of the sparse graph is not the one that its clients committed to")]
    BadBeacon,
    /// Too few of this client's neighbours in a sparse graph: its vector would not be hidden among
    /// enough, or its seeds could not be rebuilt.
    #[error("{present} neighbours of this client are left, {required} required")]
    TooFewNeighbours {
        /// Neighbours left.
        present: u16,
        /// The threshold.
        required: u16,
    },
    /// The budget of this client's data set does not pay the round. What was spent is nobody else's
    /// affair: other federations may have spent it.
    #[error("the privacy budget of this client's data does not pay the round")]
    PrivacyBudget,
    /// The same clients were given another contribution over this model before: of two sums over
    /// them, one may have been opened (the set rule).
    #[error(
        "this client has uploaded another contribution over this model to the same clients, and \
         the difference would show: train on the same rows as then, or sit out until a newer model \
         is published"
    )]
    OtherContribution,
}

/// What a client did that no honest client does. It is expelled from the round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Fault {
    /// A signature that does not verify.
    #[error("signature does not verify")]
    BadSignature,
    /// A malformed or low-order public key, or one that another client advertised.
    #[error("public key is malformed or not its own")]
    BadKey,
    /// Leaves that are not exactly one per neighbour, or of the wrong shape.
    #[error("share leaves do not match the roster")]
    BadLeaves,
    /// An encapsulation that is not the one its rebuilt key seed gives.
    #[error("an encapsulation does not follow from the client's key seed")]
    BadEncapsulation,
    /// The upload is shorter or longer than the layout says.
    #[error("masked vector has {sent} bytes, the layout has {expected}")]
    WrongLength {
        /// Bytes sent.
        sent: u64,
        /// Bytes in the layout.
        expected: u64,
    },
    /// The signed root is not the root of the bytes received.
    #[error("masked vector does not match its signed root")]
    WrongRoot,
    /// Two different signed messages for one stage.
    #[error("two different messages for one stage")]
    Equivocation,
    /// Revealed shares are too many, too few, or wrong.
    #[error("revealed shares are wrong")]
    BadShares,
    /// A message of a stage that has not begun, which no honest client can write.
    #[error("a message of a stage that has not begun")]
    OutOfStage,
    /// It signed a box that does not open, or that holds other shares than it commits to.
    #[error("a box that it signed does not hold the shares that it committed to")]
    BadBox,
    /// Shares that it committed to do not rebuild the seed that it advertised.
    #[error("the shares that it dealt do not rebuild its seed")]
    BadDealing,
    /// It accused a client whose box holds what it should.
    #[error("it accused another client falsely")]
    FalseAccusation,
    /// A nonce that its advert does not commit to.
    #[error("the nonce is not the one that its advert commits to")]
    BadNonce,
}

impl Fault {
    /// Whether whoever does this again ends another round for everybody: it is not planned again
    /// before somebody has looked into it.
    #[must_use]
    pub fn ends_rounds(&self) -> bool {
        matches!(
            self,
            Self::BadEncapsulation | Self::BadBox | Self::BadDealing | Self::FalseAccusation
        )
    }
}

/// Why a round ended without a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum AbortReason {
    /// Too few clients reached the end of a stage.
    #[error("{stage:?}: {present} clients, {required} required")]
    TooFewClients {
        /// The stage that ended.
        stage: Stage,
        /// Clients that reached its end.
        present: u16,
        /// Clients required.
        required: u16,
    },
    /// Check lanes showed masks that did not cancel.
    #[error("masks did not cancel; nothing was published")]
    MasksDidNotCancel,
    /// Revealed shares did not rebuild a verified seed.
    #[error("the shares at hand do not rebuild a seed")]
    SeedNotRebuilt,
    /// The preparation was burned: manifest, policy or plan changed.
    #[error("the preparation was burned by a change of manifest or plan")]
    PreparationBurned,
    /// The operator or the owner stopped the federation.
    #[error("stopped by the operator")]
    Stopped,
    /// A coordinator's successor could not continue the round.
    #[error("the coordinator was restarted before the round could be resumed")]
    Restarted,
    /// The coordinator's own fault.
    #[error("internal error of the coordinator")]
    Internal,
    /// No model follows from the published sum: it is none that honest clients give, or the model
    /// diverged.
    #[error("no model follows from the sum: a contribution was wrong, or the model diverged")]
    NothingFollows,
}

/// The five stages of a round, and the wait between preparation and training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Public keys and commitments.
    AdvertiseKeys,
    /// Encapsulations and boxes with shares.
    ShareKeys,
    /// Prepared: waiting for the training plan.
    Prepared,
    /// Masked vectors and their signed roots.
    MaskedInput,
    /// Signatures over the survivor set.
    ConsistencyCheck,
    /// Shares.
    Unmasking,
}
