//! The identity log as its users meet it: made here and read elsewhere, made elsewhere and read here,
//! and every way of bending it refused by name.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod foreign;
mod hostile;
mod life;
mod support;
