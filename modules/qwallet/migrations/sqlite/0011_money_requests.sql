-- What payees ask for. A payment that fulfils one changes it in the same commit.
CREATE TABLE money_requests (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    wallet BLOB NOT NULL REFERENCES wallets (id),
    currency INTEGER NOT NULL,
    amount BLOB CHECK (length(amount) = 16),
    memo BLOB,
    is_single_use INTEGER NOT NULL,
    is_cancelled INTEGER NOT NULL,
    payments INTEGER NOT NULL,
    transaction_id BLOB,
    created_at INTEGER NOT NULL,
    expires_at INTEGER
) WITHOUT ROWID;
CREATE INDEX money_requests_wallet ON money_requests (wallet, id);
