//! A program of the operator's own: no shell, its values in the environment, its time and its output bounded.

use std::{process::Stdio, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::Command,
};

use crate::{Message, SendError};

/// How long it may run.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How much of what it says is kept.
const OUTPUT_BYTES_MAX: usize = 4 << 10;

/// Runs the program once, with the text on its standard input. Its exit code is the outcome.
pub(crate) async fn run(argv: &[String], message: &Message) -> Result<String, SendError> {
    let (program, arguments) =
        argv.split_first().ok_or_else(|| SendError::refused("there is no program".into()))?;
    let mut child = Command::new(program)
        .args(arguments)
        // Nothing of ours leaks into it: no settings, no credentials.
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("Q_MESSAGE_ID", &message.id)
        .env("Q_KIND", &message.kind)
        .env("Q_SUBJECT", message.line())
        .env("Q_DETAILS", message.data.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| SendError::failed(format!("{program} cannot be started: {error}")))?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let text = message.bounded_text();
    let dialogue = async {
        let write = async {
            if let Some(mut stdin) = stdin {
                // A program that does not read its input may still do its work.
                let _ = stdin.write_all(text.as_bytes()).await;
            }
        };
        let ((), said, complained) = tokio::join!(write, bounded(stdout), bounded(stderr));
        (child.wait().await, said, complained)
    };
    let (status, said, complained) = tokio::time::timeout(TIMEOUT, dialogue).await.map_err(|_| {
        SendError::failed(format!("{program} did not end within {} s and was killed", TIMEOUT.as_secs()))
    })?;
    let status = status.map_err(|error| SendError::failed(format!("{program}: {error}")))?;
    if status.success() {
        Ok(if said.is_empty() { format!("{program} ended well") } else { said })
    } else {
        Err(SendError::failed(format!("{program} ended with {status}: {complained}")))
    }
}

/// Reads to the end, so that the program never waits for us, and keeps the beginning.
async fn bounded(from: Option<impl AsyncRead + Unpin>) -> String {
    let (Some(mut from), mut kept) = (from, Vec::new()) else { return String::new() };
    let mut buffer = [0; 4_096];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let room = OUTPUT_BYTES_MAX.saturating_sub(kept.len());
        kept.extend_from_slice(&buffer[..read.min(room)]);
    }
    String::from_utf8_lossy(&kept).trim().to_owned()
}
