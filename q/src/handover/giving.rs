//! The old process's side of a hand-over.

use std::{
    os::fd::{AsFd as _, BorrowedFd},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use q_core::{Env, Timestamp};
use q_http::Passed;
use tokio::sync::mpsc;

use super::{
    ATTENDED, HANDOVER,
    wire::{Heard, Wire, Word},
};
use crate::{
    compose::{self, Assembled, Inherited, Options},
    layout::Layout,
};

/// How long the new process may take to read its settings and keys; the old one serves meanwhile.
const READY_MAX: Duration = Duration::from_mins(1);
/// How long the new process may take from the closed stores to its first answer. Clients wait.
const SERVING_MAX: Duration = Duration::from_mins(2);

/// What became of a hand-over.
pub enum Outcome {
    /// Another process serves.
    Given(Given),
    /// It did not come off, and this process serves on.
    Kept(Box<Assembled>, anyhow::Error),
    /// It did not come off, and this process could not go on either.
    Lost(anyhow::Error),
}

/// A hand-over that came off.
#[derive(Debug, Clone, Copy)]
pub struct Given {
    /// The process that serves now.
    pub pid: u32,
    /// When the last connection was accepted here.
    pub paused_at: Timestamp,
    /// From the last connection accepted here to the last answer given here and the stores closed.
    pub drain: Duration,
    /// From the last connection accepted here to the first that can be accepted there.
    pub pause: Duration,
    /// The connections that went along without their clients noticing.
    pub connections: usize,
}

/// Hands the sockets, connections and stores of `assembled` to a process of `binary`, started with the arguments of this
/// one; `modules` are those of this process.
pub async fn give(layout: &Layout, assembled: Assembled, modules: &[&'static str], binary: &Path) -> Outcome {
    let mut heir = match start(&assembled, binary).await {
        Ok(heir) => heir,
        Err(error) => return Outcome::Kept(Box::new(assembled), error),
    };
    let (begun, paused_at) = (Instant::now(), Env::system().now());
    let Assembled { house, sockets, .. } = assembled;
    let (carrying, carried) = mpsc::unbounded_channel();
    let carrier = tokio::task::spawn_blocking({
        let wire = heir.wire.clone();
        move || carry(&wire, carried)
    });
    house.pass_on(carrying).await;
    // A connection that could not be sent is kept with the others.
    let (connections, carried) = match carrier.await {
        Ok(carried) => carried,
        Err(error) => (Vec::new(), Err(std::io::Error::other(error))),
    };
    let drain = begun.elapsed();
    let taken = match carried {
        Ok(()) => heir.take_over().await,
        Err(error) => Err(error.into()),
    };
    match taken {
        Ok(()) => Outcome::Given(Given {
            pid: heir.child.id(),
            paused_at,
            drain,
            pause: begun.elapsed(),
            connections: connections.len(),
        }),
        Err(error) => {
            heir.end();
            let inherited = Inherited { sockets, connections };
            let options = Options { modules: modules.to_vec(), is_online: true };
            match compose::assemble_on(layout, &options, inherited).await {
                Ok(assembled) => Outcome::Kept(Box::new(assembled), error),
                Err(worse) => Outcome::Lost(worse.context(format!("after {error:#}"))),
            }
        }
    }
}

/// Sends each connection along and keeps a hold of it, in case it is served here after all.
fn carry(
    wire: &Wire,
    mut connections: mpsc::UnboundedReceiver<Passed>,
) -> (Vec<Passed>, std::io::Result<()>) {
    let (mut kept, mut said) = (Vec::new(), Ok(()));
    while let Some(connection) = connections.blocking_recv() {
        if said.is_ok() {
            let word = Word::Connection { listener: connection.listener.to_string(), peer: connection.peer };
            said = wire.say(&word, &connection.read, &[connection.stream.as_fd()]);
        }
        kept.push(connection);
    }
    (kept, said)
}

/// The process that takes over.
struct Heir {
    child: Child,
    wire: Arc<Wire>,
}

/// Starts it and waits until it is ready; ended again where it is not.
async fn start(assembled: &Assembled, binary: &Path) -> anyhow::Result<Heir> {
    let (wire, theirs) = Wire::pair()?;
    let mut command = Command::new(binary);
    command
        .args(std::env::args_os().skip(1))
        .env(HANDOVER, "1")
        .env(ATTENDED, "1")
        .stdin(Stdio::from(theirs));
    let child = command.spawn().with_context(|| format!("{} cannot be started", binary.display()))?;
    // The end given away is held by the command, and the line would not be seen to end.
    drop(command);
    let mut heir = Heir { child, wire: Arc::new(wire) };
    let ready = async {
        let names = assembled.sockets.keys().cloned().collect();
        let sockets: Vec<BorrowedFd<'_>> = assembled.sockets.values().map(|socket| socket.as_fd()).collect();
        heir.wire.say(&Word::Sockets { names }, &[], &sockets)?;
        match heir.hear(READY_MAX).await? {
            Word::Ready => Ok(()),
            other => bail!("the new process said {other:?}"),
        }
    };
    if let Err(error) = ready.await {
        heir.end();
        return Err(error);
    }
    Ok(heir)
}

impl Heir {
    /// Lets it have the stores, and waits until it serves.
    async fn take_over(&self) -> anyhow::Result<()> {
        self.wire.say(&Word::Yours, &[], &[])?;
        match self.hear(SERVING_MAX).await? {
            Word::Serving => Ok(()),
            other => bail!("the new process said {other:?}"),
        }
    }

    async fn hear(&self, within: Duration) -> anyhow::Result<Word> {
        let wire = self.wire.clone();
        let heard = tokio::task::spawn_blocking(move || wire.hear(within)).await?;
        match heard {
            Ok(Some(Heard { word: Word::Failed { why }, .. })) => {
                bail!("the new process cannot take over: {why}")
            }
            Ok(Some(heard)) => Ok(heard.word),
            Ok(None) => bail!("the new process ended before it served; its log says why"),
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                bail!("the new process did not get on within {} s", within.as_secs())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Ends it; what it has opened is free afterwards.
    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
