//! qlock through its router, on both engines and over both transports.
#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod audit;
mod data_key;
mod encrypt;
mod foreign;
mod keys;
mod setting;
mod shared;
mod sign;
mod store;
mod walk;
