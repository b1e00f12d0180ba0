//! The desk as operators see it.
