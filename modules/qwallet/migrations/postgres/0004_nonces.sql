-- A nonce is good once, whatever hour an order that uses it expires in. Several processes look for nonces at the same
-- time, so only the table can refuse the second use; the primary key alone would let it in under another hour.
CREATE UNIQUE INDEX nonces_nonce ON nonces (nonce);
