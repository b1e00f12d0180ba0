//! A dashboard.
