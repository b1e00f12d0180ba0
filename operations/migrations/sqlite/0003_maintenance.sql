-- Maintenance windows. state is a tagged object with what is known only there; its word is also in status.
CREATE TABLE windows (
    id TEXT PRIMARY KEY,
    title TEXT NOT NULL,
    begins_at INTEGER NOT NULL,
    ends_at INTEGER NOT NULL,
    modules TEXT NOT NULL,
    mode TEXT NOT NULL,
    notify TEXT NOT NULL,
    announced TEXT NOT NULL,
    rollback_plan TEXT NOT NULL,
    status TEXT NOT NULL,
    state TEXT NOT NULL,
    planned_by TEXT NOT NULL,
    approved_by TEXT,
    approval TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX windows_by_time ON windows (begins_at, id);
CREATE INDEX windows_by_status ON windows (status);

-- Approvals that were used: each begins one window.
CREATE TABLE used_approvals (
    nonce TEXT PRIMARY KEY,
    expires_at INTEGER NOT NULL
) STRICT;

-- Who is told what: status or reports. Addresses are sealed; digest recognises one that is there already.
CREATE TABLE subscribers (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    topic TEXT NOT NULL,
    address BLOB NOT NULL,
    digest TEXT NOT NULL UNIQUE,
    hint TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- What subscribers are told. The key is what makes each thing be said once.
CREATE TABLE notices (
    id TEXT PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    subject TEXT NOT NULL,
    body TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;

-- What waits to be delivered, or was given up (next_at is null).
CREATE TABLE deliveries (
    notice TEXT NOT NULL REFERENCES notices (id),
    subscriber TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    next_at INTEGER,
    PRIMARY KEY (notice, subscriber)
) STRICT;
CREATE INDEX deliveries_by_time ON deliveries (next_at);

-- How each module was at the newest look.
CREATE TABLE looks (
    module TEXT PRIMARY KEY,
    at INTEGER NOT NULL,
    status TEXT NOT NULL,
    mode TEXT NOT NULL
) STRICT;

-- How many looks of a day (days since 1970) found a module serving; looks in planned maintenance are not counted.
CREATE TABLE look_days (
    module TEXT NOT NULL,
    day INTEGER NOT NULL,
    looks INTEGER NOT NULL,
    serving INTEGER NOT NULL,
    degraded INTEGER NOT NULL,
    PRIMARY KEY (module, day)
) STRICT;

-- Reports.
CREATE TABLE reports (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    from_at INTEGER NOT NULL,
    to_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    is_scheduled INTEGER NOT NULL,
    summary TEXT NOT NULL,
    text TEXT NOT NULL,
    data TEXT NOT NULL
) STRICT;
CREATE INDEX reports_by_time ON reports (created_at, id);
