-- Addresses that owners of wallets have told what happens. Addresses and keys are sealed (q-seal): an address may hold
-- a token, and a key makes whoever has it speak as this instance.
CREATE TABLE webhooks (
    id BYTEA NOT NULL PRIMARY KEY CHECK (octet_length(id) = 16),
    wallet BYTEA NOT NULL REFERENCES wallets (id),
    reference TEXT NOT NULL,
    url BYTEA NOT NULL,
    event_types TEXT NOT NULL,
    scheme BIGINT NOT NULL,
    secret BYTEA NOT NULL,
    -- The key before, while deliveries are signed with both.
    old_secret BYTEA,
    old_secret_until BIGINT,
    status BIGINT NOT NULL,
    -- The outbox position after which it is told.
    after_position BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX webhooks_wallet ON webhooks (wallet, id);
CREATE INDEX webhooks_active ON webhooks (after_position) WHERE status = 0;

-- One event for one address: waiting for an attempt, delivered, or given up. Kept for thirty days.
CREATE TABLE deliveries (
    id BYTEA NOT NULL PRIMARY KEY CHECK (octet_length(id) = 16),
    webhook BYTEA NOT NULL REFERENCES webhooks (id),
    event_id TEXT NOT NULL,
    event_type TEXT NOT NULL,
    body TEXT NOT NULL,
    status BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    next_at BIGINT NOT NULL,
    -- Until when a process has it in hand; whoever records an outcome proves with it that it still has.
    claimed_until BIGINT NOT NULL,
    attempted_at BIGINT,
    response_status BIGINT,
    error TEXT,
    created_at BIGINT NOT NULL
);
CREATE INDEX deliveries_webhook ON deliveries (webhook, id);
CREATE INDEX deliveries_due ON deliveries (webhook, next_at) WHERE status = 0;
CREATE INDEX deliveries_created ON deliveries (created_at);
