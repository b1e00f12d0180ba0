//! Journeys with the real program.

mod contracts;
mod coverage;
mod damage;
mod first_day;
mod kill;
mod payout;
mod start_and_stop;
