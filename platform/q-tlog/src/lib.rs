//! q-tlog
