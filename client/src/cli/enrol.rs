//! `enrol`.

use std::io::Read;
use std::path::PathBuf;

use roundelay_protocol::enrol::{BadToken, Token};
use roundelay_protocol::manifest::readable;
use zeroize::Zeroizing;

use roundelay_program::{Output, answer, tell};

use super::{CliError, block_on};
use crate::checkpoint::StateDir;
use crate::enrol::Enrolee;
use crate::identity::{identity_key, tenant_key};

/// Bytes of a token at most.
const TOKEN_BYTES_MAX: u64 = 1024;

pub(super) fn enrol(dir: PathBuf, token: &str, output: Output) -> Result<(), CliError> {
    let token: Token = if token == "-" { from_input()? } else { token.parse()? };
    let dir = StateDir::create(dir)?;
    let _lock = dir.lock()?;
    let Enrolee { enrolment, client } =
        block_on(async { crate::enrol::enrol(&dir, &token).await.map_err(CliError::from) })?;
    let fingerprint = |key: Option<roundelay_crypto::identity::IdentityKey>| {
        key.map(|key| readable(&key.public().fingerprint())).unwrap_or_default()
    };
    let (identity, tenant) = (fingerprint(identity_key(&dir)?), fingerprint(tenant_key(&dir)?));
    match output {
        Output::Json => answer(
            "enrolled",
            serde_json::json!({
                "tenant": enrolment.tenant,
                "client": client.to_string(),
                "coordinator": enrolment.coordinator,
                "tenant_key": tenant.replace(' ', ""),
                "dir": dir.path(),
            }),
        ),
        Output::Human => {
            tell!("enrolled as a client of tenant {}", enrolment.tenant);
            tell!("coordinator  {}", enrolment.coordinator);
            tell!("client       {identity}");
            tell!("tenant key   {tenant}");
            tell!("state        {}", dir.path().display());
            tell!(
                "Tell the other tenants the two fingerprints by another channel; they are in every \
                 manifest that names this client."
            );
            tell!("Keep {} safe: it signs manifests.", dir.file("tenant.key").display());
        }
    }
    Ok(())
}

fn from_input() -> Result<Token, CliError> {
    let mut bytes = Zeroizing::new(Vec::new());
    let mut input = std::io::stdin().lock().take(TOKEN_BYTES_MAX);
    input.read_to_end(&mut bytes).map_err(CliError::Input)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| BadToken)?;
    Ok(text.parse()?)
}
