//! Every identifier of the system, each a type of its own, so that no two can be confused.

use std::fmt;
use std::str::FromStr;

use roundelay_crypto::digest::Digest;
use serde::{Deserialize, Serialize};

/// A customer of the SaaS and the unit of isolation. It leads every key, row, log field and metric.
///
/// One DNS label: 1 to 63 characters of `a-z`, `0-9` and `-`, neither first nor last a `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct TenantId(String);

/// Why a string is not a [`TenantId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a tenant name has 1 to 63 characters of a-z, 0-9 and '-', not starting or ending with '-'"
)]
pub struct BadTenantId;

impl TenantId {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TenantId {
    type Err = BadTenantId;

    fn from_str(name: &str) -> Result<Self, BadTenantId> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let shaped = (1..=63).contains(&name.len())
            && name.chars().all(allowed)
            && !name.starts_with('-')
            && !name.ends_with('-');
        if shaped { Ok(Self(name.to_owned())) } else { Err(BadTenantId) }
    }
}

impl<'de> Deserialize<'de> for TenantId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The clients, manifest, model and policy that train together. Drawn at random when it is created.
/// Plain bytes on the wire, 32 hexadecimal digits in text formats.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FederationId(pub [u8; 16]);

impl Serialize for FederationId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for FederationId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
        } else {
            <[u8; 16]>::deserialize(deserializer).map(Self)
        }
    }
}

/// Why a string is not a [`FederationId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a federation id is 32 hexadecimal digits")]
pub struct BadFederationId;

impl FromStr for FederationId {
    type Err = BadFederationId;

    fn from_str(text: &str) -> Result<Self, BadFederationId> {
        let mut id = [0; 16];
        hex::decode_to_slice(text, &mut id).map_err(|_| BadFederationId)?;
        Ok(Self(id))
    }
}

impl fmt::Display for FederationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for FederationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FederationId({self})")
    }
}

/// One enrolled daemon: the fingerprint of its federation identity key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClientId(#[serde(with = "crate::text::digest")] pub Digest);

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A client's place in the cohort of one round: its index in the cohort sorted by [`ClientId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RosterIndex(pub u16);

/// The number of a round. It rises strictly within a federation and is never used twice.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct RoundNumber(pub u64);

impl RoundNumber {
    /// The number after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for RoundNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The version of a federation's model: 0 is the initial one, each published training round adds 1.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct ModelVersion(pub u64);

impl ModelVersion {
    /// The version after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for ModelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_name_is_one_lower_case_dns_label() {
        for good in ["acme", "a", "bank-2", "0", &"x".repeat(63)] {
            assert!(good.parse::<TenantId>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "Acme", "a.b", "a/b", "ä", "a b", &"x".repeat(64)] {
            assert_eq!(bad.parse::<TenantId>(), Err(BadTenantId), "{bad}");
        }
    }

    #[test]
    fn ids_are_hexadecimal_in_text_and_plain_bytes_on_the_wire() {
        let (federation, client) = (FederationId([0xab; 16]), ClientId(Digest([0xcd; 32])));
        let json = serde_json::to_string(&(federation, client)).unwrap();
        assert_eq!(json, format!(r#"["{}","{}"]"#, "ab".repeat(16), "cd".repeat(32)));
        assert_eq!(
            serde_json::from_str::<(FederationId, ClientId)>(&json).unwrap(),
            (federation, client)
        );
        assert_eq!(crate::codec::encode(&federation), [0xab; 16]);
        assert_eq!(crate::codec::encode(&client), [0xcd; 32]);
        assert!(serde_json::from_str::<ClientId>(r#""cd""#).is_err());
    }

    #[test]
    fn a_federation_id_survives_its_text_form() {
        let id = FederationId(std::array::from_fn(|i| u8::try_from(i * 16).unwrap()));
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "ab", &"+a".repeat(16), &"é".repeat(16), &"a".repeat(33)] {
            assert_eq!(bad.parse::<FederationId>(), Err(BadFederationId), "{bad}");
        }
        assert!("zz".repeat(16).parse::<FederationId>().is_err());
        assert!("00".repeat(15).parse::<FederationId>().is_err());
    }
}
