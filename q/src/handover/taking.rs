//! The new process's side of a hand-over.

use std::{
    collections::BTreeMap,
    net::{TcpListener, TcpStream},
    os::fd::OwnedFd,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use q_http::Passed;
use rustix::{io::fcntl_dupfd_cloexec, stdio::dup2_stdin};

use super::{
    HANDOVER,
    wire::{Heard, Wire, Word},
};
use crate::compose::Inherited;

/// How long the old process may take to say the next word. Finishing open requests takes half a minute at most.
const PATIENCE: Duration = Duration::from_mins(2);

/// The first descriptor that is none of the standard three.
const FIRST_FREE: i32 = 3;

/// A process that takes over from another one.
pub struct Heir {
    wire: Arc<Wire>,
    sockets: BTreeMap<String, TcpListener>,
}

impl Heir {
    /// Whether this process was started to take over, and from whom it hears.
    pub fn of_this_process() -> anyhow::Result<Option<Self>> {
        if std::env::var_os(HANDOVER).is_none() {
            return Ok(None);
        }
        let wire = Wire::of(fcntl_dupfd_cloexec(std::io::stdin(), FIRST_FREE)?);
        // Nothing else is read from it, and what this process starts inherits no end of the line.
        dup2_stdin(std::fs::File::open("/dev/null")?)?;
        let Heard { word, descriptors, .. } =
            wire.hear(PATIENCE)?.context("the process to take over from is gone")?;
        let Word::Sockets { names } = word else {
            anyhow::bail!("expected sockets to take over, heard {word:?}")
        };
        ensure!(names.len() == descriptors.len(), "not every socket has arrived");
        let sockets = names.into_iter().zip(descriptors.into_iter().map(TcpListener::from)).collect();
        Ok(Some(Self { wire: Arc::new(wire), sockets }))
    }

    /// The sockets it goes on with.
    pub fn sockets(&self) -> &BTreeMap<String, TcpListener> {
        &self.sockets
    }

    /// Says that everything is as it has to be, and waits for the stores and the connections.
    pub async fn ready(&mut self) -> anyhow::Result<Inherited> {
        self.wire.say(&Word::Ready, &[], &[])?;
        let wire = self.wire.clone();
        let connections = tokio::task::spawn_blocking(move || {
            let mut connections = Vec::new();
            loop {
                let Heard { word, payload, descriptors } =
                    wire.hear(PATIENCE)?.context("the process to take over from is gone")?;
                match word {
                    Word::Connection { listener, peer } => {
                        connections.extend(descriptors.into_iter().next().map(|one: OwnedFd| Passed {
                            listener: listener.into(),
                            stream: TcpStream::from(one),
                            peer,
                            read: payload.into(),
                        }));
                    }
                    Word::Yours => return Ok(connections),
                    other => anyhow::bail!("expected connections to take over, heard {other:?}"),
                }
            }
        });
        let sockets = std::mem::take(&mut self.sockets);
        Ok(Inherited { sockets, connections: connections.await?? })
    }

    /// Says that this process serves.
    pub fn serving(&self) -> anyhow::Result<()> {
        Ok(self.wire.say(&Word::Serving, &[], &[])?)
    }

    /// Says why this process cannot go on.
    pub fn failed(&self, error: &anyhow::Error) {
        // Nobody left to tell: the end of this process says it as well.
        let _ = self.wire.say(&Word::Failed { why: format!("{error:#}") }, &[], &[]);
    }
}
