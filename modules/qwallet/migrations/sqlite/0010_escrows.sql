-- Money that the house holds for two parties. What was agreed never changes; the state and what came of it do.
CREATE TABLE escrows (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    payer BLOB NOT NULL REFERENCES wallets (id),
    payee BLOB NOT NULL REFERENCES wallets (id),
    arbiter TEXT,
    currency INTEGER NOT NULL,
    amount BLOB NOT NULL CHECK (length(amount) = 16),
    platform_fee BLOB NOT NULL CHECK (length(platform_fee) = 16),
    network_fee BLOB NOT NULL CHECK (length(network_fee) = 16),
    order_ref TEXT NOT NULL,
    splits TEXT NOT NULL,
    funding BLOB NOT NULL CHECK (length(funding) = 16),
    state INTEGER NOT NULL,
    dispute BLOB,
    auto_release_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    ended_at INTEGER
) WITHOUT ROWID;
CREATE UNIQUE INDEX escrows_order ON escrows (payer, order_ref);
CREATE INDEX escrows_payee ON escrows (payee, id);
CREATE INDEX escrows_arbiter ON escrows (arbiter, id) WHERE arbiter IS NOT NULL;
CREATE INDEX escrows_due ON escrows (auto_release_at) WHERE state = 0;

-- Who got what when an escrow ended. A part without a transaction waits for its recipient to open a wallet.
CREATE TABLE escrow_parts (
    escrow BLOB NOT NULL REFERENCES escrows (id),
    place INTEGER NOT NULL,
    recipient TEXT NOT NULL,
    amount BLOB NOT NULL CHECK (length(amount) = 16),
    transaction_id BLOB,
    PRIMARY KEY (escrow, place)
) WITHOUT ROWID;
CREATE INDEX escrow_parts_parked ON escrow_parts (recipient) WHERE transaction_id IS NULL;
