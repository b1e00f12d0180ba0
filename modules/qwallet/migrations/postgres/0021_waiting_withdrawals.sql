-- Withdrawals that others have to approve before their money is held: the signed order, sealed, until it is carried out.
CREATE TABLE waiting_withdrawals (
    id BYTEA NOT NULL PRIMARY KEY CHECK (octet_length(id) = 16),
    wallet BYTEA NOT NULL REFERENCES wallets (id),
    payer TEXT NOT NULL,
    nonce TEXT NOT NULL,
    document BYTEA NOT NULL,
    currency BIGINT NOT NULL,
    amount BYTEA NOT NULL CHECK (octet_length(amount) = 16),
    platform_fee BYTEA NOT NULL CHECK (octet_length(platform_fee) = 16),
    network_fee BYTEA NOT NULL CHECK (octet_length(network_fee) = 16),
    status BIGINT NOT NULL,
    reason TEXT,
    made_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX waiting_withdrawals_nonce ON waiting_withdrawals (payer, nonce);
CREATE INDEX waiting_withdrawals_open ON waiting_withdrawals (wallet, id) WHERE status = 0;

-- What approvers decided about them, with their signatures.
CREATE TABLE withdrawal_approvals (
    withdrawal BYTEA NOT NULL REFERENCES waiting_withdrawals (id),
    approver TEXT NOT NULL,
    is_approved BIGINT NOT NULL,
    signature TEXT NOT NULL,
    decided_at BIGINT NOT NULL,
    PRIMARY KEY (withdrawal, approver)
);

-- The only addresses outside that money of an undertaking may leave to, where it keeps a list: one a line, with its rail.
ALTER TABLE wallets ADD COLUMN allowed_addresses TEXT;
