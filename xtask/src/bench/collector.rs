//! A stand-in for a trace collector: takes what is sent and says thank you, so that sending costs what it costs.

use anyhow::Result;
use std::io::{BufRead as _, BufReader, Read as _, Write as _, copy, sink};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// The most bytes of one line of a request head.
const LINE_BYTES_MAX: u64 = 8 << 10;

/// Runs as long as the program does.
pub struct Collector {
    url: String,
    bytes: Arc<AtomicU64>,
}

impl Collector {
    /// Listens on a free port of this host.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}", listener.local_addr()?);
        let bytes = Arc::<AtomicU64>::default();
        let counted = bytes.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let counted = counted.clone();
                thread::spawn(move || {
                    // Whoever breaks off comes again.
                    let _ = take(stream, &counted);
                });
            }
        });
        Ok(Self { url, bytes })
    }

    /// What to set as the collector of an instance.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How many bytes of traces came.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

fn take(mut stream: TcpStream, counted: &AtomicU64) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.by_ref().take(LINE_BYTES_MAX).read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap_or_default();
            }
        }
        counted.fetch_add(copy(&mut reader.by_ref().take(length), &mut sink())?, Ordering::Relaxed);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
    }
}
