-- What the instance signed of its chains: one row a minute and chain while it grows. The Merkle root is over the heads of
-- the commits behind `after` up to `number`.
CREATE TABLE heads (
    writer BIGINT NOT NULL,
    number BIGINT NOT NULL,
    after BIGINT NOT NULL,
    heads_root BLOB NOT NULL CHECK (length(heads_root) = 32),
    signed_at BIGINT NOT NULL,
    jws TEXT NOT NULL,
    PRIMARY KEY (writer, number)
) WITHOUT ROWID;

-- What parties write beside a transaction, sealed. Each digest covers the one before, so that none is changed or lost.
CREATE TABLE notes (
    transaction_id BLOB NOT NULL CHECK (length(transaction_id) = 16),
    number BIGINT NOT NULL,
    author TEXT NOT NULL,
    at BIGINT NOT NULL,
    body BLOB NOT NULL,
    digest BLOB NOT NULL CHECK (length(digest) = 32),
    PRIMARY KEY (transaction_id, number)
) WITHOUT ROWID;

-- What many held at an instant; entries by the bytes of their holders.
CREATE TABLE snapshots (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    currency BIGINT NOT NULL,
    as_of BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    holder_count BIGINT NOT NULL,
    total TEXT NOT NULL,
    root BLOB NOT NULL CHECK (length(root) = 32),
    jws TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE snapshot_entries (
    snapshot BLOB NOT NULL REFERENCES snapshots (id),
    place BIGINT NOT NULL,
    holder TEXT NOT NULL,
    balance TEXT NOT NULL,
    PRIMARY KEY (snapshot, place)
) WITHOUT ROWID;
CREATE UNIQUE INDEX snapshot_entries_holder ON snapshot_entries (snapshot, holder);
