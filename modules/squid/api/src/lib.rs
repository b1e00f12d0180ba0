//! squid-api
