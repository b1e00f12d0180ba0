//! Journeys across modules, with the real program on a throw-away folder.
//!
//! **Invariant:** sees what a user sees: the command line, HTTP, and the files left behind.

mod disk;
mod drill;
mod host_clock;
mod instance;
mod payer;
mod postgres;
mod replicas;

pub use disk::SmallDisk;
pub use drill::{Reader, UNLIMITED, passed, sound, until};
pub use host_clock::HostClock;
pub use instance::{Instance, Outcome, Process, children_of};
pub use payer::Payer;
pub use postgres::databases_of_its_own;
pub use replicas::{Balancer, Replica, Replicas, Stopped};
