-- Labels, purposes and payout files are sealed (q-seal): a stolen database does not tell them.

-- Wallets and the accounts behind them. Sums are sixteen big-endian bytes: the order of the bytes is the
-- order of the numbers, and SQLite's own integers stop at 64 bits.
CREATE TABLE wallets (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    reference TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL UNIQUE,
    label BLOB,
    is_frozen INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    checksum BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE accounts (
    id INTEGER NOT NULL PRIMARY KEY,
    currency INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    wallet BLOB REFERENCES wallets (id),
    is_frozen INTEGER NOT NULL,
    credits_posted BLOB NOT NULL CHECK (length(credits_posted) = 16),
    debits_posted BLOB NOT NULL CHECK (length(debits_posted) = 16),
    credits_pending BLOB NOT NULL CHECK (length(credits_pending) = 16),
    debits_pending BLOB NOT NULL CHECK (length(debits_pending) = 16),
    credit_limit BLOB NOT NULL CHECK (length(credit_limit) = 16),
    version INTEGER NOT NULL
);
CREATE UNIQUE INDEX accounts_wallet_currency ON accounts (wallet, currency) WHERE wallet IS NOT NULL;

-- The journal: one row per transfer, in the order of arrival, never changed.
CREATE TABLE transfers (
    seq INTEGER NOT NULL PRIMARY KEY,
    transaction_id BLOB NOT NULL CHECK (length(transaction_id) = 16),
    debit INTEGER NOT NULL,
    credit INTEGER NOT NULL,
    amount BLOB NOT NULL CHECK (length(amount) = 16),
    purpose INTEGER NOT NULL,
    phase INTEGER NOT NULL,
    pending_of INTEGER,
    debit_version INTEGER NOT NULL,
    debit_balance BLOB NOT NULL CHECK (length(debit_balance) = 17),
    credit_version INTEGER NOT NULL,
    credit_balance BLOB NOT NULL CHECK (length(credit_balance) = 17),
    commit_id INTEGER NOT NULL,
    leaf BLOB NOT NULL CHECK (length(leaf) = 32)
);

-- What the transfers of one group were for. Ids are UUIDv7, so new rows go to the end.
CREATE TABLE transactions (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    kind INTEGER NOT NULL,
    first_seq INTEGER NOT NULL,
    transfer_count INTEGER NOT NULL,
    order_id INTEGER NOT NULL,
    intent BLOB,
    client_ref TEXT,
    purpose BLOB,
    commit_id INTEGER NOT NULL,
    leaf BLOB NOT NULL CHECK (length(leaf) = 32)
) WITHOUT ROWID;

-- The permission behind transactions: who signed which bytes, and how.
CREATE TABLE orders (
    id INTEGER NOT NULL PRIMARY KEY,
    kind INTEGER NOT NULL,
    signer TEXT NOT NULL,
    input TEXT NOT NULL,
    signatures TEXT NOT NULL,
    digest BLOB NOT NULL CHECK (length(digest) = 32)
);

-- One row per commit of a writer; each head contains the one before it.
CREATE TABLE commits (
    id INTEGER NOT NULL PRIMARY KEY,
    writer INTEGER NOT NULL,
    number INTEGER NOT NULL,
    first_seq INTEGER NOT NULL,
    transfer_count INTEGER NOT NULL,
    transaction_count INTEGER NOT NULL,
    last_order INTEGER NOT NULL,
    at INTEGER NOT NULL,
    root BLOB NOT NULL CHECK (length(root) = 32),
    head BLOB NOT NULL CHECK (length(head) = 32)
);

-- Money set aside, and how that ended.
CREATE TABLE holds (
    transaction_id BLOB NOT NULL PRIMARY KEY CHECK (length(transaction_id) = 16),
    intent BLOB NOT NULL,
    expires_at INTEGER NOT NULL,
    end_kind INTEGER,
    end_seq INTEGER,
    end_commit INTEGER
) WITHOUT ROWID;
CREATE INDEX holds_open ON holds (expires_at) WHERE end_kind IS NULL;

-- Requests that were carried out, for ever: the key's hash, the request's hash, and what came of it.
CREATE TABLE requests (
    key BLOB NOT NULL PRIMARY KEY CHECK (length(key) = 16),
    fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 32),
    answer BLOB NOT NULL CHECK (length(answer) = 16)
) WITHOUT ROWID;

-- Nonces of executed orders, by the hour in which the order expires, so that inserts stay together and
-- whole hours can be forgotten.
CREATE TABLE nonces (
    hour INTEGER NOT NULL,
    nonce BLOB NOT NULL CHECK (length(nonce) = 16),
    PRIMARY KEY (hour, nonce)
) WITHOUT ROWID;

CREATE TABLE batches (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    item_count INTEGER NOT NULL,
    refusals TEXT NOT NULL,
    commit_id INTEGER NOT NULL
) WITHOUT ROWID;

-- An account's transfers by version; merged from the journal in sorted batches (see store/history.rs).
CREATE TABLE history (
    account INTEGER NOT NULL,
    version INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (account, version)
) WITHOUT ROWID;

CREATE TABLE intents (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    wallet BLOB NOT NULL REFERENCES wallets (id),
    payer TEXT NOT NULL,
    recipient TEXT NOT NULL,
    recipient_wallet BLOB NOT NULL,
    amount TEXT NOT NULL,
    currency INTEGER NOT NULL,
    platform_fee BLOB NOT NULL,
    network_fee BLOB NOT NULL,
    purpose BLOB,
    nonce TEXT NOT NULL,
    status INTEGER NOT NULL,
    transaction_id BLOB,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX intents_wallet ON intents (wallet, id);
CREATE INDEX intents_pending ON intents (expires_at) WHERE status = 0;

CREATE TABLE imports (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    wallet BLOB NOT NULL REFERENCES wallets (id),
    payer TEXT NOT NULL,
    message_id TEXT NOT NULL,
    report BLOB NOT NULL,
    items BLOB NOT NULL,
    batch BLOB,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX imports_message ON imports (wallet, message_id);
