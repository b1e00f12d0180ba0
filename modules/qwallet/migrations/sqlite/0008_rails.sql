-- Rails: which accounts each has, how far it has read its chain, and the last comparison with it.
CREATE TABLE rails (
    name TEXT NOT NULL PRIMARY KEY,
    currency INTEGER NOT NULL,
    account INTEGER NOT NULL,
    suspense INTEGER NOT NULL,
    costs INTEGER NOT NULL,
    scanned_height INTEGER,
    scanned_block TEXT,
    paused TEXT,
    checked_height INTEGER,
    checked_at INTEGER,
    chain_units BLOB CHECK (length(chain_units) = 16),
    book_units BLOB CHECK (length(book_units) = 16)
);

-- What each rail's addresses are derived from, sealed. Older ones stay, for their addresses are known outside.
CREATE TABLE rail_keys (
    rail TEXT NOT NULL,
    generation INTEGER NOT NULL,
    seed BLOB NOT NULL,
    house TEXT NOT NULL,
    made_at INTEGER NOT NULL,
    PRIMARY KEY (rail, generation)
);

-- The addresses that were given out; without a wallet the house's own.
CREATE TABLE rail_addresses (
    rail TEXT NOT NULL,
    address TEXT NOT NULL,
    generation INTEGER NOT NULL,
    place INTEGER NOT NULL,
    wallet BLOB,
    made_at INTEGER NOT NULL,
    PRIMARY KEY (rail, address)
);
CREATE UNIQUE INDEX rail_addresses_place ON rail_addresses (rail, generation, place);
CREATE INDEX rail_addresses_wallet ON rail_addresses (wallet, rail, generation) WHERE wallet IS NOT NULL;

-- What came in. `held` is the transaction that shows it as coming until it is final.
CREATE TABLE deposits (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    rail TEXT NOT NULL,
    hash TEXT NOT NULL,
    place INTEGER NOT NULL,
    address TEXT NOT NULL,
    wallet BLOB,
    sender TEXT NOT NULL,
    units BLOB CHECK (length(units) = 16),
    amount BLOB CHECK (length(amount) = 16),
    height INTEGER NOT NULL,
    block TEXT NOT NULL,
    status INTEGER NOT NULL,
    held BLOB CHECK (length(held) = 16),
    seen_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL
);
CREATE UNIQUE INDEX deposits_place ON deposits (rail, hash, place);
CREATE INDEX deposits_wallet ON deposits (wallet, id) WHERE wallet IS NOT NULL;
CREATE INDEX deposits_pending ON deposits (rail, height) WHERE status = 0;

-- What goes out: withdrawals of wallets, and the house's own moves between its addresses, which have no wallet. An
-- address uses each of its numbers once.
CREATE TABLE outgoing (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    rail TEXT NOT NULL,
    source TEXT NOT NULL,
    generation INTEGER NOT NULL,
    place INTEGER NOT NULL,
    recipient TEXT NOT NULL,
    what INTEGER NOT NULL,
    units BLOB NOT NULL CHECK (length(units) = 16),
    fee_max BLOB CHECK (length(fee_max) = 16),
    nonce INTEGER,
    status INTEGER NOT NULL,
    hash TEXT,
    height INTEGER,
    fee BLOB CHECK (length(fee) = 16),
    reason TEXT,
    wallet BLOB,
    amount BLOB CHECK (length(amount) = 16),
    platform_fee BLOB CHECK (length(platform_fee) = 16),
    network_fee BLOB CHECK (length(network_fee) = 16),
    client_ref TEXT,
    made_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL
);
CREATE UNIQUE INDEX outgoing_nonce ON outgoing (rail, source, nonce) WHERE nonce IS NOT NULL;
CREATE INDEX outgoing_open ON outgoing (rail, id) WHERE status < 4;

-- The bytes that were signed, kept before they are sent: after a crash the same are sent again. A second row of one
-- payment offers a higher fee under the same number, so that at most one of them is ever carried out.
CREATE TABLE sendings (
    rail TEXT NOT NULL,
    hash TEXT NOT NULL,
    outgoing BLOB NOT NULL REFERENCES outgoing (id),
    raw BLOB NOT NULL,
    made_at INTEGER NOT NULL,
    PRIMARY KEY (rail, hash)
);
CREATE INDEX sendings_outgoing ON sendings (outgoing);
CREATE INDEX outgoing_hash ON outgoing (rail, hash) WHERE hash IS NOT NULL;

-- Files that people carry to a bank, sealed: asked for again, the same is given.
CREATE TABLE rail_files (
    rail TEXT NOT NULL,
    name TEXT NOT NULL,
    document BLOB NOT NULL,
    made_at INTEGER NOT NULL,
    PRIMARY KEY (rail, name)
);
