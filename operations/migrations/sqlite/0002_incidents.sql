-- Incidents. impact is how the modules were at the newest look; cause names what opened one by itself, while it is open.
CREATE TABLE incidents (
    id TEXT PRIMARY KEY,
    title TEXT NOT NULL,
    severity TEXT NOT NULL,
    status TEXT NOT NULL,
    modules TEXT NOT NULL,
    opened_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    resolved_at INTEGER,
    opened_by TEXT NOT NULL,
    impact TEXT NOT NULL,
    cause TEXT
) STRICT;
CREATE INDEX incidents_by_time ON incidents (opened_at, id);
CREATE INDEX incidents_by_cause ON incidents (cause);

-- What happened. Rows are added and never changed; link chains each to the one before.
CREATE TABLE timeline (
    incident TEXT NOT NULL REFERENCES incidents (id),
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    by_whom TEXT NOT NULL,
    text TEXT NOT NULL,
    details TEXT NOT NULL,
    link TEXT NOT NULL,
    PRIMARY KEY (incident, seq)
) STRICT;
CREATE TRIGGER timeline_is_not_changed BEFORE UPDATE ON timeline
BEGIN SELECT RAISE(ABORT, 'a timeline only grows'); END;
CREATE TRIGGER timeline_is_not_cut BEFORE DELETE ON timeline
BEGIN SELECT RAISE(ABORT, 'a timeline only grows'); END;
