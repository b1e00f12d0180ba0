//! What a house can do for a module in trouble: start its tasks again, renew its connections.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use q_bus::Bus;
use q_db::Db;
use q_http::{Recover, Recovered, Recovery};

use crate::Tasks;

/// The way to recover `module`.
pub(crate) fn of(module: &'static str, tasks: Tasks, bus: Bus, db: Db) -> Recover {
    Arc::new(move |action| {
        let (tasks, bus, db) = (tasks.clone(), bus.clone(), db.clone());
        let recovering: BoxFuture<'static, Vec<Recovered>> = Box::pin(async move {
            match action {
                Recovery::RestartTasks => vec![restart_tasks(module, &tasks)],
                Recovery::Reconnect => vec![reconnect_store(&db).await, reconnect_bus(module, &bus)],
                // The server does that by itself.
                Recovery::ShedLoad => Vec::new(),
            }
        });
        recovering
    })
}

fn restart_tasks(module: &str, tasks: &Tasks) -> Recovered {
    let restarted = tasks.restart_failed(module);
    let what = if restarted.is_empty() {
        format!("all {} tasks were running; none was started again", tasks.of(module).len())
    } else {
        format!("started again: {}", restarted.join(", "))
    };
    Recovered { action: Recovery::RestartTasks, is_done: !restarted.is_empty(), what }
}

/// Asks the store through a new connection, so that the answer says whether it helped.
async fn reconnect_store(db: &Db) -> Recovered {
    let has_connections = db.reconnect();
    let probe = |reader: &mut q_db::Reader<'_>| reader.query_one("SELECT 1", &[]).map(|_| ());
    let answer = db.read(probe).await.map_err(|error: q_db::DbError| error.to_string());
    let what = match (has_connections, answer) {
        (true, Ok(())) => "connections to the store are made anew, and it answers".to_owned(),
        (true, Err(error)) => {
            format!("connections to the store are made anew, but it does not answer: {error}")
        }
        (false, Ok(())) => "the store is a file, and it answers; there is no connection to renew".to_owned(),
        (false, Err(error)) => format!("the store is a file and cannot be read: {error}"),
    };
    Recovered { action: Recovery::Reconnect, is_done: has_connections, what }
}

fn reconnect_bus(module: &str, bus: &Bus) -> Recovered {
    let hurried = bus.hurry(module);
    let what = if hurried.is_empty() {
        "every subscription was connected".to_owned()
    } else {
        format!("asks again at once: {}", hurried.join(", "))
    };
    Recovered { action: Recovery::Reconnect, is_done: !hurried.is_empty(), what }
}
