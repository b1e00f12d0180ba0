-- How many events kept a promise, per module, class and promise, in stretches of time: 30 s, 5 min or 1 h wide.
CREATE TABLE slo_buckets (
    module TEXT NOT NULL,
    class TEXT NOT NULL,
    sli TEXT NOT NULL,
    start_at BIGINT NOT NULL,
    width BIGINT NOT NULL,
    good BIGINT NOT NULL,
    total BIGINT NOT NULL,
    PRIMARY KEY (module, class, sli, start_at)
);

-- What each target's counters showed last, so that what they count while nobody looks is not lost.
CREATE TABLE slo_seen (
    module TEXT NOT NULL,
    replica TEXT NOT NULL,
    at BIGINT NOT NULL,
    totals TEXT NOT NULL,
    PRIMARY KEY (module, replica)
);

-- Which process watches: one at a time.
CREATE TABLE watch_lease (
    name TEXT NOT NULL PRIMARY KEY,
    holder TEXT NOT NULL,
    until BIGINT NOT NULL
);

-- Where each rule stands that is pending or firing.
CREATE TABLE standings (
    rule TEXT NOT NULL,
    module TEXT NOT NULL,
    class TEXT NOT NULL,
    standing TEXT NOT NULL,
    PRIMARY KEY (rule, module, class)
);

-- One row for each ladder of people that was begun; open while resolved_at is null.
CREATE TABLE pages (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    opened_at BIGINT NOT NULL,
    ladder TEXT NOT NULL,
    acknowledged_by TEXT,
    resolved_at BIGINT
);
CREATE UNIQUE INDEX pages_open ON pages (name) WHERE resolved_at IS NULL;

-- Every alert that ever fired.
CREATE TABLE alerts (
    id TEXT NOT NULL PRIMARY KEY,
    rule TEXT NOT NULL,
    module TEXT NOT NULL,
    class TEXT NOT NULL,
    severity TEXT NOT NULL,
    page TEXT,
    fired_at BIGINT NOT NULL,
    resolved_at BIGINT,
    alert TEXT NOT NULL
);
CREATE INDEX alerts_by_time ON alerts (fired_at, id);
CREATE INDEX alerts_open ON alerts (fired_at, id) WHERE resolved_at IS NULL;
CREATE INDEX alerts_by_page ON alerts (page);

-- What happened to a page. Rows are added and never changed.
CREATE TABLE page_entries (
    page TEXT NOT NULL REFERENCES pages (id),
    seq BIGINT NOT NULL,
    at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    by_whom TEXT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (page, seq)
);

-- What is to be told by which channel: written with the decision, marked when done. A step of a page is told once per
-- channel, however often the process starts anew.
CREATE TABLE tellings (
    id TEXT NOT NULL PRIMARY KEY,
    page TEXT NOT NULL REFERENCES pages (id),
    step TEXT NOT NULL,
    channel TEXT NOT NULL,
    message TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    next_at BIGINT,
    done_at BIGINT,
    outcome TEXT,
    UNIQUE (page, step, channel)
);
CREATE INDEX tellings_due ON tellings (next_at) WHERE next_at IS NOT NULL;

-- The newest verification of each module.
CREATE TABLE verifications (
    module TEXT NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    findings BIGINT NOT NULL,
    first TEXT
);
