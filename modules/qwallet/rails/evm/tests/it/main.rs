//! The rail against a node that is not ours.

mod chain;
mod liar;
