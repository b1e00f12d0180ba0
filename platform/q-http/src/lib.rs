//! q-http
