-- What was given back of payments: one row a refund, whose transaction has the same id.
CREATE TABLE refunds (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    payment BLOB NOT NULL CHECK (length(payment) = 16),
    amount BLOB NOT NULL CHECK (length(amount) = 16),
    platform_fee BLOB NOT NULL CHECK (length(platform_fee) = 16),
    network_fee BLOB NOT NULL CHECK (length(network_fee) = 16),
    remaining BLOB NOT NULL CHECK (length(remaining) = 16),
    reason BLOB,
    created_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX refunds_payment ON refunds (payment, remaining);
