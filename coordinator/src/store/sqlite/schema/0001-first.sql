-- Version 1. Whatever a tenant owns is in a column `sealed`; the rest is ids, counts and times.

CREATE TABLE tenants (
    tenant          TEXT    NOT NULL PRIMARY KEY,
    created_unix_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Every sealed row of a tenant: clients, federations, manifests, rounds, models (`rows.rs`).
CREATE TABLE rows (
    tenant  TEXT    NOT NULL REFERENCES tenants (tenant),
    kind    TEXT    NOT NULL,
    key     BLOB    NOT NULL,
    version INTEGER NOT NULL,
    sealed  BLOB    NOT NULL,
    PRIMARY KEY (tenant, kind, key)
) STRICT; -- With row ids: a search compares keys, and would read the long values beside them.

-- Who reaches a federation, and through whose handle.
CREATE TABLE members (
    tenant     TEXT NOT NULL REFERENCES tenants (tenant),
    federation BLOB NOT NULL,
    owner      TEXT NOT NULL REFERENCES tenants (tenant),
    PRIMARY KEY (tenant, federation)
) STRICT, WITHOUT ROWID;
CREATE INDEX members_by_federation ON members (federation, tenant);

CREATE TABLE audit (
    tenant TEXT    NOT NULL REFERENCES tenants (tenant),
    entry  INTEGER NOT NULL,
    link   BLOB    NOT NULL,
    sealed BLOB    NOT NULL,
    PRIMARY KEY (tenant, entry)
) STRICT;

CREATE TABLE audit_heads (
    tenant  TEXT    NOT NULL PRIMARY KEY REFERENCES tenants (tenant),
    entries INTEGER NOT NULL,
    link    BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE leases (
    owner           TEXT    NOT NULL REFERENCES tenants (tenant),
    federation      BLOB    NOT NULL,
    token           INTEGER NOT NULL,
    holder          TEXT    NOT NULL,
    expires_unix_ms INTEGER NOT NULL,
    PRIMARY KEY (owner, federation)
) STRICT, WITHOUT ROWID;

-- Enrolment tokens by the hash of their secret; `bound_key` is the hash of the key that used it.
CREATE TABLE tokens (
    hash            BLOB    NOT NULL PRIMARY KEY,
    tenant          TEXT    NOT NULL REFERENCES tenants (tenant),
    expires_unix_ms INTEGER NOT NULL,
    bound_key       BLOB
) STRICT, WITHOUT ROWID;

-- The installation's own secrets, sealed by the installation's key.
CREATE TABLE secrets (
    name   TEXT NOT NULL PRIMARY KEY,
    sealed BLOB NOT NULL
) STRICT, WITHOUT ROWID;
