//! Stateless resets that survive a restart (RFC 9000, 10.3). A coordinator that was killed has told
//! nobody; the next one on the same port answers what arrives for lost connections with a token
//! that their peers recognise, because it comes from the installation and not from the process. So
//! clients connect again within a round trip instead of waiting for their idle timeout.

use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::{CryptoError, HmacKey};
use quinn::{ConnectionId, ConnectionIdGenerator, EndpointConfig};
use roundelay_crypto::kdf;
use roundelay_crypto::secret::{Secret, Seed};

use crate::authority::Authority;

/// Length of a connection id.
const ID_BYTES: usize = 8;
/// Between two resets at least; the default of 20 ms would let a thousand clients wait for 20 s.
/// What a flood of garbage draws out is bounded by it, and each reset is shorter than what drew it.
const BETWEEN: Duration = Duration::from_millis(1);

/// An endpoint whose reset tokens are those of the installation.
pub(super) fn endpoint_config(authority: &Authority) -> EndpointConfig {
    let key = ResetKey(authority.derived("roundelay/quic/reset"));
    let mut config = EndpointConfig::new(Arc::new(key));
    config.cid_generator(|| Box::new(RandomIds)).min_reset_interval(BETWEEN);
    config
}

/// Random connection ids. Those of quinn carry a check value under a key of the process, so a
/// successor would take them for garbage and stay silent.
struct RandomIds;

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&rand::random::<[u8; ID_BYTES]>())
    }

    fn cid_len(&self) -> usize {
        ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// A pseudorandom function by HKDF-SHA256 where quinn asks for an HMAC.
struct ResetKey(Seed);

impl ResetKey {
    fn token(&self, data: &[u8]) -> Secret<[u8; 32]> {
        kdf::derive(&self.0, "roundelay/quic/reset-token", &[data])
    }
}

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        signature_out.copy_from_slice(self.token(data).expose());
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        let shown = Secret::from_slice(signature).ok_or(CryptoError)?;
        if self.token(data).ct_eq(&shown) { Ok(()) } else { Err(CryptoError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_those_of_the_key_and_no_other() {
        let (one, two) = (ResetKey(Seed::new([1; 32])), ResetKey(Seed::new([2; 32])));
        let mut token = [0; 32];
        one.sign(b"id", &mut token);
        assert!(one.verify(b"id", &token).is_ok());
        assert!(one.verify(b"di", &token).is_err() && two.verify(b"id", &token).is_err());
        assert!(one.verify(b"id", &token[..31]).is_err());
    }
}
