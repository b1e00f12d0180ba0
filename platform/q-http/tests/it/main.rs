//! The pipeline, seen from outside: what a caller hears at each station.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod echo;
mod front_door;
mod hand_over;
mod mcp;
mod mode;
mod pipeline;
mod platform;
mod server;
