//! qwallet
pub mod domain;
