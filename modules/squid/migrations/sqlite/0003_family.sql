-- Who stopped a suspended identity: NULL an operator, 'tree' whatever stopped its parent, else the DID of a parent.
ALTER TABLE identities ADD COLUMN held_by TEXT;

-- Kinship, signed by both sides; position 0 is the parent, then guardians and owners. Never a row for an AID.
CREATE TABLE links (
    child TEXT NOT NULL REFERENCES identities (did),
    position INTEGER NOT NULL,
    parent TEXT NOT NULL REFERENCES identities (did),
    root TEXT NOT NULL,
    by_parent TEXT NOT NULL,
    by_child TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (child, position),
    CONSTRAINT links_once UNIQUE (child, parent)
) STRICT, WITHOUT ROWID;
CREATE INDEX links_by_parent ON links (parent, position);
CREATE INDEX links_by_root ON links (root);

-- Whose token a session was taken with, when it is not the identity's own login.
ALTER TABLE sessions ADD COLUMN switched_by TEXT;
CREATE INDEX sessions_by_switch ON sessions (switched_by);

-- Keys that are proved beside an identity's own where one login is not enough. Public halves only.
CREATE TABLE second_keys (
    did TEXT NOT NULL REFERENCES identities (did),
    key TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (did, key)
) STRICT, WITHOUT ROWID;
