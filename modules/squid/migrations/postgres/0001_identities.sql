-- Identities. head is the state of the log after its newest entry; profile is sealed.
CREATE TABLE identities (
    did TEXT PRIMARY KEY,
    type TEXT NOT NULL,
    service TEXT,
    status TEXT NOT NULL,
    privacy_level TEXT NOT NULL,
    profile BYTEA,
    revision BIGINT NOT NULL,
    head TEXT NOT NULL,
    version_id TEXT NOT NULL,
    not_before BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    CONSTRAINT identities_service_key UNIQUE (service)
);

-- The logs, one signed line each. The key makes two appends to one place impossible.
CREATE TABLE log_entries (
    did TEXT NOT NULL REFERENCES identities (did),
    version BIGINT NOT NULL,
    line TEXT NOT NULL,
    PRIMARY KEY (did, version)
);

-- Logins.
CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    did TEXT NOT NULL REFERENCES identities (did),
    client_id TEXT NOT NULL,
    kid TEXT NOT NULL,
    jkt TEXT,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX sessions_by_identity ON sessions (did, created_at);
CREATE INDEX sessions_by_end ON sessions (expires_at);

-- Login assertions that were used: each logs in once.
CREATE TABLE used_assertions (
    did TEXT NOT NULL,
    jti TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (did, jti)
);
CREATE INDEX used_assertions_by_end ON used_assertions (expires_at);

-- Keys that sign access tokens; the seed is sealed.
CREATE TABLE signing_keys (
    kid TEXT PRIMARY KEY,
    seed BYTEA NOT NULL,
    state TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    retired_at BIGINT
);

-- The number of revocations so far. One row.
CREATE TABLE revocation_epoch (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    epoch BIGINT NOT NULL
);
INSERT INTO revocation_epoch VALUES (1, 0);
