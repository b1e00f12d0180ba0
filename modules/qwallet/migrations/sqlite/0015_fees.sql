-- What payments cost from which instant on. Versions are never edited; the first is the one of the settings.
CREATE TABLE fee_versions (
    version INTEGER NOT NULL PRIMARY KEY,
    valid_from INTEGER NOT NULL,
    rates TEXT NOT NULL,
    client_ref TEXT NOT NULL,
    nonce TEXT NOT NULL UNIQUE,
    approvers TEXT NOT NULL,
    input TEXT NOT NULL,
    signatures TEXT NOT NULL,
    set_at INTEGER NOT NULL
);
