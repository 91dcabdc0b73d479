//! Mistakes that can be planted in the simulator's own drivers, to see that the invariants find
//! them. None of them touches the code that is tried: each is a driver that breaks its contract.

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

/// One planted mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Bug {
    /// The coordinator shows a survivor set that it has not made durable.
    SkippedPersist,
    /// The coordinator starts again from a snapshot of its store that is not the newest.
    OldSnapshot,
    /// A client starts again without the last records of its history.
    LostHistory,
    /// The coordinator adds an upload twice.
    DoubleCount,
    /// A client makes a record durable some time after what it is about has left.
    LateJournal,
    /// A client masks a retransmission anew, with another contribution.
    ChangedUpload,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::SkippedPersist,
        Self::OldSnapshot,
        Self::LostHistory,
        Self::DoubleCount,
        Self::LateJournal,
        Self::ChangedUpload,
    ];
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.to_possible_value();
        f.write_str(name.as_ref().map_or("", |value| value.get_name()))
    }
}
