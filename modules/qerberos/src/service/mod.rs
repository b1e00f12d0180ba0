//! The use cases: append, publish, search, prove.
//!
//! **Invariant:** no HTTP and no SQL text.

pub mod append;
pub mod keys;
pub mod prove;
pub mod publish;
pub mod search;
pub mod trail;
pub mod witness;

pub use append::Recorded;
pub use trail::Trail;
pub(crate) use trail::first_name;
pub use witness::RolledBack;
