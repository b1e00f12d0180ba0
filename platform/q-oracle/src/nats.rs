//! A NATS server of a test's own: on a free port, with its streams in a folder of its own, gone with its value.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::program;

const START_MAX: Duration = Duration::from_secs(10);
/// Another process may take the free port between our look and the server's.
const START_TRIES: usize = 5;

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A running `nats-server` with JetStream.
pub struct NatsServer {
    address: SocketAddr,
    folder: PathBuf,
    process: Option<Child>,
}

impl NatsServer {
    /// Starts one, or says that the program is missing and gives nothing.
    ///
    /// # Panics
    /// When it is there and does not start.
    pub fn start() -> Option<Self> {
        program("nats-server")?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("q-nats-{}-{number}", std::process::id()));
        for _ in 0..START_TRIES {
            let address = free_address().expect("a free port");
            let mut server = Self { address, folder: folder.clone(), process: None };
            if server.start_again() {
                return Some(server);
            }
        }
        panic!("nats-server does not start");
    }

    /// Where clients find it, such as `nats://127.0.0.1:4222`.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Its address.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it at once, as a power cut would: SIGKILL. What it kept stays.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Removes what it kept. It must not run.
    pub fn forget(&self) {
        let _ = fs::remove_dir_all(&self.folder);
    }

    /// Starts it once more at the same address with what it kept; `false` when it ends instead of answering.
    ///
    /// # Panics
    /// When it neither ends nor answers.
    pub fn start_again(&mut self) -> bool {
        self.kill();
        let mut command = program("nats-server").expect("it was there before");
        command
            .args(["-a", "127.0.0.1", "-p", &self.address.port().to_string(), "-js", "-sd"])
            .arg(&self.folder);
        let started = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut process = started.expect("the program starts");
        let patience_ends_at = Instant::now() + START_MAX;
        loop {
            if process.try_wait().is_ok_and(|ended| ended.is_some()) {
                return false;
            }
            // The listener opens when the streams have been read back.
            if TcpStream::connect_timeout(&self.address, START_MAX).is_ok() {
                self.process = Some(process);
                return true;
            }
            assert!(Instant::now() < patience_ends_at, "nats-server does not answer");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
        self.forget();
    }
}

fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
