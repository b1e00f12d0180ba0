//! The runbooks: procedures an operator follows, written once, printed as pages and executed by `q runbook`.
//!
//! A procedure is a TOML file below `procedures/`: steps that are a command line with what it should show, or a question
//! to a person. The page ([`page`]) and the run ([`judge`]) read the same steps, so they cannot drift apart.
//!
//! **Invariant:** reads no file, runs nothing and knows no module by name beyond what a procedure says of one.

pub mod judge;
pub mod page;
mod procedure;
mod variables;

pub use procedure::{Action, Expectation, Procedure, Scope, SourceError, Step, all};
pub use variables::{Place, Variables};
