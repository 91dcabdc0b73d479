//! How a value becomes a row: encoded, then sealed under a data key of its own, which the tenant's
//! key wraps. A sealed value is a format byte, the length of the wrapped key (u16, little endian),
//! the wrapped key, and the box. It opens only at the place that it was sealed for.

use roundelay_crypto::envelope::{DataKey, Place};
use roundelay_crypto::secret::Secret;
use roundelay_protocol::codec;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StoreError;
use crate::keys::{Kms, Scope};

/// Format of a sealed value.
const FORMAT: u8 = 1;
/// Bytes of a value.
const VALUE_BYTES_MAX: usize = codec::DECODE_BYTES_MAX;

/// A data key together with its wrapping, for one value.
pub(crate) struct Envelope {
    key: DataKey,
    wrapped: Vec<u8>,
}

/// A value and the envelope that it will be sealed in, once its place is known.
pub(crate) struct Unsealed {
    pub(crate) value: Vec<u8>,
    envelope: Envelope,
}

/// Where a value stands: the whole of a row but its tenant.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    pub(crate) table: &'a str,
    pub(crate) row: &'a [u8],
    pub(crate) version: u64,
}

impl At<'_> {
    fn place<'a>(&'a self, scope: &'a Scope) -> Place<'a> {
        Place {
            tenant: scope.name().as_bytes(),
            table: self.table,
            row: self.row,
            column: "value",
            version: self.version,
        }
    }

    fn describe(&self, scope: &Scope) -> String {
        format!("{}/{}/{}", scope.name(), self.table, hex::encode(self.row))
    }
}

impl Envelope {
    /// A new data key, wrapped by the key of `scope`.
    pub(crate) async fn new(kms: &dyn Kms, scope: &Scope) -> Result<Self, StoreError> {
        let key = DataKey::random(&mut rand::rng());
        let wrapped = kms.wrap(scope, &key).await?;
        Ok(Self { key, wrapped })
    }

    /// The value with this envelope around it.
    pub(crate) fn hold(self, value: Vec<u8>) -> Unsealed {
        Unsealed { value, envelope: self }
    }

    /// The sealed value for this place.
    pub(crate) fn seal(&self, scope: &Scope, at: At<'_>, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(self.wrapped.len()).expect("a wrapped key is below 64 KiB");
        let mut sealed = vec![FORMAT];
        sealed.extend_from_slice(&length.to_le_bytes());
        sealed.extend_from_slice(&self.wrapped);
        self.key.seal_onto(&mut sealed, &at.place(scope), value, &mut rand::rng());
        sealed
    }
}

impl Unsealed {
    /// The sealed value for this place.
    pub(crate) fn seal(&self, scope: &Scope, at: At<'_>) -> Vec<u8> {
        self.envelope.seal(scope, at, &self.value)
    }
}

/// Opens a sealed value at its place.
pub(crate) async fn open(
    kms: &dyn Kms,
    scope: &Scope,
    at: At<'_>,
    sealed: &[u8],
) -> Result<Secret<Vec<u8>>, StoreError> {
    let unsealable = || StoreError::Unsealable { place: at.describe(scope) };
    let (wrapped, sealed) = split(sealed).ok_or_else(unsealable)?;
    let key = kms.unwrap(scope, wrapped).await?;
    key.open(&at.place(scope), sealed).map_err(|_| unsealable())
}

fn split(sealed: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[format, low, high], rest) = sealed.split_first_chunk()?;
    let wrapped = usize::from(u16::from_le_bytes([low, high]));
    if format == FORMAT { rest.split_at_checked(wrapped) } else { None }
}

/// The encoding of a value before it is sealed.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    codec::encode(value)
}

/// The value of an encoding that was opened from this place.
pub(crate) fn decode<T: DeserializeOwned>(
    scope: &Scope,
    at: At<'_>,
    value: &[u8],
) -> Result<T, StoreError> {
    codec::decode(value, VALUE_BYTES_MAX).map_err(|error| StoreError::Undecodable {
        place: at.describe(scope),
        why: error.to_string(),
    })
}
