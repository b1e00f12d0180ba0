-- A file has one writer, which looks through every hour before it notes a nonce: an index by nonce alone, which a server
-- needs because several processes look at the same time, would cost each payment a random insert and refuse nothing.
SELECT 1;
