-- The request for money that an intent fulfils when it is paid: who is beyond the limits has that payment approved.
ALTER TABLE intents ADD COLUMN request BLOB REFERENCES money_requests (id);
