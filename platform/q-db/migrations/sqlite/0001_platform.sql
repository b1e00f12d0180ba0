-- Events of this module. `position` is dense and in commit order, because there is one writer.
CREATE TABLE q_outbox (
    position INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    topic TEXT NOT NULL,
    subject TEXT NOT NULL,
    at BIGINT NOT NULL,
    data TEXT NOT NULL,
    trace TEXT
);

-- What was done, by whom, to what.
CREATE TABLE q_audit (
    position INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    at BIGINT NOT NULL,
    family TEXT NOT NULL,
    action TEXT NOT NULL,
    actor TEXT,
    target TEXT NOT NULL,
    verdict TEXT NOT NULL,
    details TEXT NOT NULL,
    trace TEXT
);

-- Events of others that were reacted to.
CREATE TABLE q_inbox (event_id TEXT NOT NULL PRIMARY KEY, at BIGINT NOT NULL) WITHOUT ROWID;

-- Answers of writes that carried an Idempotency-Key. `answer` is NULL where it may not be kept.
CREATE TABLE q_idempotency (
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    answer TEXT,
    at BIGINT NOT NULL,
    PRIMARY KEY (scope, key)
) WITHOUT ROWID;

-- How far this module has followed others.
CREATE TABLE q_cursors (name TEXT NOT NULL PRIMARY KEY, position BIGINT NOT NULL) WITHOUT ROWID;

-- Events whose reaction failed for good, kept until somebody decides.
CREATE TABLE q_parked (
    subscription TEXT NOT NULL,
    event_id TEXT NOT NULL,
    position BIGINT NOT NULL,
    event TEXT NOT NULL,
    error TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (subscription, event_id)
) WITHOUT ROWID;
