-- Payments that come back. What was signed never changes; how far it got does.
CREATE TABLE schedules (
    id BYTEA NOT NULL PRIMARY KEY CHECK (octet_length(id) = 16),
    signer TEXT NOT NULL,
    payer BYTEA NOT NULL REFERENCES wallets (id),
    payee BYTEA NOT NULL REFERENCES wallets (id),
    currency BIGINT NOT NULL,
    amount BYTEA NOT NULL CHECK (octet_length(amount) = 16),
    purpose BYTEA,
    input TEXT NOT NULL,
    signature TEXT NOT NULL,
    plan BYTEA,
    plan_version BIGINT,
    state BIGINT NOT NULL,
    next_wall BIGINT,
    next_at BIGINT,
    due_at BIGINT,
    attempts BIGINT NOT NULL,
    failure TEXT,
    failed_at BIGINT,
    runs BIGINT NOT NULL,
    skipped BIGINT NOT NULL,
    paid_until BIGINT,
    created_at BIGINT NOT NULL,
    ended_at BIGINT
);
CREATE INDEX schedules_signer ON schedules (signer, id);
CREATE INDEX schedules_due ON schedules (due_at) WHERE due_at IS NOT NULL;

-- The payments they made, each once: by what the clocks showed.
CREATE TABLE schedule_runs (
    schedule BYTEA NOT NULL REFERENCES schedules (id),
    wall BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    paid_at BIGINT NOT NULL,
    amount BYTEA NOT NULL CHECK (octet_length(amount) = 16),
    transaction_id BYTEA NOT NULL,
    PRIMARY KEY (schedule, wall)
);
CREATE UNIQUE INDEX schedule_runs_transaction ON schedule_runs (transaction_id);

-- What is offered for a price per period. A version never changes.
CREATE TABLE plans (
    id BYTEA NOT NULL CHECK (octet_length(id) = 16),
    version BIGINT NOT NULL,
    owner TEXT NOT NULL,
    payee BYTEA NOT NULL REFERENCES wallets (id),
    name TEXT NOT NULL,
    currency BIGINT NOT NULL,
    price BYTEA NOT NULL CHECK (octet_length(price) = 16),
    period TEXT NOT NULL,
    entitlements TEXT NOT NULL,
    is_offered BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (id, version)
);
