-- On a server several processes look for keys at the same time, so each goes to `requests` and `nonces` at once.
SELECT 1;
