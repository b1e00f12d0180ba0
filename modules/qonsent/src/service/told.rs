//! What a write changed, carried out of it.

use std::sync::Arc;

use parking_lot::Mutex;
use q_pdp::Change;

/// The changes of the attempt that committed. A write's body may run twice, so each attempt begins anew.
#[derive(Clone, Default)]
pub(super) struct Told(Arc<Mutex<Vec<Change>>>);

impl Told {
    /// Forgets what an earlier attempt noted.
    pub(super) fn begin(&self) {
        self.0.lock().clear();
    }

    /// Notes a change.
    pub(super) fn note(&self, change: Change) {
        self.0.lock().push(change);
    }

    /// The changes, in order.
    pub(super) fn take(&self) -> Vec<Change> {
        std::mem::take(&mut *self.0.lock())
    }
}
