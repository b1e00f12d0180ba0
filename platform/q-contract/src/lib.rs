//! q-contract
