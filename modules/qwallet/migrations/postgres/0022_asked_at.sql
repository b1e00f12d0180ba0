-- When a parent or guardian was asked about what is beyond the limits of a wallet: what they approved before was something else.
ALTER TABLE asked_guardians ADD COLUMN asked_at BIGINT NOT NULL DEFAULT 0;
