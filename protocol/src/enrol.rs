//! Enrolment as both sides see it: the one-time token in its text form, the proofs of possession
//! in the request, how the certificate authority is pinned, and what signed notices cover.

use std::fmt;
use std::str::FromStr;

use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::{BadSignature, IdentityKey, IdentityPublic, Signature};
use roundelay_crypto::secret::Secret;

use crate::ids::{ClientId, TenantId};
use crate::session::{EnrolRequest, Notice, SignedNotice};

/// The name in every coordinator's certificate. A client pins the authority, not the address, so
/// the name is the same for all.
pub const SERVER_NAME: &str = "coordinator.roundelay.internal";

/// Bytes of a certificate request or a certificate, DER.
pub const CERTIFICATE_BYTES_MAX: usize = 2 << 10;

/// Bytes of the `host:port` in a token.
const ADDRESS_BYTES_MAX: usize = 262;

const SCHEME: &str = "roundelay://";

/// What an operator hands to a tenant: where to go, whom to trust there, and a secret that works
/// once. Text form: `roundelay://HOST:PORT/AUTHORITY/SECRET`, both in 64 hexadecimal digits.
pub struct Token {
    /// `host:port` of the coordinator.
    pub address: String,
    /// [`authority_fingerprint`] of the coordinator's certificate authority.
    pub authority: Digest,
    /// 256 random bits.
    pub secret: Secret<[u8; 32]>,
}

/// Why a text is not a [`Token`]. Names no part of it: it may hold a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an enrolment token: it reads roundelay://HOST:PORT/AUTHORITY/SECRET with 64 hexadecimal \
     digits each; copy the whole line again"
)]
pub struct BadToken;

impl Token {
    /// The line to hand over. It holds the secret: whoever has it can enrol.
    #[must_use]
    pub fn to_text(&self) -> String {
        let secret = hex::encode(self.secret.expose());
        format!("{SCHEME}{}/{}/{secret}", self.address, self.authority)
    }
}

impl FromStr for Token {
    type Err = BadToken;

    fn from_str(text: &str) -> Result<Self, BadToken> {
        let rest = text.trim().strip_prefix(SCHEME).ok_or(BadToken)?;
        let mut parts = rest.split('/');
        let (Some(address), Some(authority), Some(secret), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(BadToken);
        };
        Ok(Self {
            address: is_address(address).then(|| address.to_owned()).ok_or(BadToken)?,
            authority: authority.parse().map_err(|_| BadToken)?,
            secret: Secret::new(secret.parse::<Digest>().map_err(|_| BadToken)?.0),
        })
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({})", self.address)
    }
}

/// Whether a text reads `host:port`, with a port above 0.
#[must_use]
pub fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let printable = text.chars().all(|c| c.is_ascii_graphic());
    let shaped = !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0);
    printable && shaped && text.len() <= ADDRESS_BYTES_MAX
}

/// What the coordinator keeps of a token's secret.
#[must_use]
pub fn token_hash(secret: &[u8; 32]) -> Digest {
    Digest::of("roundelay/enrol/token", &[secret])
}

/// The fingerprint by which a certificate authority is pinned: over its certificate in DER.
#[must_use]
pub fn authority_fingerprint(certificate: &[u8]) -> Digest {
    Digest::of("roundelay/enrol/authority", &[certificate])
}

/// The id of the client that owns this identity key.
#[must_use]
pub fn client_id(identity: &IdentityPublic) -> ClientId {
    ClientId(identity.fingerprint())
}

impl EnrolRequest {
    /// A request with both proofs of possession, by a client of `tenant` where that is settled.
    #[must_use]
    pub fn new(
        token: &Secret<[u8; 32]>,
        tenant: Option<TenantId>,
        certificate_request: Vec<u8>,
        identity: &IdentityKey,
        tenant_key: &IdentityKey,
    ) -> Self {
        let unsigned = Signature([0; 64]);
        let mut request = Self {
            token: *token.expose(),
            tenant,
            certificate_request,
            identity: identity.public(),
            identity_proof: unsigned,
            tenant_key: tenant_key.public(),
            tenant_key_proof: unsigned,
        };
        let proven = request.proven();
        request.identity_proof = identity.sign(proven.as_ref());
        request.tenant_key_proof = tenant_key.sign(proven.as_ref());
        request
    }

    /// Whether the sender holds both secret keys, for this token and certificate request.
    pub fn verify(&self) -> Result<(), BadSignature> {
        let proven = self.proven();
        self.identity.verify(proven.as_ref(), &self.identity_proof)?;
        self.tenant_key.verify(proven.as_ref(), &self.tenant_key_proof)
    }

    /// All but the proofs; of the token its hash.
    fn proven(&self) -> Digest {
        let token = token_hash(&self.token);
        // No tenant has an empty name.
        let tenant = self.tenant.as_ref().map_or("", TenantId::as_str).as_bytes();
        let keys = [self.identity.as_bytes(), self.tenant_key.as_bytes()];
        let parts = [token.as_ref(), tenant, &self.certificate_request, keys[0], keys[1]];
        Digest::of("roundelay/enrol/proof", &parts)
    }
}

impl SignedNotice {
    /// Signs a notice with the coordinator's notice key.
    #[must_use]
    pub fn new(notice: Notice, unix_ms: u64, key: &IdentityKey) -> Self {
        let signature = key.sign(noticed(&notice, unix_ms).as_ref());
        Self { notice, unix_ms, signature }
    }

    /// Whether the notice is from the holder of the pinned notice key. Its age is for the caller
    /// to judge.
    pub fn verify(&self, key: &IdentityPublic) -> Result<(), BadSignature> {
        key.verify(noticed(&self.notice, self.unix_ms).as_ref(), &self.signature)
    }
}

fn noticed(notice: &Notice, unix_ms: u64) -> Digest {
    let clock = unix_ms.to_le_bytes();
    match notice {
        Notice::Redirect(to) => Digest::of("roundelay/notice/redirect", &[&clock, to.as_bytes()]),
        Notice::RetryAfter(ms) => {
            Digest::of("roundelay/notice/retry-after", &[&clock, &ms.to_le_bytes()])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(seed: u8) -> IdentityKey {
        IdentityKey::from_seed(Secret::new([seed; 32]))
    }

    fn token() -> Token {
        Token {
            address: "127.0.0.1:4433".to_owned(),
            authority: Digest::of("test", &[]),
            secret: Secret::new([0xab; 32]),
        }
    }

    #[test]
    fn a_token_survives_its_text_form_and_surrounding_blanks() {
        for address in ["127.0.0.1:4433", "[::1]:1", "fl.example.org:65535"] {
            let text = Token { address: address.to_owned(), ..token() }.to_text();
            let read: Token = format!("  {text}\n").parse().unwrap();
            assert_eq!(read.address, address);
            assert_eq!(read.authority, token().authority);
            assert!(read.secret.ct_eq(&token().secret));
        }
    }

    #[test]
    fn a_damaged_token_is_refused_without_repeating_it() {
        let text = token().to_text();
        let cut = &text[..text.len() - 1];
        let bad = [
            "",
            "roundelay://",
            cut,
            &text.replace("4433", "0"),
            &text.replace("4433", "70000"),
            &text.replace("127.0.0.1", ""),
            &text.replace("roundelay:", "https:"),
            &format!("{text}/x"),
            &text.replace("ab", "zz"),
        ];
        for text in bad {
            let error = text.parse::<Token>().unwrap_err();
            assert!(!error.to_string().contains("abab"), "{error}");
        }
        assert!(!format!("{:?}", token()).contains("abab"));
    }

    #[test]
    fn a_request_proves_both_keys_for_its_own_token_and_certificate_request() {
        let made = EnrolRequest::new(&token().secret, None, vec![1, 2, 3], &key(1), &key(2));
        assert_eq!(made.verify(), Ok(()));
        let altered = [
            EnrolRequest { token: [0; 32], ..made.clone() },
            EnrolRequest { tenant: Some("acme".parse().unwrap()), ..made.clone() },
            EnrolRequest { certificate_request: vec![1, 2], ..made.clone() },
            EnrolRequest { identity: key(3).public(), ..made.clone() },
            EnrolRequest { tenant_key: key(3).public(), ..made.clone() },
            EnrolRequest { identity_proof: made.tenant_key_proof, ..made.clone() },
            EnrolRequest { tenant_key_proof: made.identity_proof, ..made.clone() },
        ];
        for request in altered {
            assert_eq!(request.verify(), Err(BadSignature));
        }
    }

    #[test]
    fn a_notice_verifies_under_the_key_that_signed_it_and_as_it_was_signed() {
        let notice = SignedNotice::new(Notice::RetryAfter(5_000), 17, &key(1));
        assert_eq!(notice.verify(&key(1).public()), Ok(()));
        assert_eq!(notice.verify(&key(2).public()), Err(BadSignature));
        let sooner = SignedNotice { notice: Notice::RetryAfter(5), ..notice.clone() };
        assert_eq!(sooner.verify(&key(1).public()), Err(BadSignature));
        let later = SignedNotice { unix_ms: 18, ..notice };
        assert_eq!(later.verify(&key(1).public()), Err(BadSignature));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_token_parser_panic(text in ".{0,300}") {
            let _ = text.parse::<Token>();
        }
    }
}
