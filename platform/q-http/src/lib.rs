//! The server around every module: decoding, callers, bounds, limits, problems, health, metrics, tools.
//!
//! A module lists its endpoints in an [`Api`]; [`Shell::mount`] turns the list into a router in which each
//! request passes the same pipeline ([`pipeline`]). A module never sees a header it did not ask for.
//!
//! **Invariant:** no endpoint is reachable that is neither declared nor one of the platform's own.

mod api;
mod body;
mod connection;
mod context;
mod forwarded;
mod front_door;
mod gate;
pub mod health;
mod local;
mod mcp;
pub mod metrics;
mod mode;
mod mounted;
mod node;
mod offers;
pub mod page;
mod pipeline;
mod platform;
mod rate_limit;
mod recover;
mod reply;
mod server;
mod shell;

pub use api::{Api, ApiBuilder};
pub use context::Context;
pub use forwarded::Proxies;
pub use front_door::{FrontDoor, Upstream};
pub use gate::Gate;
pub use health::Check;
pub use local::local_handler;
pub use mounted::{Details, Feed, IsOperator, Verify};
pub use node::Node;
pub use offers::{Prompt, PromptArgument, Resource, Written};
pub use platform::runs_release;
pub use q_db::{Mode, ModeKind, ModeOrder};
pub use rate_limit::{RateLimiter, RateLimits};
pub use recover::{Recover, Recovered, Recovery};
pub use reply::storage_problem;
pub use server::{Ending, Listener, Passed, PeerAddress, serve};
pub use shell::Shell;
