-- Payments that others have to approve. A wallet's rule is locked with its accounts, which the flag marks: who pays from
-- an account that carries it has the rule read in the same commit.
ALTER TABLE accounts ADD COLUMN is_guarded INTEGER NOT NULL DEFAULT 0;

CREATE TABLE approval_rules (
    wallet BLOB NOT NULL PRIMARY KEY REFERENCES wallets (id),
    version INTEGER NOT NULL,
    rule TEXT NOT NULL,
    pending TEXT,
    pending_from INTEGER,
    changed_at INTEGER NOT NULL
) WITHOUT ROWID;

-- Who approves for whom, now or soon: for those who look for what waits for them.
CREATE TABLE approvers (
    approver TEXT NOT NULL,
    wallet BLOB NOT NULL REFERENCES approval_rules (wallet),
    PRIMARY KEY (approver, wallet)
) WITHOUT ROWID;

-- What approvers decided about intents, with their signatures.
CREATE TABLE intent_approvals (
    intent BLOB NOT NULL REFERENCES intents (id),
    approver TEXT NOT NULL,
    is_approved INTEGER NOT NULL,
    signature TEXT NOT NULL,
    decided_at INTEGER NOT NULL,
    PRIMARY KEY (intent, approver)
) WITHOUT ROWID;
