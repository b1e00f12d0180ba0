-- Whoever gave delegations finds those they gave.
CREATE INDEX delegations_issuer ON delegations (issuer);
