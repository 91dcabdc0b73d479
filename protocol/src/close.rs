//! Why a connection was closed: the application error code of QUIC, with a sentence beside it.

/// A code that both sides know. Its number is its wire form and never changes its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CloseCode {
    /// Nothing is wrong: the sender is done.
    Done,
    /// The coordinator is about to stop; come back later.
    ShuttingDown,
    /// The coordinator has no room for another connection now; come back later.
    Busy,
    /// A newer connection of the same client took this one's place.
    Replaced,
    /// The receiver took too long: to say hello, to finish a frame, or to read what was sent.
    TooSlow,
    /// A fault of the coordinator's own; come back later.
    Internal,
    /// The connection needs a certificate and none was shown.
    CertificateRequired,
    /// The certificate does not name a client that this coordinator knows.
    CertificateUnknown,
    /// The certificate's life has ended.
    CertificateExpired,
    /// The client was revoked.
    Revoked,
    /// No wire version in common.
    VersionUnsupported,
    /// Bytes that are no message, or a message where it does not belong.
    Malformed,
    /// A frame, a roster or a vector above its limit.
    TooLarge,
    /// Too many requests or streams at once.
    TooMany,
}

impl CloseCode {
    const ALL: [(Self, u32, &'static str); 14] = [
        (Self::Done, 0, "done"),
        (Self::ShuttingDown, 1, "shutting_down"),
        (Self::Busy, 2, "busy"),
        (Self::Replaced, 3, "replaced"),
        (Self::TooSlow, 4, "too_slow"),
        (Self::Internal, 5, "internal"),
        (Self::CertificateRequired, 16, "certificate_required"),
        (Self::CertificateUnknown, 17, "certificate_unknown"),
        (Self::CertificateExpired, 18, "certificate_expired"),
        (Self::Revoked, 19, "revoked"),
        (Self::VersionUnsupported, 20, "version_unsupported"),
        (Self::Malformed, 32, "malformed"),
        (Self::TooLarge, 33, "too_large"),
        (Self::TooMany, 34, "too_many"),
    ];

    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> u32 {
        Self::ALL.iter().find(|(code, ..)| *code == self).map_or(0, |(_, number, _)| *number)
    }

    /// The code of a number, if this build knows it.
    #[must_use]
    pub fn of(number: u64) -> Option<Self> {
        Self::ALL.iter().find(|(_, known, _)| u64::from(*known) == number).map(|(code, ..)| *code)
    }

    /// The stable name in logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(code, ..)| *code == self).map_or("", |(.., name)| name)
    }

    /// Whether connecting again with nothing changed cannot help: somebody has to act first.
    #[must_use]
    pub fn is_final(self) -> bool {
        (16..32).contains(&self.number())
    }
}

impl std::fmt::Display for CloseCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_its_number_and_has_a_name_of_its_own() {
        let mut names = Vec::new();
        for (code, number, name) in CloseCode::ALL {
            assert_eq!(CloseCode::of(u64::from(number)), Some(code));
            assert_eq!((code.number(), code.to_string().as_str()), (number, name));
            names.push(name);
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CloseCode::ALL.len());
        assert_eq!(CloseCode::of(999), None);
    }

    #[test]
    fn a_revoked_client_does_not_come_back_and_a_slow_one_does() {
        assert!(CloseCode::Revoked.is_final());
        assert!(!CloseCode::TooSlow.is_final() && !CloseCode::ShuttingDown.is_final());
    }
}
