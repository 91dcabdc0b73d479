//! `manifest show` and `manifest sign`.

use std::collections::BTreeSet;
use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use roundelay_crypto::digest::Digest;
use roundelay_protocol::codec;
use roundelay_protocol::ids::{ClientId, FederationId};
use roundelay_protocol::limits::MANIFEST_BYTES_MAX;
use roundelay_protocol::manifest::{Ancestry, Manifest, Pinned, SignedManifest};
use roundelay_protocol::session::{FederationSummary, ToClient, VectorKind};

use super::show::{Shown, leaves, print};
use roundelay_program::{Output, answer, tell};

use super::{CliError, Reach, block_on, compared};
use crate::checkpoint::pins::{Agreed, Pins};
use crate::checkpoint::{FederationDir, StateDir};
use crate::config::Config;
use crate::gate::Gate;
use crate::identity::tenant_key;
use crate::outbound::{FetchManifest, ListFederations, ManifestSignature};
use crate::session::SessionError;
use crate::session::link::{Inbound, Link};
use crate::session::site::Site;

/// The coordinator has this long for each answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);

/// What `sign` was told.
pub(super) struct Wish {
    /// Not to be asked.
    pub(super) yes: bool,
    /// Whose fingerprints were compared by another channel.
    pub(super) compared: Vec<String>,
}

pub(super) fn show(
    dir: PathBuf,
    reach: &Reach,
    wanted: Option<&str>,
    output: Output,
) -> Result<(), CliError> {
    block_on(async {
        let mut desk = Desk::open(dir, reach).await?;
        let mut listed = desk.list().await?;
        if let Some(wanted) = wanted {
            let one = pick(&listed, wanted)?;
            listed.retain(|it| it.summary.federation == one);
        }
        let mut all = Vec::new();
        for Listed { summary, signed } in listed {
            let dir = desk.site.dir.federation(summary.federation)?;
            let pins = dir.pins()?;
            let found = match desk.predecessor(&pins, &signed).await {
                Err(CliError::Manifest(why)) => Err(why),
                found => Ok(found?),
            };
            let predecessor = found.as_ref().map(Option::as_ref);
            all.push(Shown::new(signed, predecessor, &pins, &desk.site.own, dir.compared()?));
        }
        match output {
            Output::Json => answer("manifests", all.iter().map(Shown::to_json).collect::<Vec<_>>()),
            Output::Human if all.is_empty() => tell!("no federation names this client yet"),
            Output::Human => all.iter().for_each(print),
        }
        Ok(())
    })
}

pub(super) fn sign(
    dir: PathBuf,
    reach: &Reach,
    wanted: &str,
    wish: &Wish,
    output: Output,
) -> Result<(), CliError> {
    block_on(async {
        let mut desk = Desk::open(dir, reach).await?;
        let listed = desk.list().await?;
        let federation = pick(&listed, wanted)?;
        let Some(Listed { signed, .. }) =
            listed.into_iter().find(|it| it.summary.federation == federation)
        else {
            return Err(CliError::Internal("the federation was listed".to_owned()));
        };
        desk.sign(federation, signed, wish, output).await
    })
}

/// A federation with its newest manifest.
struct Listed {
    summary: FederationSummary,
    signed: SignedManifest,
}

impl Listed {
    fn in_words(&self) -> String {
        format!("`{}` ({})", self.summary.name, self.summary.federation)
    }
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
        [] => {
            let known = listed.iter().map(Listed::in_words).collect();
            Err(CliError::NoFederation { wanted: wanted.to_owned(), known })
        }
        many => {
            let known = many.iter().map(|it| it.in_words()).collect();
            Err(CliError::SeveralFederations { wanted: wanted.to_owned(), known })
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
    async fn open(dir: PathBuf, reach: &Reach) -> Result<Self, CliError> {
        let site = Site::load(StateDir::open(dir)?)?;
        let gate = Arc::new(Gate::open(&site.dir.file("ledger"))?);
        let configured = configured(&site.dir, reach)?;
        let dialer = site.manifest_dialer()?;
        let mut addresses = site.enrolment.addresses(configured.as_deref()).into_iter().peekable();
        loop {
            let Some(address) = addresses.next() else {
                return Err(CliError::Internal("enrolment named no address".to_owned()));
            };
            match Link::open(&*dialer, address, Arc::clone(&gate), Arc::default()).await {
                Ok(link) => return Ok(Self { site, gate, link }),
                // Should the place be gone that a notice named.
                Err(SessionError::Lost(_)) if addresses.peek().is_some() => {}
                Err(error) => return Err(error.into()),
            }
        }
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
                    vectors.push((federation, hash, decoded(&bytes)?));
                }
                _ => {}
            }
        }
    }

    async fn sign(
        &mut self,
        federation: FederationId,
        signed: SignedManifest,
        wish: &Wish,
        output: Output,
    ) -> Result<(), CliError> {
        let dir = self.site.dir.federation(federation)?;
        let pins = dir.pins()?;
        let told = compared::named(&signed.manifest, &wish.compared)?;
        let in_force = pins.in_force.as_ref().map(Pinned::hash);
        if in_force == Some(signed.manifest.hash()) && !told.is_empty() {
            dir.add_compared(&told)?;
            self.recorded(&dir.compared()?, &signed.manifest, output);
            return Ok(());
        }
        if in_force == Some(signed.manifest.hash()) {
            let words = "this manifest is in force already; there is nothing to sign";
            return Err(CliError::NotConfirmed(words));
        }
        let predecessor = self.predecessor(&pins, &signed).await?;
        // A tenant agrees to its own leaving too; nothing is pinned then.
        let own = &self.site.own;
        let leaves = leaves(own, predecessor.as_ref(), &signed.manifest);
        if !leaves {
            own.check(&signed.manifest)?;
        }
        let key = tenant_key(&self.site.dir)?
            .filter(|key| key.public() == own.tenant_key)
            .ok_or(CliError::OtherTenantKey)?;
        let before = dir.compared()?;
        let compared = before.union(&told).copied().collect();
        let shown = Shown::new(signed.clone(), Ok(predecessor.as_ref()), &pins, own, compared);
        if output == Output::Human {
            print(&shown);
        }
        // Whoever leaves relies on no peers any more.
        let compared = match leaves {
            true => before,
            false => self.compared(&signed.manifest, &dir, told, wish)?,
        };
        confirm(wish.yes)?;
        let own = &self.site.own;
        let (known, peers) = compared::peers(&signed.manifest, own, &compared);
        dir.add_compared(&compared)?;
        let manifest = signed.manifest.hash();
        let signature = signed.manifest.sign(&key);
        // Pinned before it is sent: whatever the coordinator does, this client keeps to it.
        let agreed = pins.in_force.as_ref().is_some_and(|in_force| in_force.hash() == manifest);
        if !agreed && !leaves {
            dir.pin_next(&Agreed { signed, predecessor })?;
        }
        self.gate.send(&ManifestSignature { federation, manifest, signature }).await?;
        let (signatures, required) = self.taken().await?;
        self.gate.sync().await?;
        told_signed(
            output,
            &Signed { federation, manifest, signatures, required, known, peers, leaves },
        );
        Ok(())
    }

    /// Who was compared, now and before; asks on a terminal where nothing was told.
    fn compared(
        &self,
        manifest: &Manifest,
        dir: &FederationDir,
        told: BTreeSet<ClientId>,
        wish: &Wish,
    ) -> Result<BTreeSet<ClientId>, CliError> {
        let mut compared = dir.compared()?;
        compared.extend(told);
        if !wish.yes && wish.compared.is_empty() && std::io::stdin().is_terminal() {
            let words = "Whose fingerprints have you compared by another channel? \
                         [names of members with commas between, `all`, or nothing] ";
            let answer = ask(words)?;
            let names: Vec<String> = answer.split(',').map(|it| it.trim().to_owned()).collect();
            let names: Vec<String> = names.into_iter().filter(|it| !it.is_empty()).collect();
            compared.extend(compared::named(manifest, &names)?);
        }
        compared::check(manifest, &self.site.own, &compared)?;
        Ok(compared)
    }

    /// The manifest is in force already, and more peers were compared.
    fn recorded(&self, compared: &BTreeSet<ClientId>, manifest: &Manifest, output: Output) {
        let (known, peers) = compared::peers(manifest, &self.site.own, compared);
        match output {
            Output::Json => {
                let federation = manifest.federation.to_string();
                let body = serde_json::json!({
                    "federation": federation, "peers": peers, "compared": known,
                });
                answer("compared", body);
            }
            Output::Human => tell!(
                "the manifest is in force already; the fingerprints of {known} of {peers} peers \
                 were compared by another channel"
            ),
        }
    }

    /// What a manifest amends, none for version 0 and for the one in force. Each version is verified
    /// back to the one in force here or, by a tenant that joins, to version 0.
    async fn predecessor(
        &mut self,
        pins: &Pins,
        signed: &SignedManifest,
    ) -> Result<Option<Manifest>, CliError> {
        if pins.in_force.as_ref().map(Pinned::hash) == Some(signed.manifest.hash()) {
            return Ok(None);
        }
        let mut way = Ancestry::of(signed, pins.in_force.as_ref())?;
        while let Some(wanted) = way.wanted() {
            way.take(self.fetch(signed.manifest.federation, wanted).await?)?;
        }
        Ok(way.predecessor())
    }

    async fn fetch(
        &mut self,
        federation: FederationId,
        manifest: Digest,
    ) -> Result<SignedManifest, CliError> {
        self.gate.send(&FetchManifest { federation, manifest }).await?;
        loop {
            match self.next().await? {
                Inbound::Vector { federation: of, kind: VectorKind::Manifest(hash), bytes }
                    if (of, hash) == (federation, manifest) =>
                {
                    return decoded(&bytes);
                }
                Inbound::Control(ToClient::Refused(refused)) => {
                    return Err(CliError::Refused(refused));
                }
                _ => {}
            }
        }
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

/// A signature that was taken, and who was compared.
struct Signed {
    federation: FederationId,
    manifest: Digest,
    signatures: u16,
    required: u16,
    known: usize,
    peers: usize,
    leaves: bool,
}

fn told_signed(output: Output, signed: &Signed) {
    let Signed { federation, manifest, signatures, required, known, peers, leaves } = *signed;
    match output {
        Output::Json => answer(
            "signed",
            serde_json::json!({
                "federation": federation.to_string(),
                "manifest": manifest.to_string(),
                "signatures": signatures,
                "required": required,
                "peers": peers,
                "compared": known,
            }),
        ),
        Output::Human if leaves => {
            tell!("signed: {signatures} of {required} signatures; this tenant leaves");
        }
        Output::Human => tell!(
            "signed and pinned: {signatures} of {required} signatures; the fingerprints of \
             {known} of {peers} peers were compared by another channel"
        ),
    }
}

fn decoded(bytes: &[u8]) -> Result<SignedManifest, CliError> {
    let decoded = codec::decode(bytes, MANIFEST_BYTES_MAX);
    Ok(decoded.map_err(|error| SessionError::Malformed(error.to_string()))?)
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

fn confirm(yes: bool) -> Result<(), CliError> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        let words = "nothing was signed: this is no terminal to ask on; give --yes";
        return Err(CliError::NotConfirmed(words));
    }
    match ask("Sign this manifest for your tenant, and pin it? [y/N] ")?.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(CliError::NotConfirmed("nothing was signed")),
    }
}

fn ask(words: &str) -> Result<String, CliError> {
    let mut error = std::io::stderr();
    let _ = write!(error, "{words}");
    let _ = error.flush();
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(CliError::Input)?;
    Ok(answer)
}

/// The address that the command line or the configuration names, if one does.
fn configured(dir: &StateDir, reach: &Reach) -> Result<Option<String>, CliError> {
    if reach.coordinator.is_some() {
        return Ok(reach.coordinator.clone());
    }
    let default = dir.path().join("client.toml");
    match &reach.config {
        Some(file) => Ok(Config::read(file)?.coordinator),
        None if default.exists() => Ok(Config::read(&default)?.coordinator),
        None => Ok(None),
    }
}
