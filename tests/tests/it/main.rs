//! Journeys with the real program.

mod contracts;
mod coverage;
mod damage;
mod deployment;
mod drill_bus_cut;
mod drill_clock;
mod drill_damage;
mod drill_disk_full;
mod drill_slow_dependency;
mod drill_store_cut;
mod earlier_version;
mod first_day;
mod health;
mod incident;
mod keys;
mod kill;
mod lost_and_old_stores;
mod on_postgres;
mod payout;
mod release;
mod replicas;
mod rolling;
mod start_and_stop;
mod telemetry;
mod two_processes;
mod unheard;
