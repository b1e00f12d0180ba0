-- How many events kept a promise, per module, class and promise, in stretches of time: 30 s, 5 min or 1 h wide.
CREATE TABLE slo_buckets (
    module TEXT NOT NULL,
    class TEXT NOT NULL,
    sli TEXT NOT NULL,
    start_at INTEGER NOT NULL,
    width INTEGER NOT NULL,
    good INTEGER NOT NULL,
    total INTEGER NOT NULL,
    PRIMARY KEY (module, class, sli, start_at)
) STRICT;

-- What each target's counters showed last, so that what they count while nobody looks is not lost.
CREATE TABLE slo_seen (
    module TEXT NOT NULL,
    replica TEXT NOT NULL,
    at INTEGER NOT NULL,
    totals TEXT NOT NULL,
    PRIMARY KEY (module, replica)
) STRICT;

-- Which process watches: one at a time.
CREATE TABLE watch_lease (
    name TEXT NOT NULL PRIMARY KEY,
    holder TEXT NOT NULL,
    until INTEGER NOT NULL
) STRICT;

-- Where each rule stands that is pending or firing.
CREATE TABLE standings (
    rule TEXT NOT NULL,
    module TEXT NOT NULL,
    class TEXT NOT NULL,
    standing TEXT NOT NULL,
    PRIMARY KEY (rule, module, class)
) STRICT;

-- One row for each ladder of people that was begun; open while resolved_at is null.
CREATE TABLE pages (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    opened_at INTEGER NOT NULL,
    ladder TEXT NOT NULL,
    acknowledged_by TEXT,
    resolved_at INTEGER
) STRICT;
CREATE UNIQUE INDEX pages_open ON pages (name) WHERE resolved_at IS NULL;

-- Every alert that ever fired.
CREATE TABLE alerts (
    id TEXT NOT NULL PRIMARY KEY,
    rule TEXT NOT NULL,
    module TEXT NOT NULL,
    class TEXT NOT NULL,
    severity TEXT NOT NULL,
    page TEXT,
    fired_at INTEGER NOT NULL,
    resolved_at INTEGER,
    alert TEXT NOT NULL
) STRICT;
CREATE INDEX alerts_by_time ON alerts (fired_at, id);
CREATE INDEX alerts_open ON alerts (fired_at, id) WHERE resolved_at IS NULL;
CREATE INDEX alerts_by_page ON alerts (page);

-- What happened to a page. Rows are added and never changed.
CREATE TABLE page_entries (
    page TEXT NOT NULL REFERENCES pages (id),
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    by_whom TEXT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (page, seq)
) STRICT;

-- What is to be told by which channel: written with the decision, marked when done. A step of a page is told once per
-- channel, however often the process starts anew.
CREATE TABLE tellings (
    id TEXT NOT NULL PRIMARY KEY,
    page TEXT NOT NULL REFERENCES pages (id),
    step TEXT NOT NULL,
    channel TEXT NOT NULL,
    message TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    next_at INTEGER,
    done_at INTEGER,
    outcome TEXT,
    UNIQUE (page, step, channel)
) STRICT;
CREATE INDEX tellings_due ON tellings (next_at) WHERE next_at IS NOT NULL;

-- The newest verification of each module.
CREATE TABLE verifications (
    module TEXT NOT NULL PRIMARY KEY,
    at INTEGER NOT NULL,
    findings INTEGER NOT NULL,
    first TEXT
) STRICT;
