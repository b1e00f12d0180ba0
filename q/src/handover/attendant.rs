//! What a process becomes after it has handed over: it waits for its successors to end, under its own number, so that
//! a shell, a service manager or a container that started it sees one process from the first start to the last stop.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode, Stdio},
};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, set_child_subreaper, wait};
use tokio::signal::unix::{SignalKind, signal};

use super::{ATTENDED, HANDOVER};

/// What a process does that has handed over: ends, where somebody waits for its successor already, or becomes the one
/// who waits.
pub fn leave() -> anyhow::Result<ExitCode> {
    if std::env::var_os(ATTENDED).is_some() {
        return Ok(ExitCode::SUCCESS);
    }
    // Successors of the successor have to become our children, also before the exec below is done.
    set_child_subreaper(Some(rustix::process::getpid()))?;
    // By what runs, not by its path: another file may be there by now.
    let mut attendant = Command::new("/proc/self/exe");
    attendant.arg("attend").env_remove(HANDOVER).stdin(Stdio::null());
    Err(attendant.exec().into())
}

/// Waits until there is no successor any more, and ends as the last one did. Signals are passed on.
pub async fn attend() -> anyhow::Result<ExitCode> {
    set_child_subreaper(Some(rustix::process::getpid()))?;
    let mut ended = signal(SignalKind::child())?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut code = ExitCode::SUCCESS;
    loop {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((_, status))) => {
                    let number = status.exit_status().and_then(|code| u8::try_from(code).ok());
                    // As a shell says it: 128 and the number of the signal.
                    let killed = || status.terminating_signal().and_then(|by| u8::try_from(128 + by).ok());
                    code = ExitCode::from(number.or_else(killed).unwrap_or(1));
                }
                Ok(None) => break,
                Err(rustix::io::Errno::CHILD) => return Ok(code),
                Err(error) => return Err(error.into()),
            }
        }
        tokio::select! {
            _ = ended.recv() => {}
            _ = interrupt.recv() => pass_on(Signal::INT),
            _ = terminate.recv() => pass_on(Signal::TERM),
        }
    }
}

/// A service manager signals all processes of a service, so that a successor may hear the same signal twice; it takes
/// two that come together for one.
fn pass_on(signal: Signal) {
    for child in children() {
        let _ = kill_process(child, signal);
    }
}

/// The processes whose parent is this one.
fn children() -> Vec<Pid> {
    let ours = std::process::id().to_string();
    let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let child = |entry: fs::DirEntry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        // proc(5): pid (name) state ppid …; the name may hold anything, so it ends at the last parenthesis.
        let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?;
        if parent == ours { Pid::from_raw(pid) } else { None }
    };
    entries.filter_map(child).collect()
}
