-- Rails: which accounts each has, how far it has read its chain, and the last comparison with it.
CREATE TABLE rails (
    name TEXT NOT NULL PRIMARY KEY,
    currency BIGINT NOT NULL,
    account BIGINT NOT NULL,
    suspense BIGINT NOT NULL,
    costs BIGINT NOT NULL,
    scanned_height BIGINT,
    scanned_block TEXT,
    paused TEXT,
    checked_height BIGINT,
    checked_at BIGINT,
    chain_units BYTEA CHECK (octet_length(chain_units) = 16),
    book_units BYTEA CHECK (octet_length(book_units) = 16)
);

-- What each rail's addresses are derived from, sealed. Older ones stay, for their addresses are known outside.
CREATE TABLE rail_keys (
    rail TEXT NOT NULL,
    generation BIGINT NOT NULL,
    seed BYTEA NOT NULL,
    house TEXT NOT NULL,
    made_at BIGINT NOT NULL,
    PRIMARY KEY (rail, generation)
);

-- The addresses that were given out; without a wallet the house's own.
CREATE TABLE rail_addresses (
    rail TEXT NOT NULL,
    address TEXT NOT NULL,
    generation BIGINT NOT NULL,
    place BIGINT NOT NULL,
    wallet BYTEA,
    made_at BIGINT NOT NULL,
    PRIMARY KEY (rail, address)
);
CREATE UNIQUE INDEX rail_addresses_place ON rail_addresses (rail, generation, place);
CREATE INDEX rail_addresses_wallet ON rail_addresses (wallet, rail, generation) WHERE wallet IS NOT NULL;

-- What came in. `held` is the transaction that shows it as coming until it is final.
CREATE TABLE deposits (
    id BYTEA NOT NULL PRIMARY KEY CHECK (octet_length(id) = 16),
    rail TEXT NOT NULL,
    hash TEXT NOT NULL,
    place BIGINT NOT NULL,
    address TEXT NOT NULL,
    wallet BYTEA,
    sender TEXT NOT NULL,
    units BYTEA CHECK (octet_length(units) = 16),
    amount BYTEA CHECK (octet_length(amount) = 16),
    height BIGINT NOT NULL,
    block TEXT NOT NULL,
    status BIGINT NOT NULL,
    held BYTEA CHECK (octet_length(held) = 16),
    seen_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX deposits_place ON deposits (rail, hash, place);
CREATE INDEX deposits_wallet ON deposits (wallet, id) WHERE wallet IS NOT NULL;
CREATE INDEX deposits_pending ON deposits (rail, height) WHERE status = 0;

-- What goes out: withdrawals of wallets, and the house's own moves between its addresses, which have no wallet. An
-- address uses each of its numbers once.
CREATE TABLE outgoing (
    id BYTEA NOT NULL PRIMARY KEY CHECK (octet_length(id) = 16),
    rail TEXT NOT NULL,
    source TEXT NOT NULL,
    generation BIGINT NOT NULL,
    place BIGINT NOT NULL,
    recipient TEXT NOT NULL,
    what BIGINT NOT NULL,
    units BYTEA NOT NULL CHECK (octet_length(units) = 16),
    fee_max BYTEA CHECK (octet_length(fee_max) = 16),
    nonce BIGINT,
    status BIGINT NOT NULL,
    hash TEXT,
    height BIGINT,
    fee BYTEA CHECK (octet_length(fee) = 16),
    reason TEXT,
    wallet BYTEA,
    amount BYTEA CHECK (octet_length(amount) = 16),
    platform_fee BYTEA CHECK (octet_length(platform_fee) = 16),
    network_fee BYTEA CHECK (octet_length(network_fee) = 16),
    client_ref TEXT,
    made_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX outgoing_nonce ON outgoing (rail, source, nonce) WHERE nonce IS NOT NULL;
CREATE INDEX outgoing_open ON outgoing (rail, id) WHERE status < 4;

-- The bytes that were signed, kept before they are sent: after a crash the same are sent again. A second row of one
-- payment offers a higher fee under the same number, so that at most one of them is ever carried out.
CREATE TABLE sendings (
    rail TEXT NOT NULL,
    hash TEXT NOT NULL,
    outgoing BYTEA NOT NULL REFERENCES outgoing (id),
    raw BYTEA NOT NULL,
    made_at BIGINT NOT NULL,
    PRIMARY KEY (rail, hash)
);
CREATE INDEX sendings_outgoing ON sendings (outgoing);
CREATE INDEX outgoing_hash ON outgoing (rail, hash) WHERE hash IS NOT NULL;

-- Files that people carry to a bank, sealed: asked for again, the same is given.
CREATE TABLE rail_files (
    rail TEXT NOT NULL,
    name TEXT NOT NULL,
    document BYTEA NOT NULL,
    made_at BIGINT NOT NULL,
    PRIMARY KEY (rail, name)
);
