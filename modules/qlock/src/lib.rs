//! qlock
