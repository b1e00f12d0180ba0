-- Payments that others have to approve. A wallet's rule is locked with its accounts, which the flag marks: who pays from
-- an account that carries it has the rule read in the same commit.
ALTER TABLE accounts ADD COLUMN is_guarded BIGINT NOT NULL DEFAULT 0;

CREATE TABLE approval_rules (
    wallet BYTEA NOT NULL PRIMARY KEY REFERENCES wallets (id),
    version BIGINT NOT NULL,
    rule TEXT NOT NULL,
    pending TEXT,
    pending_from BIGINT,
    changed_at BIGINT NOT NULL
);

-- Who approves for whom, now or soon: for those who look for what waits for them.
CREATE TABLE approvers (
    approver TEXT NOT NULL,
    wallet BYTEA NOT NULL REFERENCES approval_rules (wallet),
    PRIMARY KEY (approver, wallet)
);

-- What approvers decided about intents, with their signatures.
CREATE TABLE intent_approvals (
    intent BYTEA NOT NULL REFERENCES intents (id),
    approver TEXT NOT NULL,
    is_approved BIGINT NOT NULL,
    signature TEXT NOT NULL,
    decided_at BIGINT NOT NULL,
    PRIMARY KEY (intent, approver)
);
