//! qlock-api
