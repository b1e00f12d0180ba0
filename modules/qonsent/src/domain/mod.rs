//! The rules: what a grant may be, what a delegation pins, who may take what back.
//!
//! **Invariant:** no store, no clock, no wire types.

pub mod ask;
pub mod pinned;
pub mod withdrawal;
