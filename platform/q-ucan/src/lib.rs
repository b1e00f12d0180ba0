//! q-ucan
