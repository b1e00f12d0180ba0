//! Where requests to a bucket run: the work on a backup is done on threads that wait.

use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};

/// One small runtime, made when first needed.
pub(crate) fn shared() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let built =
            Builder::new_multi_thread().worker_threads(1).thread_name("backup-net").enable_all().build();
        built.expect("a thread can be started")
    })
}
