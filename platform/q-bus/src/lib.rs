//! Events from one module's outbox to another's reactions, in process, at least once, in order.
//!
//! A subscriber follows the producer's outbox with a cursor. A durable cursor lives in the subscriber's own
//! store and moves after its reactions are done, so a crash repeats events and never loses one; a reaction
//! that writes notes the event's id with `tx.seen` in the same commit. A replayed subscription starts from
//! the first event whenever the process does, for knowledge that is kept in memory.
//!
//! **Invariant:** nothing is delivered that its producer has not committed.

mod bus;
mod line;
mod subscription;

pub use bus::{Bus, Lag};
pub use subscription::{ReactError, Subscription};
