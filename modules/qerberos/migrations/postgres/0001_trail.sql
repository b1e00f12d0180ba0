-- The log's head: what was appended, what was signed. One row.
CREATE TABLE head (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    origin TEXT NOT NULL,
    size BIGINT NOT NULL,
    root BYTEA NOT NULL,
    signed_size BIGINT NOT NULL CHECK (signed_size <= size)
);

-- Who counts events, and how far we are with each.
CREATE TABLE producers (
    number BIGINT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    next_seq BIGINT NOT NULL,
    seen BIGINT NOT NULL,
    conflicts BIGINT NOT NULL,
    last_received_at BIGINT NOT NULL
);

-- Numbers that were skipped and have not come since.
CREATE TABLE missing (
    producer BIGINT NOT NULL REFERENCES producers (number),
    first_seq BIGINT NOT NULL,
    last_seq BIGINT NOT NULL,
    noticed_at BIGINT NOT NULL,
    PRIMARY KEY (producer, first_seq)
);

-- The journal. producer, seq, happened_at and commitment make the leaf and never change; record holds the
-- sealed sections and loses those that are erased. Actor and reference are searched by keyed tokens.
CREATE TABLE events (
    log_index BIGINT PRIMARY KEY,
    id BYTEA NOT NULL,
    producer BIGINT NOT NULL REFERENCES producers (number),
    seq BIGINT NOT NULL,
    happened_at BIGINT NOT NULL,
    received_at BIGINT NOT NULL,
    commitment BYTEA NOT NULL,
    fingerprint BYTEA NOT NULL,
    family TEXT NOT NULL,
    action TEXT NOT NULL,
    layer TEXT NOT NULL,
    severity BIGINT NOT NULL,
    verdict BIGINT NOT NULL,
    actor_token BIGINT,
    reference_token BIGINT,
    record BYTEA NOT NULL
);
CREATE UNIQUE INDEX events_id_key ON events (id);
CREATE INDEX events_by_actor ON events (actor_token, log_index) WHERE actor_token IS NOT NULL;
CREATE INDEX events_by_reference ON events (reference_token, log_index) WHERE reference_token IS NOT NULL;

-- Hashes of the Merkle tree, 32 bytes each, up to 256 in a row; a row grows until it is full and never changes then.
CREATE TABLE tiles (
    level BIGINT NOT NULL,
    tile_index BIGINT NOT NULL,
    hashes BYTEA NOT NULL,
    PRIMARY KEY (level, tile_index)
);

-- Every tree head that was ever signed.
CREATE TABLE checkpoints (
    size BIGINT PRIMARY KEY,
    root BYTEA NOT NULL,
    note TEXT NOT NULL,
    signed_at BIGINT NOT NULL
);

-- The log's own keys, sealed.
CREATE TABLE secrets (
    name TEXT PRIMARY KEY,
    sealed BYTEA NOT NULL
);
