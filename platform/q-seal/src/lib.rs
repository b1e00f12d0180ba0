//! q-seal
