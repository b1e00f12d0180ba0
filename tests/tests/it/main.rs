//! Journeys with the real program.

mod coverage;
mod first_day;
mod kill;
mod start_and_stop;
