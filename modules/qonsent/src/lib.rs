//! qonsent
