//! The database file: its settings, its schema, and the steps from each schema to the next.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::Fail;
use crate::store::StoreError;

/// Steps to the newest schema; step n leads to version n + 1. A step that was released never
/// changes: a new schema is a new step.
const MIGRATIONS: &[&str] = &[include_str!("schema/0001-first.sql")];

/// How long a connection waits for another process's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Statements that a connection keeps prepared; there are fewer in this store.
const STATEMENTS_CACHED: usize = 64;
/// Pages that a connection keeps, in KiB. Rows are read and written once, as large as the boxes of a
/// cohort; the operating system has their pages anyway.
const PAGES_CACHED_KIB: i32 = 512;

/// Opens the database for writing: settings, check for damage, migrations.
pub(super) fn open(path: &Path) -> Result<Connection, Fail> {
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    check(&connection, path)?;
    migrate(&mut connection, path)?;
    Ok(connection)
}

/// Opens the database for reading.
pub(super) fn open_reader(path: &Path) -> Result<Connection, Fail> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

fn connect(path: &Path, mode: OpenFlags) -> Result<Connection, Fail> {
    let connection = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.pragma_update(None, "cache_size", -PAGES_CACHED_KIB)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(connection)
}

/// Reads every page once. Values are sealed and checked when they are opened; this finds damage
/// to the tree that holds them, where a row could go missing without an error.
fn check(connection: &Connection, path: &Path) -> Result<(), Fail> {
    let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found == "ok" {
        return Ok(());
    }
    Err(StoreError::Corrupt { what: found, path: path.to_owned() }.into())
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), Fail> {
    // Immediate, so that of two processes that start together one migrates and the other waits.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction
        .execute_batch("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)")?;
    let found: u32 = transaction.query_row(
        "SELECT coalesce(max(version), 0) FROM schema_version",
        [],
        |row| row.get(0),
    )?;
    let known = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    if found > known {
        return Err(StoreError::NewerSchema { path: path.to_owned(), found, known }.into());
    }
    for (version, step) in (1..=known).zip(MIGRATIONS).skip(found as usize) {
        transaction.execute_batch(step)?;
        transaction.execute("DELETE FROM schema_version", [])?;
        transaction.execute("INSERT INTO schema_version (version) VALUES (?1)", [version])?;
    }
    transaction.commit()?;
    Ok(())
}
