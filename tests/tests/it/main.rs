//! Journeys with the real program.

mod contracts;
mod coverage;
mod first_day;
mod kill;
mod start_and_stop;
