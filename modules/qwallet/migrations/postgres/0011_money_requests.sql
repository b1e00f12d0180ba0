-- What payees ask for. A payment that fulfils one changes it in the same commit.
CREATE TABLE money_requests (
    id BYTEA NOT NULL PRIMARY KEY CHECK (octet_length(id) = 16),
    wallet BYTEA NOT NULL REFERENCES wallets (id),
    currency BIGINT NOT NULL,
    amount BYTEA CHECK (octet_length(amount) = 16),
    memo BYTEA,
    is_single_use BIGINT NOT NULL,
    is_cancelled BIGINT NOT NULL,
    payments BIGINT NOT NULL,
    transaction_id BYTEA,
    created_at BIGINT NOT NULL,
    expires_at BIGINT
);
CREATE INDEX money_requests_wallet ON money_requests (wallet, id);
