//! qwallet
