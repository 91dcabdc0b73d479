//! Ids and digests as people write them: hex digits in a file or on a screen, plain bytes on the
//! wire.

/// `#[serde(with = "crate::text::digest")]`.
pub(crate) mod digest {
    use roundelay_crypto::digest::Digest;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(digest: &Digest, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() { to.collect_str(digest) } else { digest.serialize(to) }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Digest, D::Error> {
        if from.is_human_readable() {
            String::deserialize(from)?.parse().map_err(D::Error::custom)
        } else {
            Digest::deserialize(from)
        }
    }
}
