-- What payments cost from which instant on. Versions are never edited; the first is the one of the settings.
CREATE TABLE fee_versions (
    version BIGINT NOT NULL PRIMARY KEY,
    valid_from BIGINT NOT NULL,
    rates TEXT NOT NULL,
    client_ref TEXT NOT NULL,
    nonce TEXT NOT NULL UNIQUE,
    approvers TEXT NOT NULL,
    input TEXT NOT NULL,
    signatures TEXT NOT NULL,
    set_at BIGINT NOT NULL
);
