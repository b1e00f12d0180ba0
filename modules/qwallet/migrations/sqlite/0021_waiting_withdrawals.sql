-- Withdrawals that others have to approve before their money is held: the signed order, sealed, until it is carried out.
CREATE TABLE waiting_withdrawals (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    wallet BLOB NOT NULL REFERENCES wallets (id),
    payer TEXT NOT NULL,
    nonce TEXT NOT NULL,
    document BLOB NOT NULL,
    currency INTEGER NOT NULL,
    amount BLOB NOT NULL CHECK (length(amount) = 16),
    platform_fee BLOB NOT NULL CHECK (length(platform_fee) = 16),
    network_fee BLOB NOT NULL CHECK (length(network_fee) = 16),
    status INTEGER NOT NULL,
    reason TEXT,
    made_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL
);
CREATE UNIQUE INDEX waiting_withdrawals_nonce ON waiting_withdrawals (payer, nonce);
CREATE INDEX waiting_withdrawals_open ON waiting_withdrawals (wallet, id) WHERE status = 0;

-- What approvers decided about them, with their signatures.
CREATE TABLE withdrawal_approvals (
    withdrawal BLOB NOT NULL REFERENCES waiting_withdrawals (id),
    approver TEXT NOT NULL,
    is_approved INTEGER NOT NULL,
    signature TEXT NOT NULL,
    decided_at INTEGER NOT NULL,
    PRIMARY KEY (withdrawal, approver)
);

-- The only addresses outside that money of an undertaking may leave to, where it keeps a list: one a line, with its rail.
ALTER TABLE wallets ADD COLUMN allowed_addresses TEXT;
