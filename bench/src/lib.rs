//! Measures the house from outside: a load generator over HTTP, and the anchors its figures are held against.
//!
//! A figure alone says little on a shared machine, so every run measures ours and its anchor in turn and reports the
//! ratio. Latencies of the open loop are counted from when a request was due, not from when it could be sent, so a
//! stalled server cannot hide its stall (no coordinated omission).
//!
//! **Invariant:** nothing here is part of the product, and nothing durable is switched off to look faster.

pub mod connection;
pub mod crowd;
pub mod executor;
pub mod generator;
pub mod history;
pub mod journal;
pub mod load;
pub mod merchant;
pub mod orders;
pub mod report;
pub mod rounds;
pub mod steady;
pub mod world;
