//! qerberos
