-- What was given back of payments: one row a refund, whose transaction has the same id.
CREATE TABLE refunds (
    id BYTEA NOT NULL PRIMARY KEY CHECK (octet_length(id) = 16),
    payment BYTEA NOT NULL CHECK (octet_length(payment) = 16),
    amount BYTEA NOT NULL CHECK (octet_length(amount) = 16),
    platform_fee BYTEA NOT NULL CHECK (octet_length(platform_fee) = 16),
    network_fee BYTEA NOT NULL CHECK (octet_length(network_fee) = 16),
    remaining BYTEA NOT NULL CHECK (octet_length(remaining) = 16),
    reason BYTEA,
    created_at BIGINT NOT NULL
);
CREATE INDEX refunds_payment ON refunds (payment, remaining);
