//! q-db
