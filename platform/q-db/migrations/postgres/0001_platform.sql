-- Events of this module. Writers commit concurrently, so `position` is given afterwards, by one
-- sequencer at a time, to rows that are visible: dense, and never earlier than what it depends on.
CREATE TABLE q_outbox (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    position BIGINT UNIQUE,
    id TEXT NOT NULL,
    topic TEXT NOT NULL,
    subject TEXT NOT NULL,
    at BIGINT NOT NULL,
    data TEXT NOT NULL,
    trace TEXT
);
CREATE INDEX q_outbox_fresh ON q_outbox (seq) WHERE position IS NULL;

-- What was done, by whom, to what.
CREATE TABLE q_audit (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    position BIGINT UNIQUE,
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
CREATE INDEX q_audit_fresh ON q_audit (seq) WHERE position IS NULL;

-- The last position given in each of the two.
CREATE TABLE q_heads (name TEXT NOT NULL PRIMARY KEY, position BIGINT NOT NULL);
INSERT INTO q_heads VALUES ('q_outbox', 0), ('q_audit', 0);

-- Events of others that were reacted to.
CREATE TABLE q_inbox (event_id TEXT NOT NULL PRIMARY KEY, at BIGINT NOT NULL);

-- Answers of writes that carried an Idempotency-Key. `answer` is NULL where it may not be kept.
CREATE TABLE q_idempotency (
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint BYTEA NOT NULL,
    answer TEXT,
    at BIGINT NOT NULL,
    PRIMARY KEY (scope, key)
);

-- How far this module has followed others.
CREATE TABLE q_cursors (name TEXT NOT NULL PRIMARY KEY, position BIGINT NOT NULL);

-- Events whose reaction failed for good, kept until somebody decides.
CREATE TABLE q_parked (
    subscription TEXT NOT NULL,
    event_id TEXT NOT NULL,
    position BIGINT NOT NULL,
    event TEXT NOT NULL,
    error TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (subscription, event_id)
);
