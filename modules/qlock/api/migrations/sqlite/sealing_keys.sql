-- The data keys that seal fields of this store, wrapped by qlock. The newest one seals, all of them open.
CREATE TABLE sealing_keys (
    data_key_id TEXT NOT NULL PRIMARY KEY,
    wrapped TEXT NOT NULL,
    created_at INTEGER NOT NULL
);
