//! The read side: each thread has a connection that cannot write, each read one snapshot.

use std::{path::Path, sync::Arc};

use crossbeam_channel::Receiver;

use crate::{
    DbError, engine::Connection, job::ReadJob, shared::Shared, sqlite::SqliteConnection, tx::Reader,
};

/// Serves reads until the queue is closed.
pub(super) fn run(path: &Path, shared: &Arc<Shared>, queue: &Receiver<Box<dyn ReadJob>>) {
    let mut connection = None;
    for job in queue {
        if job.is_abandoned() {
            continue;
        }
        if let Err(error) = serve(&mut connection, path, shared, job) {
            tracing::warn!(error = %error, store = shared.module, "a reader lost its connection");
            connection = None;
        }
    }
}

fn serve(
    slot: &mut Option<SqliteConnection>,
    path: &Path,
    shared: &Arc<Shared>,
    job: Box<dyn ReadJob>,
) -> Result<(), DbError> {
    let connection = match slot {
        Some(connection) => connection,
        None => match SqliteConnection::open(path, false) {
            Ok(connection) => slot.insert(connection),
            Err(error) => {
                job.refuse(error);
                return Ok(());
            }
        },
    };
    if let Err(error) = connection.step("BEGIN") {
        job.refuse(error.clone());
        return Err(error);
    }
    job.run(&mut Reader::new(Connection::Sqlite(&mut *connection), shared));
    if connection.is_idle() { Ok(()) } else { connection.step("ROLLBACK") }
}
