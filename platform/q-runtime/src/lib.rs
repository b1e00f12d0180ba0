//! What makes a module a running service: configuration, ground to stand on, start, jobs, drain and stop.
//!
//! **Invariant:** knows modules only through the [`Module`] trait, never by name.

pub mod config;
mod figures;
mod ground;
mod guard;
mod house;
mod job;
mod located;
pub mod log;
mod module;
mod recover;
mod tasks;

pub use config::{Config, ConfigError, Setting, Settings};
pub use ground::{CredentialFor, Directory, Ground, Instance, Peers, Signer};
pub use house::{Beam, House, verify, verify_since};
pub use job::Job;
pub use located::Locate;
pub use module::{Finding, Module};
pub use tasks::{TaskReport, Tasks};
