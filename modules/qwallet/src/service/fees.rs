//! What payments cost now: the versions of the fee schedule, as this process knows them.

use std::sync::Arc;

use parking_lot::RwLock;
use q_core::Timestamp;

use crate::domain::fees::{FeeSchedule, InForce};

/// The versions of the fee schedule, in the order of their numbers; the first is the one of the settings.
#[derive(Debug)]
pub struct Schedules(RwLock<Vec<Arc<FeeSchedule>>>);

impl Schedules {
    /// The schedule of the settings alone.
    pub fn new(of_settings: FeeSchedule) -> Self {
        Self(RwLock::new(vec![Arc::new(of_settings)]))
    }

    /// What holds at `now`.
    pub fn at(&self, now: Timestamp) -> InForce {
        let versions = self.0.read();
        let first = || InForce { now: versions[0].clone(), before: None };
        InForce::at(&versions, now).unwrap_or_else(first)
    }
}
