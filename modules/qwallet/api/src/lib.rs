//! qwallet-api
