-- What was granted, proved and taken back. Content identifiers are the 32 bytes of their SHA-256.

-- Every signed delegation, exactly as it was handed in, with the key that its signature held for then.
CREATE TABLE delegations (
    cid BYTEA NOT NULL PRIMARY KEY,
    token BYTEA NOT NULL,
    issuer TEXT NOT NULL,
    audience TEXT NOT NULL,
    signing_key TEXT NOT NULL,
    expires_at BIGINT,
    registered_at BIGINT NOT NULL,
    registered_epoch BIGINT NOT NULL
);
CREATE INDEX delegations_audience ON delegations (audience);

CREATE TABLE grants (
    grant_id TEXT NOT NULL PRIMARY KEY,
    resource TEXT NOT NULL,
    owner TEXT NOT NULL,
    identity TEXT NOT NULL,
    granted_by TEXT NOT NULL,
    granted_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    epoch BIGINT NOT NULL
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
    revoked_epoch BIGINT,
    PRIMARY KEY (grant_id, permission)
);

-- The chain that proves an action, root at 0.
CREATE TABLE grant_links (
    grant_id TEXT NOT NULL REFERENCES grants (grant_id),
    permission TEXT NOT NULL,
    position BIGINT NOT NULL,
    cid BYTEA NOT NULL REFERENCES delegations (cid),
    PRIMARY KEY (grant_id, permission, position)
);
CREATE INDEX grant_links_cid ON grant_links (cid);

-- Immutable: what was taken back stays taken back.
CREATE TABLE revocations (
    cid BYTEA NOT NULL PRIMARY KEY,
    revoked_by TEXT NOT NULL,
    reason TEXT NOT NULL,
    revoked_at BIGINT NOT NULL,
    epoch BIGINT NOT NULL
);

-- The order of all changes, chained by digest.
CREATE TABLE changes (
    epoch BIGINT NOT NULL PRIMARY KEY,
    topic TEXT NOT NULL,
    payload TEXT NOT NULL,
    digest BYTEA NOT NULL,
    at BIGINT NOT NULL
);

-- Its end. One row, which every change locks first: so changes come one after the other, whoever makes them.
CREATE TABLE change_head (
    name TEXT NOT NULL PRIMARY KEY,
    epoch BIGINT NOT NULL,
    digest BYTEA NOT NULL
);
INSERT INTO change_head (name, epoch, digest) VALUES ('head', 0, '\x0000000000000000000000000000000000000000000000000000000000000000');
