-- How often something that may be done a number of times was done, by the SHA-256 that names the permission.
CREATE TABLE q_uses (
    name BYTEA NOT NULL PRIMARY KEY CHECK (octet_length(name) = 32),
    used BIGINT NOT NULL,
    most BIGINT NOT NULL,
    CONSTRAINT q_uses_within CHECK (used BETWEEN 0 AND most)
);
