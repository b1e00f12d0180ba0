-- How often something that may be done a number of times was done, by the SHA-256 that names the permission.
CREATE TABLE q_uses (
    name BLOB NOT NULL PRIMARY KEY CHECK (length(name) = 32),
    used BIGINT NOT NULL,
    most BIGINT NOT NULL,
    CONSTRAINT q_uses_within CHECK (used BETWEEN 0 AND most)
) WITHOUT ROWID;
