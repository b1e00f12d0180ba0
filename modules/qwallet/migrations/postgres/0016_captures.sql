-- Holds that the payee takes in parts. How much of what a transaction is about was taken; nothing where it is taken as
-- a whole.
ALTER TABLE holds ADD COLUMN captured BYTEA;

-- How long an intent's money is held for the payee, in seconds; nothing where the payer pays it.
ALTER TABLE intents ADD COLUMN hold_seconds BIGINT;
CREATE INDEX intents_held ON intents (recipient_wallet, id) WHERE hold_seconds IS NOT NULL;

-- Each part that was taken, by how much was taken with it and before it: where its transfers stand.
CREATE TABLE captures (
    id BYTEA NOT NULL UNIQUE CHECK (octet_length(id) = 16),
    transaction_id BYTEA NOT NULL,
    captured BYTEA NOT NULL CHECK (octet_length(captured) = 16),
    first_seq BIGINT NOT NULL,
    transfer_count BIGINT NOT NULL,
    commit_id BIGINT NOT NULL,
    is_final BIGINT NOT NULL,
    escrow BYTEA,
    PRIMARY KEY (transaction_id, captured)
);
