//! Announced pauses: when, of what, and what comes after.
