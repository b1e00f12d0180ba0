-- What two operators set right in the books of a rail: a withdrawal that a restored store has forgotten, money that came
-- in for nobody, a loss. `id` is the transaction, whose order carries the signatures; `about` the deposit or withdrawal.
CREATE TABLE rail_corrections (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    rail TEXT NOT NULL,
    kind INTEGER NOT NULL,
    about BLOB CHECK (length(about) = 16),
    wallet BLOB,
    amount BLOB NOT NULL CHECK (length(amount) = 16),
    reason TEXT NOT NULL,
    approvers TEXT NOT NULL,
    made_at INTEGER NOT NULL
);
CREATE INDEX rail_corrections_rail ON rail_corrections (rail, id);
CREATE INDEX deposits_nobodys ON deposits (rail, id) WHERE wallet IS NULL AND status = 1;
