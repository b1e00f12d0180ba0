-- What two operators set right in the books of a rail: a withdrawal that a restored store has forgotten, money that came
-- in for nobody, a loss. `id` is the transaction, whose order carries the signatures; `about` the deposit or withdrawal.
CREATE TABLE rail_corrections (
    id BYTEA NOT NULL PRIMARY KEY CHECK (octet_length(id) = 16),
    rail TEXT NOT NULL,
    kind BIGINT NOT NULL,
    about BYTEA CHECK (octet_length(about) = 16),
    wallet BYTEA,
    amount BYTEA NOT NULL CHECK (octet_length(amount) = 16),
    reason TEXT NOT NULL,
    approvers TEXT NOT NULL,
    made_at BIGINT NOT NULL
);
CREATE INDEX rail_corrections_rail ON rail_corrections (rail, id);
CREATE INDEX deposits_nobodys ON deposits (rail, id) WHERE wallet IS NULL AND status = 1;
