//! q-did
