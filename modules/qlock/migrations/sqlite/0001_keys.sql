-- The key hierarchy. Every `wrapped` is a blob under the level above; no column holds a secret in the open.

-- Level 1, wrapped by the unseal key, which is never here.
CREATE TABLE root_keys (
    version INTEGER NOT NULL PRIMARY KEY,
    unseal_key_id TEXT NOT NULL,
    wrapped BLOB NOT NULL,
    created_at INTEGER NOT NULL
);

-- Level 2, wrapped by level 1. Deleting a row makes everything below it unreadable for good.
CREATE TABLE keks (
    kek_id TEXT NOT NULL PRIMARY KEY,
    identity TEXT NOT NULL,
    purpose TEXT NOT NULL,
    root_version INTEGER NOT NULL REFERENCES root_keys (version),
    wrapped BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (identity, purpose)
);

CREATE TABLE keys (
    key_id TEXT NOT NULL PRIMARY KEY,
    kek_id TEXT NOT NULL REFERENCES keks (kek_id),
    owner TEXT NOT NULL,
    type TEXT NOT NULL,
    version INTEGER NOT NULL,
    is_default INTEGER NOT NULL,
    label TEXT,
    created_at INTEGER NOT NULL
);
CREATE INDEX keys_by_owner ON keys (owner, key_id);
CREATE UNIQUE INDEX keys_default ON keys (owner, type) WHERE is_default = 1;

-- Level 3, wrapped by level 2. `public` is the public half, where there is one.
CREATE TABLE key_versions (
    key_id TEXT NOT NULL REFERENCES keys (key_id),
    version INTEGER NOT NULL,
    state TEXT NOT NULL,
    wrapped BLOB NOT NULL,
    public BLOB,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (key_id, version)
);

-- Uses of keys in minutes that are still being counted. A row exists before the first use is answered, so
-- that no use goes unaudited; it goes away with the audit entry that holds the count.
CREATE TABLE key_uses (
    process TEXT NOT NULL,
    target TEXT NOT NULL,
    operation TEXT NOT NULL,
    outcome TEXT NOT NULL,
    actor TEXT NOT NULL,
    minute INTEGER NOT NULL,
    PRIMARY KEY (process, target, operation, outcome, actor, minute)
);
