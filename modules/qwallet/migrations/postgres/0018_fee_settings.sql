-- The rates of the settings that the instance was ever started with: what a payment cost before operators set a version
-- can be computed again, whatever the settings say now.
CREATE TABLE fee_settings (
    platform BIGINT NOT NULL,
    network BIGINT NOT NULL,
    since BIGINT NOT NULL,
    PRIMARY KEY (platform, network)
);

-- What is asked often and would look at everything: the open schedules of a payer, the plans of a payee.
CREATE INDEX schedules_open ON schedules (signer) WHERE state <> 3;
CREATE INDEX plans_payee ON plans (payee, id);

-- Whom an undertaking may pay is asked in the commit that pays, of the accounts that are marked.
INSERT INTO approval_rules (wallet, version, rule, changed_at)
    SELECT id, 0, '{"above":[],"approvers":[],"required":0}', 0 FROM wallets WHERE allowed IS NOT NULL
    ON CONFLICT DO NOTHING;
UPDATE accounts SET is_guarded = 1 WHERE stripe = 0 AND wallet IN (SELECT id FROM wallets WHERE allowed IS NOT NULL);
