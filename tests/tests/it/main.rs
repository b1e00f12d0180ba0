//! Journeys with the real program.

mod first_day;
mod start_and_stop;
