-- What was granted, proved and taken back. Content identifiers are the 32 bytes of their SHA-256.

-- Every signed delegation, exactly as it was handed in, with the key that its signature held for then.
CREATE TABLE delegations (
    cid BLOB NOT NULL PRIMARY KEY,
    token BLOB NOT NULL,
    issuer TEXT NOT NULL,
    audience TEXT NOT NULL,
    signing_key TEXT NOT NULL,
    expires_at INTEGER,
    registered_at INTEGER NOT NULL,
    registered_epoch INTEGER NOT NULL
);
CREATE INDEX delegations_audience ON delegations (audience);

CREATE TABLE grants (
    grant_id TEXT NOT NULL PRIMARY KEY,
    resource TEXT NOT NULL,
    owner TEXT NOT NULL,
    identity TEXT NOT NULL,
    granted_by TEXT NOT NULL,
    granted_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    epoch INTEGER NOT NULL
);
CREATE UNIQUE INDEX grants_epoch ON grants (epoch);
CREATE INDEX grants_resource ON grants (resource, identity);
CREATE INDEX grants_identity ON grants (identity);
CREATE INDEX grants_owner ON grants (owner, resource);
CREATE INDEX grants_granted_by ON grants (granted_by);

-- One row for each action of a grant; `revoked_epoch` is set once and never cleared.
CREATE TABLE grant_permissions (
    grant_id TEXT NOT NULL REFERENCES grants (grant_id),
    permission TEXT NOT NULL,
    revoked_epoch INTEGER,
    PRIMARY KEY (grant_id, permission)
);

-- The chain that proves an action, root at 0.
CREATE TABLE grant_links (
    grant_id TEXT NOT NULL REFERENCES grants (grant_id),
    permission TEXT NOT NULL,
    position INTEGER NOT NULL,
    cid BLOB NOT NULL REFERENCES delegations (cid),
    PRIMARY KEY (grant_id, permission, position)
);
CREATE INDEX grant_links_cid ON grant_links (cid);

-- Immutable: what was taken back stays taken back.
CREATE TABLE revocations (
    cid BLOB NOT NULL PRIMARY KEY,
    revoked_by TEXT NOT NULL,
    reason TEXT NOT NULL,
    revoked_at INTEGER NOT NULL,
    epoch INTEGER NOT NULL
);

-- The order of all changes, chained by digest.
CREATE TABLE changes (
    epoch INTEGER NOT NULL PRIMARY KEY,
    topic TEXT NOT NULL,
    payload TEXT NOT NULL,
    digest BLOB NOT NULL,
    at INTEGER NOT NULL
);

-- Its end. One row, which every change locks first: so changes come one after the other, whoever makes them.
CREATE TABLE change_head (
    name TEXT NOT NULL PRIMARY KEY,
    epoch INTEGER NOT NULL,
    digest BLOB NOT NULL
);
INSERT INTO change_head (name, epoch, digest) VALUES ('head', 0, X'0000000000000000000000000000000000000000000000000000000000000000');
