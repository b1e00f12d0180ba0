//! qonsent-api
