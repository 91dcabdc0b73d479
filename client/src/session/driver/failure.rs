//! Why a federation can't run here, and who has to mend that.

use roundelay_protocol::error::Fault;
use roundelay_protocol::ids::RoundNumber;
use roundelay_protocol::lineage::LineageError;
use roundelay_protocol::session::RoundsEnd;

use crate::checkpoint::CheckpointError;
use crate::checkpoint::pins::PinsError;
use crate::checkpoint::privacy::AccountError;
use crate::train::TrainError;

/// What keeps a federation from running here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The tenant's data.
    Data,
    /// The trainer: its installation, or how it ended.
    Trainer,
    /// What the members signed: it can't be trained, or names this client otherwise.
    Manifest,
    /// This client's state directory.
    State,
    /// A file in it is damaged or gone.
    Damaged,
    /// This program.
    Internal,
    /// The coordinator found this client at fault.
    Expelled,
    /// The coordinator plans no rounds any more.
    Stalled,
}

/// Why a federation can't run here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlaceError {
    #[error(transparent)]
    Train(#[from] TrainError),
    #[error(transparent)]
    Pins(#[from] PinsError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("{0}")]
    Account(AccountError),
    #[error(transparent)]
    Lineage(#[from] LineageError),
    #[error(
        "its manifest wants at least {required} pinned peers in every round, and the fingerprints \
         of {compared} were compared by another channel; compare more and name them with \
         `manifest sign FEDERATION --compared NAME,…`"
    )]
    TooFewCompared { required: u16, compared: usize },
    #[error(
        "the coordinator expelled this client from round {round}: {fault}; no sound client does \
         that: look for a failing disk or memory, other software between the two, or a build that \
         was changed, then start this client again"
    )]
    Expelled { round: RoundNumber, fault: Fault },
    /// It was expelled before, and is not taken in again.
    #[error("the coordinator refuses: {0}")]
    Barred(String),
    #[error("{}", RoundsEnd::Stalled)]
    Stalled,
    #[error("internal error: {0}")]
    Internal(String),
}

impl From<AccountError> for PlaceError {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::Checkpoint(error) => Self::Checkpoint(error),
            refused => Self::Account(refused),
        }
    }
}

impl PlaceError {
    /// Who has to mend what.
    pub(crate) fn cause(&self) -> Cause {
        match self {
            Self::Train(TrainError::Data(_) | TrainError::DataChanged) | Self::Account(_) => {
                Cause::Data
            }
            Self::Train(TrainError::Task(_) | TrainError::Model(_)) => Cause::Manifest,
            Self::Train(_) => Cause::Trainer,
            Self::Pins(PinsError::Pin(_)) | Self::TooFewCompared { .. } => Cause::Manifest,
            Self::Pins(PinsError::Checkpoint(CheckpointError::Damaged { .. }))
            | Self::Checkpoint(CheckpointError::Damaged { .. }) => Cause::Damaged,
            Self::Pins(PinsError::Checkpoint(_)) | Self::Checkpoint(_) => Cause::State,
            Self::Expelled { .. } | Self::Barred(_) => Cause::Expelled,
            Self::Stalled => Cause::Stalled,
            Self::Lineage(_) | Self::Internal(_) => Cause::Internal,
        }
    }

    /// That of a full disk is not about one federation: no other one could go on either.
    pub(super) fn full_disk(self) -> Result<CheckpointError, Self> {
        match self {
            Self::Checkpoint(full @ CheckpointError::DiskFull(_))
            | Self::Pins(PinsError::Checkpoint(full @ CheckpointError::DiskFull(_))) => Ok(full),
            other => Err(other),
        }
    }
}
