//! The identity log as its users meet it: made here and read elsewhere, made elsewhere and read here,
//! and every way of bending it refused by name.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "test helpers may panic and say what they skip")]

mod foreign;
mod hostile;
mod life;
mod support;
