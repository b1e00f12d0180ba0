//! q-tests
