//! Which wire version two builds speak with each other.

/// Wire versions that this build speaks, newest first. Every hello negotiates; N − 1 and N work
/// together.
pub const PROTOCOL_VERSIONS: &[u16] = &[1];

/// Two builds have no wire version in common: the older one has to be updated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no wire version in common: this side speaks {ours:?}, the other {theirs:?}; update the side \
     with the lower numbers"
)]
pub struct NoCommonVersion {
    /// What this build speaks.
    pub ours: Vec<u16>,
    /// What the other side offered.
    pub theirs: Vec<u16>,
}

/// The highest version that both sides speak.
pub fn negotiate(ours: &[u16], theirs: &[u16]) -> Result<u16, NoCommonVersion> {
    let common = ours.iter().filter(|version| theirs.contains(version)).max();
    common.copied().ok_or_else(|| NoCommonVersion { ours: ours.to_vec(), theirs: theirs.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_common_version_is_taken_in_any_order_of_offers() {
        assert_eq!(negotiate(&[3, 2], &[1, 2]), Ok(2));
        assert_eq!(negotiate(&[2, 3], &[4, 3, 2]), Ok(3));
        assert_eq!(negotiate(PROTOCOL_VERSIONS, PROTOCOL_VERSIONS), Ok(1));
    }

    #[test]
    fn no_common_version_says_what_both_sides_speak() {
        let error = negotiate(&[3, 2], &[1]).unwrap_err().to_string();
        assert!(error.contains("[3, 2]") && error.contains("[1]"), "{error}");
        assert!(negotiate(&[1], &[]).is_err());
    }
}
