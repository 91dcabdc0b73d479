//! The conformance suite over SQLite, and what only a file on disk can do: be tampered with, be
//! damaged, be newer, be full, and lose its writer.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;

use roundelay_protocol::ids::RoundNumber;
use roundelay_protocol::round::horizontal::coordinator::Record;
use rusqlite::params;

use super::*;
use crate::children::{child, folder_of_child, on_small_disk};
use crate::keys::FileKms;
use crate::store::suite::{
    Fixture, audit_write, conformance, federation, lease, put_federation, some_client, some_record,
    tenant, with_lease, with_tenants,
};
use crate::store::{StoreError, Write};
use rusqlite::Connection;

struct OnDisk(tempfile::TempDir);

impl OnDisk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn database(&self) -> PathBuf {
        self.0.path().join("store.sqlite")
    }

    /// The database behind the store's back.
    fn raw(&self) -> Connection {
        Connection::open(self.database()).unwrap()
    }

    async fn try_open(&self) -> Result<SqliteStore, StoreError> {
        open_in(self.0.path()).await
    }
}

async fn open_in(folder: &Path) -> Result<SqliteStore, StoreError> {
    let kms = FileKms::open(&folder.join("keys")).unwrap();
    SqliteStore::open(&folder.join("store.sqlite"), Arc::new(kms)).await
}

#[async_trait]
impl Fixture for OnDisk {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(self.try_open().await.unwrap())
    }
}

conformance! { OnDisk::new() }

fn is_unsealable<T: std::fmt::Debug>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Unsealable { .. } | StoreError::Key(_)))
}

#[tokio::test]
async fn a_row_moved_to_another_tenant_or_place_does_not_open() {
    let disk = OnDisk::new();
    let store = with_tenants(&disk, &["acme", "bank"]).await;
    let (acme, bank) = (store.tenant(&tenant("acme")), store.tenant(&tenant("bank")));
    let put = |seed| Write::PutClient(Box::new(some_client(seed)));
    acme.transact("test", None, vec![put(1), put(2)]).await.unwrap();
    bank.transact("test", None, vec![put(1)]).await.unwrap();
    let copy = "UPDATE rows SET (version, sealed) =
                (SELECT version, sealed FROM rows WHERE tenant = ?1 AND key = ?2)
                WHERE tenant = ?3 AND key = ?4";
    let key = |seed| some_client(seed).client.0.0;

    disk.raw().execute(copy, params!["acme", key(1), "bank", key(1)]).unwrap();
    assert!(is_unsealable(&bank.clients().await));
    disk.raw().execute(copy, params!["acme", key(1), "acme", key(2)]).unwrap();
    assert!(is_unsealable(&acme.client(some_client(2).client).await));
    assert_eq!(acme.client(some_client(1).client).await.unwrap(), Some(some_client(1)));
    disk.raw().execute("UPDATE rows SET version = 2", []).unwrap();
    assert!(is_unsealable(&acme.client(some_client(1).client).await));
}

#[tokio::test]
async fn an_altered_byte_anywhere_in_a_sealed_value_is_refused() {
    let disk = OnDisk::new();
    let store = with_tenants(&disk, &["acme"]).await;
    let acme = store.tenant(&tenant("acme"));
    let client = some_client(1);
    acme.transact("test", None, vec![Write::PutClient(Box::new(client.clone()))]).await.unwrap();
    let raw = disk.raw();
    let sealed: Vec<u8> = raw.query_row("SELECT sealed FROM rows", [], |row| row.get(0)).unwrap();
    for at in 0..sealed.len() {
        let mut altered = sealed.clone();
        altered[at] ^= 1;
        raw.execute("UPDATE rows SET sealed = ?1", [altered]).unwrap();
        assert!(is_unsealable(&acme.client(client.client).await), "byte {at}");
    }
    raw.execute("UPDATE rows SET sealed = ?1", [sealed]).unwrap();
    assert_eq!(acme.client(client.client).await.unwrap(), Some(client));
}

#[tokio::test]
async fn an_older_value_of_the_same_row_does_not_open() {
    let disk = OnDisk::new();
    let store = with_tenants(&disk, &["acme"]).await;
    let acme = store.tenant(&tenant("acme"));
    let mut client = some_client(1);
    let put = |client: &_| vec![Write::PutClient(Box::new(Clone::clone(client)))];
    acme.transact("test", None, put(&client)).await.unwrap();
    let raw = disk.raw();
    let old: Vec<u8> = raw.query_row("SELECT sealed FROM rows", [], |row| row.get(0)).unwrap();
    client.revoked_unix_ms = Some(5);
    acme.transact("test", None, put(&client)).await.unwrap();
    raw.execute("UPDATE rows SET sealed = ?1", [old]).unwrap();
    assert!(is_unsealable(&acme.client(client.client).await));
}

#[tokio::test]
async fn every_kind_of_change_to_the_audit_log_is_found_and_named() {
    let changes = [
        ("DELETE FROM audit WHERE entry = 4", 4),
        ("DELETE FROM audit WHERE entry = 0", 0),
        ("DELETE FROM audit WHERE entry = 9", 9),
        ("UPDATE audit SET sealed = zeroblob(200) WHERE entry = 3", 3),
        ("UPDATE audit SET link = zeroblob(32) WHERE entry = 5", 5),
        ("UPDATE audit SET sealed = (SELECT sealed FROM audit WHERE entry = 2) WHERE entry = 6", 6),
        ("UPDATE audit_heads SET entries = 9", 9),
        ("UPDATE audit_heads SET entries = 11", 10),
        ("UPDATE audit_heads SET link = zeroblob(32)", 10),
    ];
    for (change, first_bad) in changes {
        let disk = OnDisk::new();
        let store = with_tenants(&disk, &["acme"]).await;
        let acme = store.tenant(&tenant("acme"));
        let writes = (0..10).map(|at| audit_write(&["acme"], None, at)).collect();
        acme.transact("test", None, writes).await.unwrap();
        acme.verify_audit().await.unwrap();
        assert!(disk.raw().execute(change, []).unwrap() > 0);
        match acme.verify_audit().await {
            Err(StoreError::AuditBroken { entry, .. }) => assert_eq!(entry, first_bad, "{change}"),
            other => panic!("{change}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn no_plaintext_of_a_tenant_is_in_any_file_of_the_store() {
    const CANARY: &[u8] = b"canary-5b1e-plaintext";
    let disk = OnDisk::new();
    let (store, fence) = with_lease(&disk).await;
    let acme = store.tenant(&tenant("acme"));
    let name = String::from_utf8(CANARY.to_vec()).unwrap();
    let mut client = some_client(1);
    client.certificates[0].serial = CANARY.to_vec();
    let mut record = audit_write(&["acme"], None, 1);
    if let Write::Audit { record, .. } = &mut record {
        record.event = crate::store::AuditEvent::ClientEnrolled {
            client: client.client,
            serial: CANARY.to_vec(),
        };
    }
    let mut federation_row = put_federation(1);
    if let Write::PutFederation(row) = &mut federation_row {
        row.name = name;
    }
    let progress = Write::PutProgress { federation: federation(1), progress: CANARY.repeat(1000) };
    let writes = vec![Write::PutClient(Box::new(client)), federation_row, progress, record];
    acme.transact("test", Some(&fence), writes).await.unwrap();
    let value = Secret::new(CANARY.to_vec());
    store.keep_secret(InstallationSecret::Authority, value).await.unwrap();
    assert!(acme.federations().await.unwrap()[0].name.contains("canary"));

    // With the log still there, and after it was folded into the database.
    for closed in [false, true] {
        let mut files = 0;
        for entry in fs::read_dir(disk.0.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                files += 1;
                let bytes = fs::read(&path).unwrap();
                let found = bytes.windows(CANARY.len()).any(|window| window == CANARY);
                assert!(!found, "{} holds the canary", path.display());
            }
        }
        assert!(files >= if closed { 1 } else { 2 });
        if !closed {
            disk.raw().execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        }
    }
}

#[tokio::test]
async fn a_database_of_a_newer_build_is_refused_and_left_alone() {
    let disk = OnDisk::new();
    drop(with_tenants(&disk, &["acme"]).await);
    disk.raw().execute("UPDATE schema_version SET version = 99", []).unwrap();
    let refused = disk.try_open().await.err().unwrap();
    let expected = StoreError::NewerSchema { path: disk.database(), found: 99, known: 1 };
    assert_eq!(refused, expected);
    assert!(refused.to_string().contains("schema version 99, this build knows up to 1"));
    disk.raw().execute("UPDATE schema_version SET version = 1", []).unwrap();
    assert_eq!(disk.open().await.tenants().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_file_that_is_no_database_or_has_a_damaged_page_is_named() {
    let disk = OnDisk::new();
    fs::write(disk.database(), b"this is not a database at all, not even close").unwrap();
    let refused = disk.try_open().await.err().unwrap();
    assert!(matches!(&refused, StoreError::Corrupt { .. }), "{refused}");
    assert!(refused.to_string().contains("store.sqlite is damaged"));

    let disk = OnDisk::new();
    let (store, fence) = with_lease(&disk).await;
    let records = (0..200).map(|at| some_record(at, 100)).collect();
    let (federation, round) = (federation(1), RoundNumber(1));
    let write = Write::AppendRound { federation, round, records };
    store.tenant(&tenant("acme")).transact("test", Some(&fence), vec![write]).await.unwrap();
    drop(store);
    let mut bytes = fs::read(disk.database()).unwrap();
    let root: usize = disk
        .raw()
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'rows'", [], |row| row.get(0))
        .unwrap();
    bytes[(root - 1) * 4096..root * 4096].fill(0x5a);
    fs::write(disk.database(), bytes).unwrap();
    let refused = disk.try_open().await.err().unwrap();
    assert!(matches!(&refused, StoreError::Corrupt { .. }), "{refused}");
}

#[tokio::test]
async fn a_full_database_refuses_the_batch_and_keeps_the_rest() {
    let disk = OnDisk::new();
    let kms: Arc<dyn Kms> = Arc::new(FileKms::open(&disk.0.path().join("keys")).unwrap());
    kms.create(&Scope::Installation).await.unwrap();
    create_file(&disk.database()).unwrap();
    let connection = schema::open(&disk.database()).unwrap();
    // SQLite reports a database at its page limit as it reports a full disk.
    connection.pragma_update(None, "max_page_count", 60).unwrap();
    let reader = Reader::new(&disk.database());
    let writer = Writer::start(connection, &disk.database()).unwrap();
    let store = SqliteStore { shared: Arc::new(Shared { kms, reader, writer }) };
    store.add_tenant(Tenant { tenant: tenant("acme"), created_unix_ms: 1 }).await.unwrap();
    let acme = store.tenant(&tenant("acme"));
    let fence = store.acquire(&lease("acme", 1), "here", 1, 5).await.unwrap();
    acme.transact("test", Some(&fence), vec![put_federation(1)]).await.unwrap();
    let round = RoundNumber(1);
    let append = |cohort| Write::AppendRound {
        federation: federation(1),
        round,
        records: (0..100).map(|at| some_record(at, cohort)).collect(),
    };

    let full = acme.transact("test", Some(&fence), vec![append(200)]).await;
    let what = "writing to the store";
    assert_eq!(full, Err(StoreError::DiskFull { what, path: disk.database() }));
    acme.transact("test", Some(&fence), vec![append(1)]).await.unwrap();
    assert_eq!(acme.round_records(federation(1), round).await.unwrap().len(), 100);
    drop((store, acme));
    assert_eq!(disk.open().await.tenants().await.unwrap().len(), 1);
}

#[tokio::test]
async fn without_its_key_a_tenants_rows_cannot_be_read_and_others_can() {
    let disk = OnDisk::new();
    let store = with_tenants(&disk, &["acme", "bank"]).await;
    for name in ["acme", "bank"] {
        let write = Write::PutClient(Box::new(some_client(1)));
        store.tenant(&tenant(name)).transact("test", None, vec![write]).await.unwrap();
    }
    drop(store);
    let key = disk.0.path().join("keys/acme.kek");
    fs::remove_file(&key).unwrap();
    let store = disk.open().await;
    let missing = store.tenant(&tenant("acme")).clients().await.unwrap_err();
    assert!(missing.to_string().contains("the key of tenant acme is not at"), "{missing}");
    assert!(
        store
            .tenant(&tenant("acme"))
            .transact("test", None, vec![Write::PutClient(Box::new(some_client(1)))])
            .await
            .is_err()
    );
    assert_eq!(store.tenant(&tenant("bank")).clients().await.unwrap(), [some_client(1)]);
    // Another tenant's key in its place opens nothing either.
    fs::copy(disk.0.path().join("keys/bank.kek"), &key).unwrap();
    assert!(is_unsealable(&store.tenant(&tenant("acme")).clients().await));
}

#[tokio::test]
async fn two_processes_share_a_database_and_the_fence_decides() {
    let disk = OnDisk::new();
    let (one, stale) = with_lease(&disk).await;
    let two = disk.open().await;
    let fresh = two.acquire(&lease("acme", 1), "two", 2_000, 500).await.unwrap();
    let append = || {
        vec![Write::AppendRound {
            federation: federation(1),
            round: RoundNumber(1),
            records: vec![Record::AdvertsClosed],
        }]
    };
    let fenced = one.tenant(&tenant("acme")).transact("test", Some(&stale), append()).await;
    assert_eq!(fenced, Err(StoreError::Fenced(lease("acme", 1))));
    two.tenant(&tenant("acme")).transact("test", Some(&fresh), append()).await.unwrap();
    let seen = one.tenant(&tenant("acme")).round_records(federation(1), RoundNumber(1)).await;
    assert_eq!(seen.unwrap(), [Record::AdvertsClosed]);
}

#[tokio::test]
async fn only_the_owner_may_read_the_database() {
    let disk = OnDisk::new();
    let _store = with_tenants(&disk, &["acme"]).await;
    for entry in fs::read_dir(disk.0.path()).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_file() {
            let mode = entry.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{}", entry.path().display());
        }
    }
}

/// One batch of a client, a record and an audit entry; `at` counts from 1.
async fn write_batch(acme: &dyn TenantStore, fence: &Fence, at: u8) -> Result<(), StoreError> {
    let writes = vec![
        Write::PutClient(Box::new(some_client(at))),
        Write::AppendRound {
            federation: federation(1),
            round: RoundNumber(1),
            records: vec![some_record(1, at)],
        },
        audit_write(&["acme"], None, u16::from(at)),
    ];
    acme.transact("batch", Some(fence), writes).await
}

/// How many such batches are there, each whole.
async fn whole_batches(store: &dyn Store) -> u64 {
    let acme = store.tenant(&tenant("acme"));
    let batches = acme.verify_audit().await.unwrap().entries;
    let records = acme.round_records(federation(1), RoundNumber(1)).await.unwrap();
    assert_eq!(records.len() as u64, batches);
    assert_eq!(acme.clients().await.unwrap().len() as u64, batches);
    batches
}

/// What the child of the next test does.
async fn write_until_killed(folder: &Path) {
    let store = open_in(folder).await.unwrap();
    let acme = store.tenant(&tenant("acme"));
    let fence = store.acquire(&lease("acme", 1), "here", 5_000, 500).await.unwrap();
    for at in 1..=20 {
        write_batch(&*acme, &fence, at).await.unwrap();
        fs::write(folder.join("acknowledged"), at.to_string()).unwrap();
    }
}

#[tokio::test]
async fn a_killed_writer_leaves_all_or_nothing_of_a_batch_and_all_that_it_acknowledged() {
    if let Some(folder) = folder_of_child() {
        return write_until_killed(&folder).await;
    }
    let this = concat!(
        module_path!(),
        "::a_killed_writer_leaves_all_or_nothing_of_a_batch_and_all_that_it_acknowledged"
    );
    let points = [
        ("store.batch.before:7", 6),
        ("store.commit.before:9", 7), // the first commit is that of the lease
        ("store.commit.after:9", 8),
        ("store.batch.after:7", 7),
    ];
    for (point, expected) in points {
        let disk = OnDisk::new();
        drop(with_lease(&disk).await);
        let died = child(this, disk.0.path())
            .env(roundelay_program::failpoint::VARIABLE, point)
            .output()
            .unwrap();
        assert!(!died.status.success(), "{point} was not reached");
        let acknowledged: u64 =
            fs::read_to_string(disk.0.path().join("acknowledged")).unwrap().parse().unwrap();
        let batches = whole_batches(&*disk.open().await).await;
        assert_eq!(batches, expected, "{point}");
        assert!(batches >= acknowledged, "{point}: an acknowledged batch is lost");
    }
}

/// A loss of power may leave any part of the end of the log.
#[tokio::test]
async fn a_log_cut_at_any_byte_holds_whole_batches_in_order() {
    let disk = OnDisk::new();
    let (store, fence) = with_lease(&disk).await;
    let acme = store.tenant(&tenant("acme"));
    disk.raw().execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    for at in 1..=6 {
        write_batch(&*acme, &fence, at).await.unwrap();
    }
    let log = fs::read(disk.0.path().join("store.sqlite-wal")).unwrap();
    let mut found = Vec::new();
    for cut in (0..=log.len()).step_by(1_777).chain([log.len()]) {
        let copy = OnDisk::new();
        fs::create_dir(copy.0.path().join("keys")).unwrap();
        for file in ["store.sqlite", "keys/acme.kek", "keys/_installation.kek"] {
            fs::copy(disk.0.path().join(file), copy.0.path().join(file)).unwrap();
        }
        fs::write(copy.0.path().join("store.sqlite-wal"), &log[..cut]).unwrap();
        found.push(whole_batches(&*copy.open().await).await);
    }
    assert!(found.is_sorted(), "{found:?}");
    assert_eq!((found.first(), found.last()), (Some(&0), Some(&6)));
}

/// What the child of the next test does.
async fn fill_the_disk_and_free_it_again(folder: &Path) {
    let ballast = folder.join("ballast");
    fs::write(&ballast, vec![1; 1 << 20]).unwrap();
    let store = open_in(folder).await.unwrap();
    store.add_tenant(Tenant { tenant: tenant("acme"), created_unix_ms: 1 }).await.unwrap();
    let acme = store.tenant(&tenant("acme"));
    let fence = store.acquire(&lease("acme", 1), "here", 1, 500).await.unwrap();
    acme.transact("test", Some(&fence), vec![put_federation(1)]).await.unwrap();
    let mut written = 0;
    let refused = loop {
        match write_batch(&*acme, &fence, written + 1).await {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };
    println!("refused: {refused}");
    assert_eq!(whole_batches(&store).await, u64::from(written));
    fs::remove_file(&ballast).unwrap();
    write_batch(&*acme, &fence, written + 1).await.unwrap();
    drop((acme, store));
    let mut filling = File::create(&ballast).unwrap();
    while filling.write_all(&[1; 512]).is_ok() {}
    drop(filling);
    let refused = open_in(folder).await.err().unwrap();
    println!("not opened: {refused}");
    fs::remove_file(ballast).unwrap();
    let store = open_in(folder).await.unwrap();
    assert_eq!(whole_batches(&store).await, u64::from(written) + 1);
    println!("went on after {written} batches");
}

#[tokio::test]
async fn a_full_disk_refuses_one_batch_and_loses_none() {
    if let Some(folder) = folder_of_child() {
        return fill_the_disk_and_free_it_again(&folder).await;
    }
    let this = concat!(module_path!(), "::a_full_disk_refuses_one_batch_and_loses_none");
    let Some(output) = on_small_disk("1600k", this) else { return };
    assert!(output.contains("refused: no space left at"), "{output}");
    assert!(output.contains("while writing to the store; nothing was lost"), "{output}");
    assert!(output.contains("not opened: no space left at"), "{output}");
    assert!(output.contains("went on after"), "{output}");
}
