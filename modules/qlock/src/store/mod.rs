//! The tables of qlock: one function per question.
//!
//! **Invariant:** nothing is wrapped, unwrapped or decided here.

pub mod keys;
pub mod roots;
pub mod uses;
