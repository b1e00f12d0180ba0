//! q-bus
