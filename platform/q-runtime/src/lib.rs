//! q-runtime
