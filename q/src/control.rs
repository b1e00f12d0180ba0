//! The line on which a running process takes orders about itself: a socket beside its note, for its user only.
//!
//! **Invariant:** what is said here concerns the process; what concerns the instance goes through its modules.

use std::{
    fs, io,
    os::{
        fd::AsRawFd as _,
        unix::{fs::PermissionsExt as _, net as std_net},
    },
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use q_core::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::mpsc,
};

use crate::{
    handover::Given,
    layout::Layout,
    output::{exit, with_code},
};

/// An order to a running process.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Restart {
    /// Whether the next process takes over the sockets while this one still serves.
    pub is_rolling: bool,
    /// The program of the next process; the file this one was started from when not given.
    pub binary: Option<PathBuf>,
}

/// What became of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "outcome")]
pub enum Restarted {
    /// Another process serves.
    #[serde(rename_all = "camelCase")]
    Given {
        /// The process that serves now.
        pid: u32,
        /// When the last connection was accepted; not told by older programs.
        #[serde(default)]
        paused_at: Option<Timestamp>,
        /// Milliseconds from the last connection accepted to the stores closed.
        drain_ms: u64,
        /// Milliseconds in which nobody was answered.
        pause_ms: u64,
        /// Kept-alive connections that went along.
        connections: usize,
    },
    /// Nothing runs any more.
    #[serde(rename_all = "camelCase")]
    Lost {
        /// Why, and what to do.
        why: String,
    },
    /// The process has finished everything and starts anew now.
    Stopped,
    /// The process serves on as before.
    #[serde(rename_all = "camelCase")]
    Kept {
        /// Why.
        why: String,
    },
}

impl From<Given> for Restarted {
    fn from(given: Given) -> Self {
        let millis = |span: std::time::Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Self::Given {
            pid: given.pid,
            paused_at: Some(given.paused_at),
            drain_ms: millis(given.drain),
            pause_ms: millis(given.pause),
            connections: given.connections,
        }
    }
}

/// An order with the way to answer it.
pub struct Asked {
    /// The order.
    pub restart: Restart,
    stream: UnixStream,
}

impl Asked {
    /// Says what became of it.
    pub async fn answer(mut self, outcome: &Restarted) {
        let mut line = serde_json::to_vec(outcome).unwrap_or_default();
        line.push(b'\n');
        // Whoever asked may have gone.
        let _ = self.stream.write_all(&line).await;
        let _ = self.stream.shutdown().await;
    }
}

/// The open line; the socket goes with it.
pub struct Control {
    place: PathBuf,
    orders: mpsc::Receiver<Asked>,
    listening: tokio::task::JoinHandle<()>,
}

impl Control {
    /// Opens the line of this process.
    pub fn open(layout: &Layout) -> anyhow::Result<Self> {
        let place = place(layout, std::process::id());
        let _ = fs::remove_file(&place);
        let open = || -> io::Result<UnixListener> {
            let socket = by_short_name(&place, |short| std_net::UnixListener::bind(short))?;
            fs::set_permissions(&place, fs::Permissions::from_mode(0o600))?;
            socket.set_nonblocking(true)?;
            UnixListener::from_std(socket)
        };
        let socket = open().with_context(|| format!("{} cannot be made", place.display()))?;
        let (sender, orders) = mpsc::channel(1);
        let listening = tokio::spawn(async move {
            while let Ok((stream, _)) = socket.accept().await {
                let sender = sender.clone();
                tokio::spawn(async move {
                    let mut stream = BufReader::new(stream);
                    let mut line = String::new();
                    let read = stream.read_line(&mut line).await;
                    if let (Ok(_), Ok(restart)) = (read, serde_json::from_str(&line)) {
                        let _ = sender.send(Asked { restart, stream: stream.into_inner() }).await;
                    }
                });
            }
        });
        Ok(Self { place, orders, listening })
    }

    /// The next order.
    pub async fn next(&mut self) -> Asked {
        match self.orders.recv().await {
            Some(asked) => asked,
            // The listening task holds a sender as long as the process lives.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.listening.abort();
        let _ = fs::remove_file(&self.place);
    }
}

/// Gives an order to process `pid` and waits for what became of it.
pub async fn ask(layout: &Layout, pid: u32, restart: &Restart) -> anyhow::Result<Restarted> {
    let gone = |error: io::Error| {
        with_code(
            exit::UNREACHABLE,
            format!("process {pid} takes no orders ({error}); `q stop` ends it, `q up` starts it"),
        )
    };
    let stream =
        by_short_name(&place(layout, pid), |short| std_net::UnixStream::connect(short)).map_err(gone)?;
    stream.set_nonblocking(true)?;
    let mut stream = BufReader::new(UnixStream::from_std(stream)?);
    let mut line = serde_json::to_string(restart)?;
    line.push('\n');
    stream.write_all(line.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_line(&mut answer).await?;
    if answer.is_empty() {
        let what =
            format!("process {pid} ended without a word; its log says why, `q up` starts the instance");
        return Err(with_code(exit::CANNOT_START, what));
    }
    Ok(serde_json::from_str(&answer)?)
}

fn place(layout: &Layout, pid: u32) -> PathBuf {
    layout.running().join(format!("{pid}.sock"))
}

/// The address of a Unix socket holds 107 bytes (unix(7)), a path may be longer: the folder is named by a descriptor.
fn by_short_name<T>(place: &Path, with: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let (Some(folder), Some(name)) = (place.parent(), place.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    fs::create_dir_all(folder)?;
    let folder = fs::File::open(folder)?;
    with(&Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name))
}
