//! What other modules and clients may see of qlock: endpoints, wire types, codes, events, and the way a
//! module obtains the sealer of its own database fields.
//!
//! **Invariant:** promises only. No key is made or unwrapped here.

pub mod endpoints;
pub mod errors;
pub mod events;
pub mod sealer;
pub mod types;

pub use endpoints::*;
pub use types::*;
