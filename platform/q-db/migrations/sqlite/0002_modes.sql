-- What the module is ordered to let through, and whether its writes are stopped: at most one row each.
CREATE TABLE q_modes (
    slot TEXT NOT NULL PRIMARY KEY CHECK (slot IN ('order', 'write-stop')),
    kind TEXT NOT NULL,
    reason TEXT NOT NULL,
    until BIGINT,
    canaries TEXT NOT NULL,
    set_by TEXT NOT NULL,
    since BIGINT NOT NULL
) WITHOUT ROWID;

-- When the module did not take everybody's writes. Deadlines and holds are longer by these spans.
CREATE TABLE q_pauses (
    began_at BIGINT NOT NULL PRIMARY KEY,
    ended_at BIGINT,
    kind TEXT NOT NULL,
    reason TEXT NOT NULL
) WITHOUT ROWID;
