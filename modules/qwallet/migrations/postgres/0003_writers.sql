-- Who writes: each process on a server's store has numbers of its own, and with each a chain, a journal and a stripe of
-- the house's accounts. `epoch` grows whenever a number changes hands; a commit under an older epoch is refused, so a
-- process that slept through its lease changes nothing. A file has one writer, which needs no row here.
CREATE TABLE writers (
    number BIGINT NOT NULL PRIMARY KEY,
    epoch BIGINT NOT NULL,
    seen_at BIGINT NOT NULL
);

-- Stripe 0 is the account itself; the others only receive, so that writers do not wait for one another.
ALTER TABLE accounts ADD COLUMN stripe BIGINT NOT NULL DEFAULT 0;
-- The last commit that changed the account: its instant and its writer.
ALTER TABLE accounts ADD COLUMN changed_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN changed_by BIGINT NOT NULL DEFAULT 0;
-- The owner's limits on spending and what counts against them (see domain/limits.rs); NULL where there are none yet.
ALTER TABLE accounts ADD COLUMN limits BYTEA;
ALTER TABLE accounts ADD COLUMN spent BYTEA;
UPDATE accounts SET changed_at = (SELECT COALESCE(MAX(at), 0) FROM commits);
DROP INDEX accounts_wallet_currency;
CREATE UNIQUE INDEX accounts_wallet_currency ON accounts (wallet, currency, stripe) WHERE wallet IS NOT NULL;
CREATE UNIQUE INDEX accounts_house ON accounts (kind, currency, stripe) WHERE wallet IS NULL AND kind <> 0;
CREATE INDEX accounts_stripes ON accounts (wallet) WHERE stripe > 0;

-- The commits of all writers by time.
CREATE INDEX commits_at ON commits (at, id);

-- When the money was set aside: what a hold frees is given back to the limits of that day and month.
ALTER TABLE holds ADD COLUMN held_at BIGINT NOT NULL DEFAULT 0;
