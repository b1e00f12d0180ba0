-- Payments beyond a wallet's own limits, and who was asked to approve them: the parent, or the guardians of somebody in
-- care.
CREATE TABLE asked_guardians (
    guardian TEXT NOT NULL,
    intent BLOB NOT NULL REFERENCES intents (id),
    PRIMARY KEY (guardian, intent)
) WITHOUT ROWID;

CREATE INDEX asked_guardians_by_intent ON asked_guardians (intent);
