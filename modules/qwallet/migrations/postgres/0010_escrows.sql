-- Money that the house holds for two parties. What was agreed never changes; the state and what came of it do.
CREATE TABLE escrows (
    id BYTEA NOT NULL PRIMARY KEY CHECK (octet_length(id) = 16),
    payer BYTEA NOT NULL REFERENCES wallets (id),
    payee BYTEA NOT NULL REFERENCES wallets (id),
    arbiter TEXT,
    currency BIGINT NOT NULL,
    amount BYTEA NOT NULL CHECK (octet_length(amount) = 16),
    platform_fee BYTEA NOT NULL CHECK (octet_length(platform_fee) = 16),
    network_fee BYTEA NOT NULL CHECK (octet_length(network_fee) = 16),
    order_ref TEXT NOT NULL,
    splits TEXT NOT NULL,
    funding BYTEA NOT NULL CHECK (octet_length(funding) = 16),
    state BIGINT NOT NULL,
    dispute BYTEA,
    auto_release_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    ended_at BIGINT
);
CREATE UNIQUE INDEX escrows_order ON escrows (payer, order_ref);
CREATE INDEX escrows_payee ON escrows (payee, id);
CREATE INDEX escrows_arbiter ON escrows (arbiter, id) WHERE arbiter IS NOT NULL;
CREATE INDEX escrows_due ON escrows (auto_release_at) WHERE state = 0;

-- Who got what when an escrow ended. A part without a transaction waits for its recipient to open a wallet.
CREATE TABLE escrow_parts (
    escrow BYTEA NOT NULL REFERENCES escrows (id),
    place BIGINT NOT NULL,
    recipient TEXT NOT NULL,
    amount BYTEA NOT NULL CHECK (octet_length(amount) = 16),
    transaction_id BYTEA,
    PRIMARY KEY (escrow, place)
);
CREATE INDEX escrow_parts_parked ON escrow_parts (recipient) WHERE transaction_id IS NULL;
