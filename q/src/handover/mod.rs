//! A process hands its sockets, its kept-alive connections and its stores to another one, which goes on in its place.
//!
//! The old process starts the new one and gives it the listening sockets at once (`giving.rs`). The new one reads its
//! settings and keys, looks at the stores without opening them, and says that it is ready (`taking.rs`). Only then does
//! the old one stop accepting, finish what is open, send the connections that are between two requests along, and close
//! its stores; what connects meanwhile waits in the kernel's queue of the shared sockets. The new one opens the stores,
//! serves, and says so. If it says anything else, or nothing, the old one opens its stores again and serves on.
//!
//! **Invariant:** at every moment exactly one of the two may open the stores, and the sockets are open in one of them.

mod attendant;
mod giving;
mod taking;
mod wire;

pub use attendant::{attend, leave};
pub use giving::{Given, Outcome, give};
pub use taking::Heir;

/// Set for a process that takes over: the hand-over comes through its standard input.
pub const HANDOVER: &str = "Q_HANDOVER";
/// Set for a process whose parent waits for its end in its place.
const ATTENDED: &str = "Q_ATTENDED";
