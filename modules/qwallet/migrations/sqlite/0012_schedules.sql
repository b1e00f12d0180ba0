-- Payments that come back. What was signed never changes; how far it got does.
CREATE TABLE schedules (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    signer TEXT NOT NULL,
    payer BLOB NOT NULL REFERENCES wallets (id),
    payee BLOB NOT NULL REFERENCES wallets (id),
    currency INTEGER NOT NULL,
    amount BLOB NOT NULL CHECK (length(amount) = 16),
    purpose BLOB,
    input TEXT NOT NULL,
    signature TEXT NOT NULL,
    plan BLOB,
    plan_version INTEGER,
    state INTEGER NOT NULL,
    next_wall INTEGER,
    next_at INTEGER,
    due_at INTEGER,
    attempts INTEGER NOT NULL,
    failure TEXT,
    failed_at INTEGER,
    runs INTEGER NOT NULL,
    skipped INTEGER NOT NULL,
    paid_until INTEGER,
    created_at INTEGER NOT NULL,
    ended_at INTEGER
) WITHOUT ROWID;
CREATE INDEX schedules_signer ON schedules (signer, id);
CREATE INDEX schedules_due ON schedules (due_at) WHERE due_at IS NOT NULL;

-- The payments they made, each once: by what the clocks showed.
CREATE TABLE schedule_runs (
    schedule BLOB NOT NULL REFERENCES schedules (id),
    wall INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    paid_at INTEGER NOT NULL,
    amount BLOB NOT NULL CHECK (length(amount) = 16),
    transaction_id BLOB NOT NULL,
    PRIMARY KEY (schedule, wall)
) WITHOUT ROWID;
CREATE UNIQUE INDEX schedule_runs_transaction ON schedule_runs (transaction_id);

-- What is offered for a price per period. A version never changes.
CREATE TABLE plans (
    id BLOB NOT NULL CHECK (length(id) = 16),
    version INTEGER NOT NULL,
    owner TEXT NOT NULL,
    payee BLOB NOT NULL REFERENCES wallets (id),
    name TEXT NOT NULL,
    currency INTEGER NOT NULL,
    price BLOB NOT NULL CHECK (length(price) = 16),
    period TEXT NOT NULL,
    entitlements TEXT NOT NULL,
    is_offered INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (id, version)
) WITHOUT ROWID;
