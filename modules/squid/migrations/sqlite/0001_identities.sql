-- Identities. head is the state of the log after its newest entry; profile is sealed.
CREATE TABLE identities (
    did TEXT PRIMARY KEY,
    type TEXT NOT NULL,
    service TEXT,
    status TEXT NOT NULL,
    privacy_level TEXT NOT NULL,
    profile BLOB,
    revision INTEGER NOT NULL,
    head TEXT NOT NULL,
    version_id TEXT NOT NULL,
    not_before INTEGER,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    CONSTRAINT identities_service_key UNIQUE (service)
) STRICT;

-- The logs, one signed line each. The key makes two appends to one place impossible.
CREATE TABLE log_entries (
    did TEXT NOT NULL REFERENCES identities (did),
    version INTEGER NOT NULL,
    line TEXT NOT NULL,
    PRIMARY KEY (did, version)
) STRICT, WITHOUT ROWID;

-- Logins.
CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    did TEXT NOT NULL REFERENCES identities (did),
    client_id TEXT NOT NULL,
    kid TEXT NOT NULL,
    jkt TEXT,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX sessions_by_identity ON sessions (did, created_at);
CREATE INDEX sessions_by_end ON sessions (expires_at);

-- Login assertions that were used: each logs in once.
CREATE TABLE used_assertions (
    did TEXT NOT NULL,
    jti TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (did, jti)
) STRICT, WITHOUT ROWID;
CREATE INDEX used_assertions_by_end ON used_assertions (expires_at);

-- Keys that sign access tokens; the seed is sealed.
CREATE TABLE signing_keys (
    kid TEXT PRIMARY KEY,
    seed BLOB NOT NULL,
    state TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    retired_at INTEGER
) STRICT;

-- The number of revocations so far. One row.
CREATE TABLE revocation_epoch (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    epoch INTEGER NOT NULL
) STRICT;
INSERT INTO revocation_epoch VALUES (1, 0);
