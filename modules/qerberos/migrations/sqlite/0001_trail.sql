-- The log's head: what was appended, what was signed. One row.
CREATE TABLE head (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    origin TEXT NOT NULL,
    size INTEGER NOT NULL,
    root BLOB NOT NULL,
    signed_size INTEGER NOT NULL CHECK (signed_size <= size)
) STRICT;

-- Who counts events, and how far we are with each.
CREATE TABLE producers (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    next_seq INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    conflicts INTEGER NOT NULL,
    last_received_at INTEGER NOT NULL
) STRICT;

-- Numbers that were skipped and have not come since.
CREATE TABLE missing (
    producer INTEGER NOT NULL REFERENCES producers (number),
    first_seq INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    noticed_at INTEGER NOT NULL,
    PRIMARY KEY (producer, first_seq)
) STRICT, WITHOUT ROWID;

-- The journal. producer, seq, happened_at and commitment make the leaf and never change; record holds the
-- sealed sections and loses those that are erased. Actor and reference are searched by keyed tokens.
CREATE TABLE events (
    log_index INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    producer INTEGER NOT NULL REFERENCES producers (number),
    seq INTEGER NOT NULL,
    happened_at INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    commitment BLOB NOT NULL,
    fingerprint BLOB NOT NULL,
    family TEXT NOT NULL,
    action TEXT NOT NULL,
    layer TEXT NOT NULL,
    severity INTEGER NOT NULL,
    verdict INTEGER NOT NULL,
    actor_token INTEGER,
    reference_token INTEGER,
    record BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX events_id_key ON events (id);
CREATE INDEX events_by_actor ON events (actor_token, log_index) WHERE actor_token IS NOT NULL;
CREATE INDEX events_by_reference ON events (reference_token, log_index) WHERE reference_token IS NOT NULL;

-- Hashes of the Merkle tree, 32 bytes each, up to 256 in a row; a row grows until it is full and never changes then.
CREATE TABLE tiles (
    level INTEGER NOT NULL,
    tile_index INTEGER NOT NULL,
    hashes BLOB NOT NULL,
    PRIMARY KEY (level, tile_index)
) STRICT, WITHOUT ROWID;

-- Every tree head that was ever signed.
CREATE TABLE checkpoints (
    size INTEGER PRIMARY KEY,
    root BLOB NOT NULL,
    note TEXT NOT NULL,
    signed_at INTEGER NOT NULL
) STRICT;

-- The log's own keys, sealed.
CREATE TABLE secrets (
    name TEXT PRIMARY KEY,
    sealed BLOB NOT NULL
) STRICT, WITHOUT ROWID;
