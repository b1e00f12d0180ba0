-- Holds that the payee takes in parts. How much of what a transaction is about was taken; nothing where it is taken as
-- a whole.
ALTER TABLE holds ADD COLUMN captured BLOB;

-- How long an intent's money is held for the payee, in seconds; nothing where the payer pays it.
ALTER TABLE intents ADD COLUMN hold_seconds INTEGER;
CREATE INDEX intents_held ON intents (recipient_wallet, id) WHERE hold_seconds IS NOT NULL;

-- Each part that was taken, by how much was taken with it and before it: where its transfers stand.
CREATE TABLE captures (
    id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    transaction_id BLOB NOT NULL,
    captured BLOB NOT NULL CHECK (length(captured) = 16),
    first_seq INTEGER NOT NULL,
    transfer_count INTEGER NOT NULL,
    commit_id INTEGER NOT NULL,
    is_final INTEGER NOT NULL,
    escrow BLOB,
    PRIMARY KEY (transaction_id, captured)
) WITHOUT ROWID;
