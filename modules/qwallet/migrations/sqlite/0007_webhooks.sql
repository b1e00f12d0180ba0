-- Addresses that owners of wallets have told what happens. Addresses and keys are sealed (q-seal): an address may hold
-- a token, and a key makes whoever has it speak as this instance.
CREATE TABLE webhooks (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    wallet BLOB NOT NULL REFERENCES wallets (id),
    reference TEXT NOT NULL,
    url BLOB NOT NULL,
    event_types TEXT NOT NULL,
    scheme INTEGER NOT NULL,
    secret BLOB NOT NULL,
    -- The key before, while deliveries are signed with both.
    old_secret BLOB,
    old_secret_until INTEGER,
    status INTEGER NOT NULL,
    -- The outbox position after which it is told.
    after_position INTEGER NOT NULL,
    created_at INTEGER NOT NULL
);
CREATE INDEX webhooks_wallet ON webhooks (wallet, id);
CREATE INDEX webhooks_active ON webhooks (after_position) WHERE status = 0;

-- One event for one address: waiting for an attempt, delivered, or given up. Kept for thirty days.
CREATE TABLE deliveries (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    webhook BLOB NOT NULL REFERENCES webhooks (id),
    event_id TEXT NOT NULL,
    event_type TEXT NOT NULL,
    body TEXT NOT NULL,
    status INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    next_at INTEGER NOT NULL,
    -- Until when a process has it in hand; whoever records an outcome proves with it that it still has.
    claimed_until INTEGER NOT NULL,
    attempted_at INTEGER,
    response_status INTEGER,
    error TEXT,
    created_at INTEGER NOT NULL
);
CREATE INDEX deliveries_webhook ON deliveries (webhook, id);
CREATE INDEX deliveries_due ON deliveries (webhook, next_at) WHERE status = 0;
CREATE INDEX deliveries_created ON deliveries (created_at);
