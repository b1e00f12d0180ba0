//! squid
