//! A blob on its way onto its shelf.

use bytes::{Bytes, BytesMut};
use object_store::path::Path as ObjectPath;
use object_store::{MultipartUpload, ObjectStoreExt, PutPayload};
use rand::Rng;
use roundelay_crypto::digest::Digest;

use super::errors::At;
use super::format::{Layout, Sealer};
use super::{PART_BYTES, Shelf, blocking};
use crate::keys::Scope;
use crate::store::StoreError;
use roundelay_program::failpoint;

/// A blob that is being written, from its first byte to its last. It is there once it is
/// [finished](BlobWriter::finish).
pub struct BlobWriter {
    shelf: Shelf,
    name: Digest,
    path: ObjectPath,
    /// None while it is at work on another thread.
    sealer: Option<Sealer>,
    left: u64,
    /// Less than a part, or the one part.
    filling: BytesMut,
    /// None where the blob is one part.
    upload: Option<Box<dyn MultipartUpload>>,
}

impl BlobWriter {
    pub(super) async fn new(shelf: &Shelf, bytes: u64) -> Result<Self, StoreError> {
        let mut name = Digest([0; 32]);
        rand::rng().fill_bytes(&mut name.0);
        let (shelf, path) = (shelf.clone(), shelf.path(name));
        let scope = Scope::Tenant(shelf.owner.clone());
        let layout = Layout { tenant: shelf.owner.clone(), name, bytes };
        let sealer = Sealer::new(&*shelf.blobs.kms, &scope, layout).await?;
        failpoint!("blob.put.before");
        let upload = if bytes <= PART_BYTES as u64 {
            None
        } else {
            let begun = shelf.blobs.objects.put_multipart(&path).await;
            Some(begun.map_err(|error| writing(&shelf).error(name, &error))?)
        };
        let (sealer, filling) = (Some(sealer), BytesMut::new());
        Ok(Self { shelf, name, path, sealer, left: bytes, filling, upload })
    }

    /// The next bytes, of any length. What is a whole part is sealed from where it lies.
    ///
    /// # Errors
    /// They can't be stored, or are more than the blob was begun for. Nothing of it stays.
    pub async fn push(&mut self, mut bytes: Bytes) -> Result<(), StoreError> {
        self.left = match self.left.checked_sub(bytes.len() as u64) {
            Some(left) => left,
            None => return self.given_up(writing(&self.shelf).other_length(self.name)).await,
        };
        if self.upload.is_none() {
            // Written when it is finished: one that turns out too long leaves nothing.
            self.filling.extend_from_slice(&bytes);
            return Ok(());
        }
        while !bytes.is_empty() {
            if self.filling.is_empty() && bytes.len() >= PART_BYTES {
                self.write(bytes.split_to(PART_BYTES)).await?;
                continue;
            }
            let room = PART_BYTES - self.filling.len();
            self.filling.extend_from_slice(&bytes.split_to(room.min(bytes.len())));
            if self.filling.len() == PART_BYTES {
                let part = self.filling.split().freeze();
                self.write(part).await?;
            }
        }
        Ok(())
    }

    /// The name of the blob, when it survives a loss of power.
    ///
    /// # Errors
    /// It can't be stored, or bytes are missing. Nothing of it stays.
    pub async fn finish(mut self) -> Result<Digest, StoreError> {
        if self.left > 0 {
            return self.given_up(writing(&self.shelf).other_length(self.name)).await;
        }
        if self.sealer.as_ref().is_some_and(|sealer| !sealer.is_done()) {
            let part = self.filling.split().freeze();
            self.write(part).await?;
        }
        if let Some(upload) = &mut self.upload
            && let Err(error) = upload.complete().await
        {
            let error = writing(&self.shelf).error(self.name, &error);
            return self.given_up(error).await;
        }
        failpoint!("blob.put.after");
        Ok(self.name)
    }

    /// Gives up on the blob: what of it is written goes.
    pub async fn discard(mut self) {
        if let Some(upload) = &mut self.upload {
            // Frees what the draft took; failing that, the next start does.
            drop(upload.abort().await);
        }
    }

    async fn write(&mut self, part: Bytes) -> Result<(), StoreError> {
        // Gone where an earlier write failed.
        let Some(mut sealer) = self.sealer.take() else { return Err(StoreError::Closed) };
        let sealing = blocking(part.len(), move || {
            let sealed = sealer.seal(&part);
            (sealer, PutPayload::from_iter(sealed))
        });
        let (sealer, sealed) = sealing.await?;
        self.sealer = Some(sealer);
        let put = match &mut self.upload {
            Some(upload) => upload.put_part(sealed).await,
            None => self.shelf.blobs.objects.put(&self.path, sealed).await.map(|_| ()),
        };
        match put {
            Ok(()) => {
                if self.upload.is_some() {
                    failpoint!("blob.part.after");
                }
                Ok(())
            }
            Err(error) => {
                let error = writing(&self.shelf).error(self.name, &error);
                self.given_up(error).await
            }
        }
    }

    async fn given_up<T>(&mut self, error: StoreError) -> Result<T, StoreError> {
        self.sealer = None;
        if let Some(upload) = &mut self.upload {
            // If that fails too, the first error tells more.
            drop(upload.abort().await);
        }
        Err(error)
    }
}

fn writing(shelf: &Shelf) -> At<'_> {
    At { what: "writing a blob", shelf }
}
