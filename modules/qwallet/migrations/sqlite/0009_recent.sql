-- The requests and nonces of one commit in one row, in the order of arrival. Keyed by themselves they would be random
-- inserts, each of which changes a page of its own; they are sorted into `requests` and `nonces` later, many at a time.
CREATE TABLE recent (
    place INTEGER NOT NULL PRIMARY KEY,
    entries BLOB NOT NULL
);
