//! q-auth
