//! qerberos-api
