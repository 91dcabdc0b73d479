//! How a program ends: one table of exit statuses for every program, so that a script need not know
//! which of them it called.

use serde::{Deserialize, Serialize};

/// Why a program failed. Its name stands in the error object, its number is the exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A fault of the program or of the machine, such as a full disk.
    Internal,
    /// The command line, a file or a value is wrong.
    Invalid,
    /// The configuration, the state directory or the installation lacks something.
    Configuration,
    /// The tenant's data.
    Data,
    /// The coordinator is not there, or can't be trusted.
    Unreachable,
    /// The coordinator refuses: token, certificate, manifest.
    Refused,
    /// The deadline has passed.
    Deadline,
    /// The manifest does not verify, or was not confirmed.
    Manifest,
    /// What was asked for is not there.
    NotFound,
    /// It is there already, does not go in this state, or is in use.
    Conflict,
    /// Stored data is damaged.
    Damaged,
}

/// It worked.
pub const DONE: u8 = 0;

/// The table as `--help` and docs/commands.md say it.
pub const HELP: &str = "Exit status: 0 done, 1 internal error or full disk, 2 wrong command line, \
file or value, 3 configuration, state directory or installation, 4 the tenant's data, 5 \
coordinator not there or not to be trusted, 6 refused by the coordinator, 7 deadline passed, 8 \
manifest does not verify or was not confirmed, 9 not found, 10 conflict or in use, 11 damaged data";

impl Kind {
    /// All of them, with their exit statuses and names.
    pub const ALL: [(Self, u8, &'static str); 11] = [
        (Self::Internal, 1, "internal"),
        (Self::Invalid, 2, "invalid"),
        (Self::Configuration, 3, "configuration"),
        (Self::Data, 4, "data"),
        (Self::Unreachable, 5, "unreachable"),
        (Self::Refused, 6, "refused"),
        (Self::Deadline, 7, "deadline"),
        (Self::Manifest, 8, "manifest"),
        (Self::NotFound, 9, "not_found"),
        (Self::Conflict, 10, "conflict"),
        (Self::Damaged, 11, "damaged"),
    ];

    /// The exit status.
    #[must_use]
    pub fn status(self) -> u8 {
        Self::ALL.iter().find(|(kind, ..)| *kind == self).map_or(1, |(_, status, _)| *status)
    }

    /// The name in the error object.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, ..)| *kind == self).map_or("", |(.., name)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_is_told_once_and_in_order() {
        let told: Vec<u8> = HELP.split([' ', ',']).filter_map(|word| word.parse().ok()).collect();
        let statuses: Vec<u8> = Kind::ALL.iter().map(|(_, status, _)| *status).collect();
        assert_eq!(told, [vec![DONE], statuses].concat());
        for (kind, status, _) in Kind::ALL {
            assert_eq!(kind.status(), status);
        }
    }
}
