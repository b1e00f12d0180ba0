//! q-pdp
