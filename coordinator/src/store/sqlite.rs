//! The embedded store: one SQLite database in the data folder. One writer thread commits batches
//! in groups, each group one fsync; readers run beside it (write-ahead log). The reasons for the
//! settings are in docs/decisions/0010-sqlite-durability.md.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use roundelay_crypto::digest::Digest;
use roundelay_crypto::secret::{Secret, Seed};
use roundelay_protocol::ids::TenantId;

use super::rows::Table;
use super::sealing::{At, Envelope, open};
use super::{Fence, InstallationSecret, LeaseName, Store, StoreError, Tenant, TenantStore};
use crate::keys::{Kms, Scope};

mod apply;
mod fail;
mod leases;
mod reader;
mod schema;
mod tenant;
#[cfg(test)]
mod tests;
mod tokens;
mod writer;

use fail::Fail;
use reader::Reader;
use tenant::SqliteTenant;
use writer::Writer;

/// The store in one SQLite database.
pub struct SqliteStore {
    shared: Arc<Shared>,
}

/// What the installation's handle and the tenants' handles have in common.
struct Shared {
    kms: Arc<dyn Kms>,
    reader: Reader,
    writer: Writer,
}

impl SqliteStore {
    /// Opens the database at `path`, makes it where it is missing, and brings its schema up to
    /// date. Reads all of it once to find damaged pages.
    pub async fn open(path: &Path, kms: Arc<dyn Kms>) -> Result<Self, StoreError> {
        kms.create(&Scope::Installation).await?;
        let at = path.to_owned();
        let opened = tokio::task::spawn_blocking(move || {
            create_file(&at).map_err(|error| failed("making the database", &at, &error))?;
            let connection = schema::open(&at).map_err(|fail| fail.at("opening", &at))?;
            let writer = Writer::start(connection, &at)
                .map_err(|error| failed("starting the writer", &at, &error))?;
            Ok::<_, StoreError>((writer, Reader::new(&at)))
        });
        let (writer, reader) = opened.await.map_err(|_| StoreError::Closed)??;
        Ok(Self { shared: Arc::new(Shared { kms, reader, writer }) })
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn tenant(&self, tenant: &TenantId) -> Arc<dyn TenantStore> {
        Arc::new(SqliteTenant::new(Arc::clone(&self.shared), tenant))
    }

    async fn add_tenant(&self, tenant: Tenant) -> Result<(), StoreError> {
        if self.tenants().await?.iter().any(|known| known.tenant == tenant.tenant) {
            return Err(StoreError::TenantExists(tenant.tenant));
        }
        // The key first: a tenant without a key could not be written to, a key without a tenant
        // is found again here.
        self.shared.kms.create(&Scope::Tenant(tenant.tenant.clone())).await?;
        let work = move |connection: &_| tokens::add_tenant(connection, &tenant);
        self.shared.writer.run("tenant.add", work).await
    }

    async fn tenants(&self) -> Result<Vec<Tenant>, StoreError> {
        self.shared.reader.run("listing tenants", tokens::tenants).await
    }

    async fn add_token(
        &self,
        secret: &Seed,
        tenant: &TenantId,
        expires_unix_ms: u64,
        now_unix_ms: u64,
    ) -> Result<(), StoreError> {
        let (hash, tenant) = (tokens::hash(secret), tenant.clone());
        let work = move |connection: &_| {
            tokens::add(connection, hash, &tenant, expires_unix_ms)?;
            tokens::forget(connection, now_unix_ms)
        };
        self.shared.writer.run("token.add", work).await
    }

    async fn redeem_token(
        &self,
        secret: &Seed,
        request_key: Digest,
        expected: Option<&TenantId>,
        now_unix_ms: u64,
    ) -> Result<TenantId, StoreError> {
        let (hash, expected) = (tokens::hash(secret), expected.cloned());
        let work = move |connection: &_| {
            tokens::redeem(connection, hash, request_key, expected.as_ref(), now_unix_ms)
        };
        self.shared.writer.run("token.redeem", work).await
    }

    async fn secret(
        &self,
        which: InstallationSecret,
    ) -> Result<Option<Secret<Vec<u8>>>, StoreError> {
        let work = move |connection: &_| tokens::secret(connection, which);
        let Some(sealed) = self.shared.reader.run("reading a secret", work).await? else {
            return Ok(None);
        };
        open(&*self.shared.kms, &Scope::Installation, secret_at(which), &sealed).await.map(Some)
    }

    async fn keep_secret(
        &self,
        which: InstallationSecret,
        value: Secret<Vec<u8>>,
    ) -> Result<Secret<Vec<u8>>, StoreError> {
        let envelope = Envelope::new(&*self.shared.kms, &Scope::Installation).await?;
        let sealed = envelope.seal(&Scope::Installation, secret_at(which), value.expose());
        let work = move |connection: &_| tokens::keep_secret(connection, which, &sealed);
        self.shared.writer.run("secret.keep", work).await?;
        self.secret(which).await?.ok_or(StoreError::Closed)
    }

    async fn acquire(
        &self,
        lease: &LeaseName,
        holder: &str,
        now_unix_ms: u64,
        length_ms: u64,
    ) -> Result<Fence, StoreError> {
        let (lease, holder) = (lease.clone(), holder.to_owned());
        let until = now_unix_ms.saturating_add(length_ms);
        let work =
            move |connection: &_| leases::acquire(connection, &lease, &holder, now_unix_ms, until);
        self.shared.writer.run("lease.acquire", work).await
    }

    async fn renew(
        &self,
        fence: &Fence,
        now_unix_ms: u64,
        length_ms: u64,
    ) -> Result<(), StoreError> {
        let (fence, until) = (fence.clone(), now_unix_ms.saturating_add(length_ms));
        let work = move |connection: &_| leases::renew(connection, &fence, until);
        self.shared.writer.run("lease.renew", work).await
    }

    async fn release(&self, fence: &Fence) -> Result<(), StoreError> {
        let fence = fence.clone();
        let work = move |connection: &_| leases::release(connection, &fence);
        self.shared.writer.run("lease.release", work).await
    }
}

fn secret_at(which: InstallationSecret) -> At<'static> {
    At { table: Table::Secrets.name(), row: which.name().as_bytes(), version: 0 }
}

/// Makes an empty file that only its owner may read, durably; SQLite gives its log the same mode.
fn create_file(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => file.sync_all()?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(error),
    }
    File::open(folder)?.sync_all()
}

fn failed(what: &'static str, path: &Path, error: &io::Error) -> StoreError {
    let path: PathBuf = path.to_owned();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            StoreError::DiskFull { what, path }
        }
        _ => StoreError::Failed { what, path, why: error.to_string() },
    }
}
