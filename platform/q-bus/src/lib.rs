//! Carries events and audit rows from the store that wrote them to the modules that react, in this process or
//! another one.
//!
//! The producer's outbox is the queue: nothing is published after a commit that a crash could lose.
//! Each subscription follows each of its producers with a cursor of its own and wakes by notification,
//! not by asking again and again.
//!
//! **Invariant:** a cursor never passes an event whose reaction has neither succeeded nor been parked.

mod bus;
pub mod feed;
mod follower;
mod lag;
pub mod nats;
mod replica;
mod source;
mod subscription;

pub use bus::{Bus, Redelivery};
pub use lag::Lag;
pub use nats::{BusKey, Murmur, Nats, NatsSettings};
pub use subscription::{AuditBatch, ReactError, Subscription};
