-- Labels, purposes and payout files are sealed (q-seal): a stolen database does not tell them.

-- Wallets and the accounts behind them. Sums are sixteen big-endian bytes: the order of the bytes is the
-- order of the numbers, and SQLite's own integers stop at 64 bits; both engines keep the same form.
CREATE TABLE wallets (
    id BYTEA NOT NULL PRIMARY KEY CHECK (octet_length(id) = 16),
    reference TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL UNIQUE,
    label BYTEA,
    is_frozen BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    checksum BYTEA NOT NULL
);

CREATE TABLE accounts (
    id BIGINT NOT NULL PRIMARY KEY,
    currency BIGINT NOT NULL,
    kind BIGINT NOT NULL,
    wallet BYTEA REFERENCES wallets (id),
    is_frozen BIGINT NOT NULL,
    credits_posted BYTEA NOT NULL CHECK (octet_length(credits_posted) = 16),
    debits_posted BYTEA NOT NULL CHECK (octet_length(debits_posted) = 16),
    credits_pending BYTEA NOT NULL CHECK (octet_length(credits_pending) = 16),
    debits_pending BYTEA NOT NULL CHECK (octet_length(debits_pending) = 16),
    credit_limit BYTEA NOT NULL CHECK (octet_length(credit_limit) = 16),
    version BIGINT NOT NULL
);
CREATE UNIQUE INDEX accounts_wallet_currency ON accounts (wallet, currency) WHERE wallet IS NOT NULL;

-- The journal: one row per transfer, in the order of arrival, never changed.
CREATE TABLE transfers (
    seq BIGINT NOT NULL PRIMARY KEY,
    transaction_id BYTEA NOT NULL CHECK (octet_length(transaction_id) = 16),
    debit BIGINT NOT NULL,
    credit BIGINT NOT NULL,
    amount BYTEA NOT NULL CHECK (octet_length(amount) = 16),
    purpose BIGINT NOT NULL,
    phase BIGINT NOT NULL,
    pending_of BIGINT,
    debit_version BIGINT NOT NULL,
    debit_balance BYTEA NOT NULL CHECK (octet_length(debit_balance) = 17),
    credit_version BIGINT NOT NULL,
    credit_balance BYTEA NOT NULL CHECK (octet_length(credit_balance) = 17),
    commit_id BIGINT NOT NULL,
    leaf BYTEA NOT NULL CHECK (octet_length(leaf) = 32)
);

-- What the transfers of one group were for. Ids are UUIDv7, so new rows go to the end.
CREATE TABLE transactions (
    id BYTEA NOT NULL PRIMARY KEY CHECK (octet_length(id) = 16),
    kind BIGINT NOT NULL,
    first_seq BIGINT NOT NULL,
    transfer_count BIGINT NOT NULL,
    order_id BIGINT NOT NULL,
    intent BYTEA,
    client_ref TEXT,
    purpose BYTEA,
    commit_id BIGINT NOT NULL,
    leaf BYTEA NOT NULL CHECK (octet_length(leaf) = 32)
);

-- The permission behind transactions: who signed which bytes, and how.
CREATE TABLE orders (
    id BIGINT NOT NULL PRIMARY KEY,
    kind BIGINT NOT NULL,
    signer TEXT NOT NULL,
    input TEXT NOT NULL,
    signatures TEXT NOT NULL,
    digest BYTEA NOT NULL CHECK (octet_length(digest) = 32)
);

-- One row per commit of a writer; each head contains the one before it.
CREATE TABLE commits (
    id BIGINT NOT NULL PRIMARY KEY,
    writer BIGINT NOT NULL,
    number BIGINT NOT NULL,
    first_seq BIGINT NOT NULL,
    transfer_count BIGINT NOT NULL,
    transaction_count BIGINT NOT NULL,
    last_order BIGINT NOT NULL,
    at BIGINT NOT NULL,
    root BYTEA NOT NULL CHECK (octet_length(root) = 32),
    head BYTEA NOT NULL CHECK (octet_length(head) = 32)
);

-- Money set aside, and how that ended.
CREATE TABLE holds (
    transaction_id BYTEA NOT NULL PRIMARY KEY CHECK (octet_length(transaction_id) = 16),
    intent BYTEA NOT NULL,
    expires_at BIGINT NOT NULL,
    end_kind BIGINT,
    end_seq BIGINT,
    end_commit BIGINT
);
CREATE INDEX holds_open ON holds (expires_at) WHERE end_kind IS NULL;

-- Requests that were carried out, for ever: the key's hash, the request's hash, and what came of it.
CREATE TABLE requests (
    key BYTEA NOT NULL PRIMARY KEY CHECK (octet_length(key) = 16),
    fingerprint BYTEA NOT NULL CHECK (octet_length(fingerprint) = 32),
    answer BYTEA NOT NULL CHECK (octet_length(answer) = 16)
);

-- Nonces of executed orders, by the hour in which the order expires, so that inserts stay together and
-- whole hours can be forgotten.
CREATE TABLE nonces (
    hour BIGINT NOT NULL,
    nonce BYTEA NOT NULL CHECK (octet_length(nonce) = 16),
    PRIMARY KEY (hour, nonce)
);

CREATE TABLE batches (
    id BYTEA NOT NULL PRIMARY KEY CHECK (octet_length(id) = 16),
    item_count BIGINT NOT NULL,
    refusals TEXT NOT NULL,
    commit_id BIGINT NOT NULL
);

-- An account's transfers by version; merged from the journal in sorted batches (see store/history.rs).
CREATE TABLE history (
    account BIGINT NOT NULL,
    version BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    PRIMARY KEY (account, version)
);

CREATE TABLE intents (
    id BYTEA NOT NULL PRIMARY KEY CHECK (octet_length(id) = 16),
    wallet BYTEA NOT NULL REFERENCES wallets (id),
    payer TEXT NOT NULL,
    recipient TEXT NOT NULL,
    recipient_wallet BYTEA NOT NULL,
    amount TEXT NOT NULL,
    currency BIGINT NOT NULL,
    platform_fee BYTEA NOT NULL,
    network_fee BYTEA NOT NULL,
    purpose BYTEA,
    nonce TEXT NOT NULL,
    status BIGINT NOT NULL,
    transaction_id BYTEA,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX intents_wallet ON intents (wallet, id);
CREATE INDEX intents_pending ON intents (expires_at) WHERE status = 0;

CREATE TABLE imports (
    id BYTEA NOT NULL PRIMARY KEY CHECK (octet_length(id) = 16),
    wallet BYTEA NOT NULL REFERENCES wallets (id),
    payer TEXT NOT NULL,
    message_id TEXT NOT NULL,
    report BYTEA NOT NULL,
    items BYTEA NOT NULL,
    batch BYTEA,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX imports_message ON imports (wallet, message_id);

-- For auditors: the journal with amounts as numbers of smallest units.
CREATE FUNCTION units(bytes BYTEA) RETURNS NUMERIC LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT SUM(get_byte(bytes, place) * 256::NUMERIC ^ (octet_length(bytes) - 1 - place))
    FROM generate_series(0, octet_length(bytes) - 1) AS place
$$;
CREATE VIEW journal AS
    SELECT seq, encode(transaction_id, 'hex') AS transaction_id, debit, credit, units(amount) AS amount,
        purpose, phase, pending_of, debit_version, credit_version, commit_id
    FROM transfers;
