-- An account's transfers by time, and by version within an instant: what it held at a past instant is one step away. Along
-- its versions time does not go back, so pages are in this order too (see store/history.rs).
CREATE TABLE history_by_time (
    account BIGINT NOT NULL,
    at BIGINT NOT NULL,
    version BIGINT NOT NULL,
    seq BIGINT NOT NULL
);
INSERT INTO history_by_time (account, at, version, seq)
    SELECT history.account, commits.at, history.version, history.seq FROM history
    JOIN transfers ON transfers.seq = history.seq JOIN commits ON commits.id = transfers.commit_id
    ORDER BY history.account, history.version;
DROP TABLE history;
ALTER TABLE history_by_time RENAME TO history;
ALTER TABLE history ADD PRIMARY KEY (account, at, version);
