//! The control frames of one client, one after the other: while one is worked on, the next waits
//! in the stream, and flow control holds the client back.

use std::sync::Arc;

use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::Signature;
use roundelay_protocol::close::CloseCode;
use roundelay_protocol::ids::FederationId;
use roundelay_protocol::message::FromClient;
use roundelay_protocol::session::{Refused, StreamHeader, ToClient, ToCoordinator, VectorKind};
use tokio::sync::watch;

use super::admission::Purpose;
use super::closing::Closing;
use super::connection::Context;
use super::driver::{Connected, VectorSource};
use super::framing::Frames;
use super::post::Post;
use crate::authority::{Peer, PeerCertificate};
use crate::engine::tenant::Denied;
use crate::federations::{Listing, Signed};

/// Answers one client's control frames.
pub struct Requests {
    /// Who asks.
    pub peer: Peer,
    /// What for.
    pub purpose: Purpose,
    /// The client's place in the driver.
    pub connected: Arc<Connected>,
    /// The way back.
    pub post: Arc<Post>,
    /// The client's certificate; the next one when it is renewed.
    pub certificate: watch::Sender<PeerCertificate>,
    /// What all connections share.
    pub context: Arc<Context>,
}

impl Requests {
    /// Serves until the control stream ends.
    pub async fn serve(self, mut frames: Frames) -> Closing {
        loop {
            match frames.next().await {
                Ok(Some(request)) => {
                    if let Err(closing) = self.answer(request).await {
                        return closing;
                    }
                }
                Ok(None) => return Closing::new(CloseCode::Done, "the client has ended"),
                Err(closing) => return closing,
            }
        }
    }

    async fn answer(&self, request: ToCoordinator) -> Result<(), Closing> {
        if self.purpose == Purpose::Manifests && !is_about_manifests(&request) {
            return Err(Closing::malformed("this connection is for manifests alone"));
        }
        match request {
            ToCoordinator::Hello { .. } => return Err(Closing::malformed("a second hello")),
            ToCoordinator::ListFederations => self.list_federations().await,
            ToCoordinator::SignManifest { federation, manifest, signature } => {
                self.sign(federation, manifest, signature).await;
            }
            // The driver answers a join itself, ahead of what the rounds have to say.
            ToCoordinator::Join(join) => {
                let (federation, pinned) = (join.federation, join.manifest);
                if let Err(refused) = self.connected.join(join).await {
                    let refused = self.left(federation, pinned, refused).await;
                    self.refuse(federation, refused).await;
                }
            }
            ToCoordinator::FetchState { federation, version } => {
                self.fetch(federation, VectorKind::State(version)).await;
            }
            ToCoordinator::FetchAggregate { federation, round } => {
                self.fetch(federation, VectorKind::Aggregate(round)).await;
            }
            ToCoordinator::FetchManifest { federation, manifest } => {
                self.fetch_manifest(federation, manifest).await;
            }
            ToCoordinator::Round { message: FromClient::Shares(_), .. } => {
                return Err(Closing::malformed("shares travel on a stream of their own"));
            }
            ToCoordinator::Round { federation, round, message } => {
                self.connected.round(federation, round, message).await;
            }
            ToCoordinator::Attest { federation, standing, signature } => {
                self.connected.attest(federation, standing, signature).await;
            }
            ToCoordinator::FetchAttested { federation } => {
                self.connected.fetch_attested(federation).await;
            }
            ToCoordinator::RenewCertificate { certificate_request } => {
                self.renew(&certificate_request).await;
            }
        }
        Ok(())
    }

    async fn sign(&self, federation: FederationId, manifest: Digest, signature: Signature) {
        let federations = &self.context.federations;
        match federations.sign(&self.peer, federation, manifest, signature).await {
            Ok(Signed { owner, version, standing }) => {
                if version > 0 && standing.is_complete() {
                    // A federation that does not run takes the amendment when it starts.
                    let _ = self.context.driver.amended(&owner, federation).await;
                }
                let small = |count| u16::try_from(count).unwrap_or(u16::MAX);
                let (signatures, required) = (small(standing.signatures), small(standing.required));
                self.post.reply(ToClient::SignatureTaken { signatures, required }).await;
            }
            Err(error) => self.refuse(federation, error.refused()).await,
        }
    }

    /// A client that is no member, but was one, hears how that ended.
    async fn left(&self, federation: FederationId, pinned: Digest, refused: Refused) -> Refused {
        let owner = self.connected.owner(federation);
        let Some(owner) = owner.filter(|_| &*refused.code == Denied::NotAMember.code()) else {
            return refused;
        };
        match self.context.federations.left(&self.peer, &owner, federation, pinned).await {
            Ok(left) => left.map_or(refused, |left| left.refused()),
            Err(error) => error.refused(),
        }
    }

    /// Says no to something about a federation.
    async fn refuse(&self, federation: FederationId, refused: Refused) {
        self.post.reply(ToClient::Refused(refused.about(federation))).await;
    }

    async fn list_federations(&self) {
        match self.context.federations.of(&self.peer).await {
            Ok(Listing { summaries, manifests }) => {
                self.post.reply(ToClient::Federations(summaries)).await;
                for (summary, signed) in manifests {
                    self.deliver_manifest(summary.federation, summary.manifest, signed).await;
                }
            }
            Err(error) => self.post.reply(ToClient::Refused(error.refused())).await,
        }
    }

    async fn fetch_manifest(&self, federation: FederationId, manifest: Digest) {
        match self.context.federations.manifest(&self.peer, federation, manifest).await {
            Ok(signed) => self.deliver_manifest(federation, manifest, signed).await,
            Err(error) => self.refuse(federation, error.refused()).await,
        }
    }

    async fn deliver_manifest(&self, federation: FederationId, manifest: Digest, signed: Vec<u8>) {
        let (kind, bytes) = (VectorKind::Manifest(manifest), signed.len() as u64);
        let header = StreamHeader::Vector { federation, kind, bytes };
        self.post.deliver(header, VectorSource::from_memory(signed.into())).await;
    }

    async fn fetch(&self, federation: FederationId, kind: VectorKind) {
        match self.connected.vector(federation, kind).await {
            Ok(source) => {
                let header = StreamHeader::Vector { federation, kind, bytes: source.bytes() };
                self.post.deliver(header, source).await;
            }
            Err(refused) => self.refuse(federation, refused).await,
        }
    }

    async fn renew(&self, certificate_request: &[u8]) {
        let shown = self.certificate.borrow().clone();
        match self.context.clients.renew(&shown, certificate_request).await {
            Ok(issued) => {
                if let Ok(certificate) = PeerCertificate::parse(&issued.certificate) {
                    self.certificate.send_replace(certificate);
                }
                let certificate = issued.certificate.to_vec();
                self.post.reply(ToClient::CertificateRenewed { certificate }).await;
            }
            Err(error) => self.post.reply(ToClient::Refused(error.refused())).await,
        }
    }
}

fn is_about_manifests(request: &ToCoordinator) -> bool {
    matches!(
        request,
        ToCoordinator::ListFederations
            | ToCoordinator::FetchManifest { .. }
            | ToCoordinator::SignManifest { .. }
    )
}
