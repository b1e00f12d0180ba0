//! The pipeline, seen from outside: what a caller hears at each station.

mod echo;
mod mcp;
mod pipeline;
mod platform;
mod server;
