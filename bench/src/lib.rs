//! q-bench
