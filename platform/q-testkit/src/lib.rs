//! q-testkit
