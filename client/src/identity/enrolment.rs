//! What enrolling settled: which coordinator, which tenant, and the keys that are pinned.

use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::IdentityPublic;
use roundelay_protocol::enrol::authority_fingerprint;
use roundelay_protocol::ids::TenantId;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use crate::checkpoint::files::{Access, read, replace};
use crate::checkpoint::{CheckpointError, StateDir};

const FILE: &str = "enrolment.toml";
const AUTHORITY_FILE: &str = "tls/authority.der";
const FORMAT: u32 = 1;
const NOTE: &str = "# Written by `roundelay-client enrol`; the keys in it are pinned.\n";

/// The settled facts of an enrolment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolment {
    /// `host:port` of the coordinator, as the token said.
    pub coordinator: String,
    /// `host:port` that a signed notice moved this client to.
    pub moved_to: Option<String>,
    /// The tenant that this client belongs to.
    pub tenant: TenantId,
    /// Fingerprint of the coordinator's certificate authority.
    pub authority: Digest,
    /// Signs redirects.
    pub notice_key: IdentityPublic,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    format: u32,
    coordinator: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    moved_to: Option<String>,
    tenant: TenantId,
    authority: String,
    notice_key: String,
}

impl Enrolment {
    /// Where to dial, the first choice first: the configured address and no other, else the one
    /// that a notice named, and the one of the token, should the other be gone.
    #[must_use]
    pub fn addresses<'a>(&'a self, configured: Option<&'a str>) -> Vec<&'a str> {
        match configured {
            Some(address) => vec![address],
            None => self.moved_to.iter().chain([&self.coordinator]).map(String::as_str).collect(),
        }
    }

    /// The enrolment of a state directory; `None` where none was completed.
    ///
    /// # Errors
    /// The file is damaged or newer.
    pub fn load(dir: &StateDir) -> Result<Option<Self>, CheckpointError> {
        let path = dir.file(FILE);
        let Some(bytes) = read(&path, 16 << 10)? else { return Ok(None) };
        let damaged = |why: String| CheckpointError::damaged(&path, why);
        let text = String::from_utf8(bytes).map_err(|error| damaged(error.to_string()))?;
        let format: Option<u32> = toml::from_str::<toml::Table>(&text)
            .ok()
            .and_then(|table| table.get("format")?.as_integer()?.try_into().ok());
        if let Some(format) = format.filter(|format| *format > FORMAT) {
            return Err(CheckpointError::Newer { path, format });
        }
        let written: Written =
            toml::from_str(&text).map_err(|error| damaged(error.message().to_owned()))?;
        let notice_key = hex::decode(&written.notice_key)
            .ok()
            .and_then(|bytes| IdentityPublic::parse(bytes.try_into().ok()?).ok())
            .ok_or_else(|| damaged("notice_key is not a public key".to_owned()))?;
        let authority = written.authority.parse().map_err(|_| {
            damaged("authority is not a fingerprint of 64 hexadecimal digits".to_owned())
        })?;
        let Written { coordinator, moved_to, tenant, .. } = written;
        Ok(Some(Self { coordinator, moved_to, tenant, authority, notice_key }))
    }

    /// Writes it in place of the one before.
    ///
    /// # Errors
    /// It can't be written.
    pub fn save(&self, dir: &StateDir) -> Result<(), CheckpointError> {
        let written = Written {
            format: FORMAT,
            coordinator: self.coordinator.clone(),
            moved_to: self.moved_to.clone(),
            tenant: self.tenant.clone(),
            authority: self.authority.to_string(),
            notice_key: hex::encode(self.notice_key.as_bytes()),
        };
        let path = dir.file(FILE);
        let text = toml::to_string(&written)
            .map_err(|error| CheckpointError::damaged(&path, error.to_string()))?;
        replace(&path, Access::Plain, &[NOTE.as_bytes(), text.as_bytes()])
    }
}

/// The pinned authority's certificate.
///
/// # Errors
/// It is missing, or not the one whose fingerprint was pinned.
pub fn load_authority(
    dir: &StateDir,
    fingerprint: Digest,
) -> Result<CertificateDer<'static>, CheckpointError> {
    let path = dir.file(AUTHORITY_FILE);
    let bytes = read(&path, 16 << 10)?.ok_or_else(|| CheckpointError::Missing(path.clone()))?;
    if authority_fingerprint(&bytes) != fingerprint {
        return Err(CheckpointError::damaged(&path, "it is not the authority that was pinned"));
    }
    Ok(bytes.into())
}

/// Keeps the authority's certificate.
///
/// # Errors
/// It can't be written.
pub fn save_authority(dir: &StateDir, certificate: &[u8]) -> Result<(), CheckpointError> {
    replace(&dir.file(AUTHORITY_FILE), Access::Plain, &[certificate])
}

#[cfg(test)]
mod tests {
    use roundelay_crypto::identity::IdentityKey;
    use roundelay_crypto::secret::Secret;

    use super::*;

    fn enrolment() -> Enrolment {
        Enrolment {
            coordinator: "fl.example.org:4433".to_owned(),
            moved_to: None,
            tenant: "acme".parse().unwrap(),
            authority: authority_fingerprint(b"authority"),
            notice_key: IdentityKey::from_seed(Secret::new([3; 32])).public(),
        }
    }

    #[test]
    fn an_enrolment_is_read_back_as_it_was_written() {
        let root = tempfile::tempdir().unwrap();
        let dir = StateDir::create(root.path()).unwrap();
        assert!(Enrolment::load(&dir).unwrap().is_none());
        let moved = Enrolment { moved_to: Some("b.example:1".to_owned()), ..enrolment() };
        for enrolment in [enrolment(), moved] {
            enrolment.save(&dir).unwrap();
            assert_eq!(Enrolment::load(&dir).unwrap(), Some(enrolment));
        }
    }

    #[test]
    fn a_configured_address_is_the_only_one_and_that_of_the_token_the_last_resort() {
        let moved = Enrolment { moved_to: Some("b.example:1".to_owned()), ..enrolment() };
        assert_eq!(enrolment().addresses(None), ["fl.example.org:4433"]);
        assert_eq!(moved.addresses(None), ["b.example:1", "fl.example.org:4433"]);
        assert_eq!(moved.addresses(Some("c:2")), ["c:2"]);
    }

    #[test]
    fn a_newer_or_damaged_enrolment_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let dir = StateDir::create(root.path()).unwrap();
        enrolment().save(&dir).unwrap();
        let text = std::fs::read_to_string(dir.file(FILE)).unwrap();
        std::fs::write(dir.file(FILE), text.replace("format = 1", "format = 2\nnew = 1")).unwrap();
        let error = Enrolment::load(&dir).unwrap_err();
        assert!(matches!(error, CheckpointError::Newer { format: 2, .. }), "{error}");
        for (from, to) in [("notice_key = \"", "notice_key = \"00"), ("acme", "Acme")] {
            std::fs::write(dir.file(FILE), text.replace(from, to)).unwrap();
            assert!(Enrolment::load(&dir).is_err(), "{to}");
        }
    }

    #[test]
    fn an_authority_that_was_exchanged_on_disk_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let dir = StateDir::create(root.path()).unwrap();
        save_authority(&dir, b"authority").unwrap();
        load_authority(&dir, enrolment().authority).unwrap();
        save_authority(&dir, b"another").unwrap();
        assert!(load_authority(&dir, enrolment().authority).is_err());
    }
}
