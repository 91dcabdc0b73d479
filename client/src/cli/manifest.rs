//! `manifest show` and `manifest sign`.

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use roundelay_crypto::digest::Digest;
use roundelay_protocol::codec;
use roundelay_protocol::ids::FederationId;
use roundelay_protocol::limits::MANIFEST_BYTES_MAX;
use roundelay_protocol::manifest::SignedManifest;
use roundelay_protocol::session::{FederationSummary, ToClient, VectorKind};

use super::show::{Shown, leaves, print};
use super::{CliError, Output, block_on, say};
use crate::checkpoint::StateDir;
use crate::checkpoint::pins::Pins;
use crate::gate::Gate;
use crate::identity::tenant_key;
use crate::outbound::{ListFederations, ManifestSignature};
use crate::session::SessionError;
use crate::session::link::{Inbound, Link};
use crate::session::site::Site;

/// The coordinator has this long for each answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);

pub(super) fn show(dir: PathBuf, wanted: Option<&str>, output: Output) -> Result<(), CliError> {
    block_on(async {
        let mut desk = Desk::open(dir).await?;
        let mut listed = desk.list().await?;
        if let Some(wanted) = wanted {
            let one = pick(&listed, wanted)?;
            listed.retain(|it| it.summary.federation == one);
        }
        if listed.is_empty() && output == Output::Human {
            println!("no federation names this client yet");
        }
        for Listed { summary, signed } in listed {
            let pins = desk.site.dir.federation(summary.federation)?.pins()?;
            let shown = Shown::new(signed, &pins, &desk.site.own);
            match output {
                Output::Json => say(&shown.to_json()),
                Output::Human => print(&shown),
            }
        }
        Ok(())
    })
}

pub(super) fn sign(dir: PathBuf, wanted: &str, yes: bool, output: Output) -> Result<(), CliError> {
    block_on(async {
        let mut desk = Desk::open(dir).await?;
        let listed = desk.list().await?;
        let federation = pick(&listed, wanted)?;
        let Some(Listed { signed, .. }) =
            listed.into_iter().find(|it| it.summary.federation == federation)
        else {
            return Err(CliError::Internal("the federation was listed".to_owned()));
        };
        desk.sign(federation, signed, yes, output).await
    })
}

/// A federation with its newest manifest.
struct Listed {
    summary: FederationSummary,
    signed: SignedManifest,
}

/// The federation that is meant by a name or an id.
fn pick(listed: &[Listed], wanted: &str) -> Result<FederationId, CliError> {
    let ids = listed.iter().map(|it| it.summary.federation);
    if let Some(id) = ids.clone().find(|id| id.to_string() == wanted) {
        return Ok(id);
    }
    let named: Vec<&Listed> = listed.iter().filter(|it| &*it.summary.name == wanted).collect();
    match named.as_slice() {
        [one] => Ok(one.summary.federation),
        many => {
            // Two of one name: their ids tell them apart.
            let shown = if many.is_empty() { listed.iter().collect() } else { named };
            let known = shown
                .iter()
                .map(|it| format!("`{}` ({})", it.summary.name, it.summary.federation))
                .collect();
            Err(CliError::NoFederation { wanted: wanted.to_owned(), known })
        }
    }
}

/// A connection for questions and answers.
struct Desk {
    site: Site,
    gate: Arc<Gate>,
    link: Link,
}

impl Desk {
    async fn open(dir: PathBuf) -> Result<Self, CliError> {
        let site = Site::load(StateDir::open(dir)?)?;
        let gate = Arc::new(Gate::open(&site.dir.file("ledger"))?);
        let enrolment = &site.enrolment;
        let address = enrolment.moved_to.as_ref().unwrap_or(&enrolment.coordinator);
        let dialer = site.dialer()?;
        let link = Link::open(&*dialer, address, Arc::clone(&gate), Arc::default()).await?;
        Ok(Self { site, gate, link })
    }

    async fn next(&mut self) -> Result<Inbound, CliError> {
        let next = tokio::time::timeout(ANSWER_DEADLINE, self.link.next()).await;
        Ok(next.map_err(|_| SessionError::TooSlow)??)
    }

    /// Every federation that names this client, with its newest manifest.
    async fn list(&mut self) -> Result<Vec<Listed>, CliError> {
        self.gate.send(&ListFederations).await?;
        let mut vectors: Vec<(FederationId, Digest, SignedManifest)> = Vec::new();
        let mut summaries: Option<Vec<FederationSummary>> = None;
        loop {
            if let Some(all) = summaries.as_ref().and_then(|all| match_up(all, &vectors)) {
                return Ok(all);
            }
            match self.next().await? {
                Inbound::Control(ToClient::Federations(list)) => summaries = Some(list.into_vec()),
                Inbound::Control(ToClient::Refused(refused)) => {
                    return Err(CliError::Refused(refused));
                }
                Inbound::Vector { federation, kind: VectorKind::Manifest(hash), bytes } => {
                    let signed: SignedManifest = codec::decode(&bytes, MANIFEST_BYTES_MAX)
                        .map_err(|error| SessionError::Malformed(error.to_string()))?;
                    vectors.push((federation, hash, signed));
                }
                _ => {}
            }
        }
    }

    async fn sign(
        &mut self,
        federation: FederationId,
        signed: SignedManifest,
        yes: bool,
        output: Output,
    ) -> Result<(), CliError> {
        let own = &self.site.own;
        let dir = self.site.dir.federation(federation)?;
        let pins = dir.pins()?;
        let predecessor = predecessor(&pins, &signed)?;
        // A tenant agrees to its own leaving too; nothing is pinned then.
        let leaves = leaves(own, predecessor, &signed.manifest);
        if !leaves {
            own.check(&signed.manifest)?;
        }
        signed.standing(predecessor).map_err(CliError::Manifest)?;
        signed.manifest.validate().map_err(|error| CliError::Manifest(error.into()))?;
        let key = tenant_key(&self.site.dir)?
            .filter(|key| key.public() == own.tenant_key)
            .ok_or(CliError::OtherTenantKey)?;
        let shown = Shown::new(signed.clone(), &pins, own);
        if output == Output::Human {
            print(&shown);
        }
        confirm(yes)?;
        let manifest = signed.manifest.hash();
        let signature = signed.manifest.sign(&key);
        // Pinned before it is sent: whatever the coordinator does, this client keeps to it.
        let agreed = pins.in_force.as_ref().is_some_and(|in_force| in_force.hash() == manifest);
        if !agreed && !leaves {
            dir.pin_next(&signed)?;
        }
        self.gate.send(&ManifestSignature { federation, manifest, signature }).await?;
        let (signatures, required) = self.taken().await?;
        self.gate.sync().await?;
        match output {
            Output::Json => say(&serde_json::json!({
                "federation": federation.to_string(),
                "manifest": manifest.to_string(),
                "signatures": signatures,
                "required": required,
            })),
            Output::Human if leaves => {
                println!("signed: {signatures} of {required} signatures; this tenant leaves");
            }
            Output::Human => println!("signed and pinned: {signatures} of {required} signatures"),
        }
        Ok(())
    }

    async fn taken(&mut self) -> Result<(u16, u16), CliError> {
        loop {
            match self.next().await? {
                Inbound::Control(ToClient::SignatureTaken { signatures, required }) => {
                    return Ok((signatures, required));
                }
                Inbound::Control(ToClient::Refused(refused)) => {
                    return Err(CliError::Refused(refused));
                }
                _ => {}
            }
        }
    }
}

/// All federations with their manifests, once they are all there.
fn match_up(
    summaries: &[FederationSummary],
    vectors: &[(FederationId, Digest, SignedManifest)],
) -> Option<Vec<Listed>> {
    let one = |summary: &FederationSummary| {
        let (_, _, signed) = vectors.iter().find(|(federation, hash, signed)| {
            *federation == summary.federation
                && *hash == summary.manifest
                && signed.manifest.hash() == *hash
                && signed.manifest.federation == *federation
        })?;
        Some(Listed { summary: summary.clone(), signed: signed.clone() })
    };
    summaries.iter().map(one).collect()
}

/// The manifest that this one amends, if this client has it.
fn predecessor<'a>(
    pins: &'a Pins,
    signed: &SignedManifest,
) -> Result<Option<&'a roundelay_protocol::manifest::Manifest>, CliError> {
    let Some(in_force) = &pins.in_force else { return Ok(None) };
    if in_force.hash() == signed.manifest.hash() {
        let words = "this manifest is in force already; there is nothing to sign";
        return Err(CliError::NotConfirmed(words));
    }
    Ok(Some(in_force.manifest()))
}

fn confirm(yes: bool) -> Result<(), CliError> {
    if yes {
        return Ok(());
    }
    let (input, mut error) = (std::io::stdin(), std::io::stderr());
    if !input.is_terminal() {
        let words = "nothing was signed: this is no terminal to ask on; give --yes";
        return Err(CliError::NotConfirmed(words));
    }
    let _ = write!(error, "Sign this manifest for your tenant, and pin it? [y/N] ");
    let _ = error.flush();
    let mut answer = String::new();
    input.lock().read_line(&mut answer).map_err(CliError::Input)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(CliError::NotConfirmed("nothing was signed")),
    }
}
