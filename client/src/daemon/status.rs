//! `status.json`: what a running daemon is doing, for `roundelay-client status` and for monitoring.
//! Replaced whole, at most twice a second; it is not made durable, since nothing depends on it.

use std::path::{Path, PathBuf};

use roundelay_protocol::ids::FederationId;
use serde::{Deserialize, Serialize};

use crate::checkpoint::files::read;
use crate::checkpoint::{CheckpointError, StateDir};
use crate::sdk::{Board, Evaluation, FederationStanding};

const FILE: &str = "status.json";
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What a daemon was doing when it last wrote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Status {
    /// When this was written, milliseconds since 1970.
    pub(crate) unix_ms: u64,
    /// The daemon's process.
    pub(crate) process: u32,
    /// When it was started, milliseconds since 1970.
    pub(crate) since_unix_ms: u64,
    /// Whether it is connected.
    pub(crate) connected: bool,
    /// Why it is not, if it is known.
    pub(crate) trouble: Option<String>,
    /// Its federations.
    pub(crate) federations: Vec<FederationStatus>,
}

/// One federation of a [`Status`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct FederationStatus {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) stage: String,
    pub(crate) version: u64,
    pub(crate) rounds: u64,
    pub(crate) evaluation: Option<EvaluationStatus>,
    pub(crate) over: Option<String>,
}

/// The newest federated evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct EvaluationStatus {
    pub(crate) version: u64,
    pub(crate) rows: u64,
    pub(crate) accuracy: f64,
    pub(crate) loss: f64,
}

impl Status {
    pub(crate) fn of(board: &Board, since_unix_ms: u64) -> Self {
        let federations = board
            .federations
            .iter()
            .map(|(id, standing)| FederationStatus {
                id: id.to_string(),
                name: standing.name.clone(),
                stage: standing.stage.clone(),
                version: standing.version,
                rounds: standing.rounds,
                evaluation: standing.evaluation.map(|(version, it)| EvaluationStatus {
                    version,
                    rows: it.rows,
                    accuracy: it.accuracy,
                    loss: it.loss,
                }),
                over: standing.over.clone(),
            })
            .collect();
        Self {
            unix_ms: crate::clock::unix_ms(),
            process: std::process::id(),
            since_unix_ms,
            connected: board.connected,
            trouble: board.trouble.clone(),
            federations,
        }
    }

    /// What a daemon that starts knows of its federations from the one before.
    pub(crate) fn board(&self, federations: &[(FederationId, String)]) -> Board {
        let federations = federations.iter().filter_map(|(id, name)| {
            let text = id.to_string();
            let before = self.federations.iter().find(|before| before.id == text)?;
            let evaluation = before.evaluation.map(|it| {
                let EvaluationStatus { version, rows, accuracy, loss } = it;
                (version, Evaluation { rows, accuracy, loss })
            });
            let (name, version) = (name.clone(), before.version);
            let standing = FederationStanding { name, version, evaluation, ..Default::default() };
            Some((*id, standing))
        });
        Board { federations: federations.collect(), ..Board::default() }
    }

    /// What was written last; `None` where no daemon ran yet, or a build that wrote otherwise.
    pub(crate) fn read(dir: &StateDir) -> Result<Option<Self>, CheckpointError> {
        let bytes = read(&dir.file(FILE), FILE_BYTES_MAX)?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Replaces the file. A full disk costs the status and nothing else.
    pub(crate) fn write(&self, dir: &Path) {
        let (path, temporary) = (dir.join(FILE), PathBuf::from(dir).join(".status.json.new"));
        let written = serde_json::to_vec(self)
            .map_err(std::io::Error::other)
            .and_then(|bytes| std::fs::write(&temporary, bytes))
            .and_then(|()| std::fs::rename(&temporary, &path));
        if let Err(error) = written {
            tracing::debug!(%error, "status.json was not written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sdk::{ClientEvent, FederationEvent};

    #[test]
    fn a_status_is_read_back_as_it_was_written() {
        let root = tempfile::tempdir().unwrap();
        let dir = StateDir::create(root.path()).unwrap();
        assert!(Status::read(&dir).unwrap().is_none());
        let mut board = Board::default();
        board.take(&ClientEvent::Connected);
        board.take(&ClientEvent::Federation {
            federation: FederationId([1; 16]),
            news: FederationEvent::Ready {
                name: "digits".into(),
                rows: 10,
                held_out_rows: 2,
                version: 3,
            },
        });
        let status = Status::of(&board, 7);
        status.write(dir.path());
        assert_eq!(Status::read(&dir).unwrap(), Some(status.clone()));
        let id = FederationId([1; 16]);
        assert!(status.board(&[]).federations.is_empty(), "it is gone");
        let again = status.board(&[(id, "digits".to_owned())]);
        assert_eq!((again.federations[&id].version, again.connected), (3, false));
    }
}
