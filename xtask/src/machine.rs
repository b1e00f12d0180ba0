//! What this machine offers: folders, programs, users, and children that end when we are interrupted.
//!
//! **Invariant:** a child started here is ended here, with everything it started, also on Ctrl-C.

use anyhow::{Context as _, Result, bail};
use std::env;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

/// How long an interrupted child may take to end before it is killed.
const GRACE: Duration = Duration::from_secs(5);
/// How often a running child is looked at.
const POLL: Duration = Duration::from_millis(20);

static INTERRUPTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Notes Ctrl-C, hang-up and termination instead of dying of them, so that clusters and folders are tidied away.
pub fn watch_signals() -> Result<()> {
    let flag = INTERRUPTED.get_or_init(|| Arc::new(AtomicBool::new(false)));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(flag)).context("watching for Ctrl-C")?;
    }
    Ok(())
}

/// Refuses to go on once the user has interrupted us.
pub fn go_on() -> Result<()> {
    if INTERRUPTED.get().is_some_and(|flag| flag.load(Ordering::Relaxed)) {
        bail!("interrupted");
    }
    Ok(())
}

/// Waits a little, or less when interrupted.
pub fn pause(span: Duration) -> Result<()> {
    let end = Instant::now() + span;
    while Instant::now() < end {
        go_on()?;
        thread::sleep(POLL.min(end - Instant::now()));
    }
    go_on()
}

/// A child in a process group of its own, so that what it starts can be ended together with it.
pub struct Running {
    child: Child,
    name: String,
}

impl Running {
    /// Starts it.
    pub fn start(command: &mut Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.process_group(0).spawn().with_context(|| format!("starting {name}"))?;
        Ok(Self { child, name })
    }

    /// Its standard input and output, once, where both were piped.
    pub fn pipes(&mut self) -> Option<(ChildStdin, ChildStdout)> {
        Some((self.child.stdin.take()?, self.child.stdout.take()?))
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The exit status, if it has ended.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("waiting for {}", self.name))
    }

    /// Waits for its end; ends it when we are interrupted.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if let Err(interrupted) = pause(POLL) {
                self.stop();
                return Err(interrupted);
            }
        }
    }

    /// Asks its group to end, and kills it after a while.
    pub fn stop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        self.signal("TERM");
        let patience_ends_at = Instant::now() + GRACE;
        while Instant::now() < patience_ends_at {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(POLL);
        }
        self.signal("KILL");
        let _ = self.child.wait();
    }

    fn signal(&self, signal: &str) {
        // The `kill` program, because sending a signal to a group has no safe function in std.
        let _ = Command::new("kill")
            .args([&format!("-{signal}"), "--", &format!("-{}", self.child.id())])
            .stderr(Stdio::null())
            .status();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Runs a command to its end, output shown, and refuses if it failed.
pub fn run(command: &mut Command) -> Result<()> {
    go_on()?;
    let status = Running::start(command)?.wait()?;
    if !status.success() {
        bail!("`{}` failed: {status}", spelled(command));
    }
    Ok(())
}

/// Runs a command to its end and returns what it wrote to standard output.
pub fn output(command: &mut Command) -> Result<String> {
    go_on()?;
    let output =
        command.output().with_context(|| format!("starting {}", command.get_program().to_string_lossy()))?;
    if !output.status.success() {
        bail!(
            "`{}` failed: {}\n{}",
            spelled(command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    String::from_utf8(output.stdout).context("output is not UTF-8")
}

/// Runs a command quietly; on failure its output is in the error.
pub fn quietly(command: &mut Command) -> Result<()> {
    output(command).map(|_| ())
}

fn spelled(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// The root of the clone.
pub fn root() -> PathBuf {
    // Set by cargo at run time, which is right also when two clones share a target folder.
    let own = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    own.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Our folder for what may be thrown away, outside every clone.
pub fn cache() -> Result<PathBuf> {
    let base = match env::var_os("XDG_CACHE_HOME").filter(|path| Path::new(path).is_absolute()) {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?)
            .join(".cache"),
    };
    Ok(base.join("q"))
}

/// Where cargo builds: `CARGO_TARGET_DIR`, or one folder outside the clone shared by all clones of this user.
pub fn target() -> Result<PathBuf> {
    match env::var_os("CARGO_TARGET_DIR").filter(|path| !path.is_empty()) {
        Some(path) => Ok(PathBuf::from(path)),
        None => Ok(cache()?.join("target")),
    }
}

/// `cargo` in the root of the clone, building into [`target`].
pub fn cargo(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root()).env("CARGO_TARGET_DIR", target()?);
    // Set for xtask by the cargo that runs it; they would make the inner cargo rebuild what reads them.
    for name in ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME", "CARGO_PKG_VERSION", "CARGO_MANIFEST_PATH"] {
        command.env_remove(name);
    }
    Ok(command)
}

/// Builds the program and returns where it is.
pub fn build_q(is_release: bool) -> Result<PathBuf> {
    build_program("q", is_release)
}

/// Builds one binary crate of ours and returns the binary; or returns the one that `Q_BIN`, `Q_BENCH_BIN` name, so that
/// another build can be measured.
pub fn build_program(package: &str, is_release: bool) -> Result<PathBuf> {
    let variable = format!("{}_BIN", package.replace('-', "_").to_uppercase());
    if let Some(path) = env::var_os(&variable).filter(|path| !path.is_empty()) {
        eprintln!("{package}: {} (from {variable})", Path::new(&path).display());
        return Ok(PathBuf::from(path));
    }
    let profile: &[&str] = if is_release { &["--release"] } else { &[] };
    run(&mut cargo(&[&["build", "--quiet", "--package", package], profile].concat())?)?;
    Ok(target()?.join(if is_release { "release" } else { "debug" }).join(package))
}

/// The program of this name on the PATH.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    // Servers are where ordinary users do not look.
    let folders = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join(name)).find(|candidate| candidate.is_file())
}

/// Whether we run as root.
pub fn is_root() -> bool {
    user_id("").is_some_and(|(uid, _)| uid == 0)
}

/// User and group number of a user, of ourselves for the empty name.
pub fn user_id(name: &str) -> Option<(u32, u32)> {
    let number = |flag: &str| {
        let mut command = Command::new("id");
        command.arg(flag).stderr(Stdio::null());
        if !name.is_empty() {
            command.arg(name);
        }
        output(&mut command).ok()?.trim().parse().ok()
    };
    Some((number("-u")?, number("-g")?))
}

/// `apt-get` with the rights to install, if this machine has it and lets us.
pub fn apt() -> Option<Command> {
    find_program("apt-get")?;
    let mut command = if is_root() {
        Command::new("apt-get")
    } else {
        let may = Command::new("sudo")
            .args(["-n", "true"])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if !may {
            return None;
        }
        let mut command = Command::new("sudo");
        command.args(["-n", "apt-get"]);
        command
    };
    command.env("DEBIAN_FRONTEND", "noninteractive");
    Some(command)
}

/// Installs Debian packages, or says why not.
pub fn apt_install(packages: &[&str]) -> Result<()> {
    let wanted = || format!("install it yourself: apt-get install {}", packages.join(" "));
    let mut update = apt().with_context(wanted)?;
    // A stale index is the usual reason for a failed install, a failed update often is not one.
    let _ = quietly(update.args(["update", "-qq"]));
    let mut install = apt().with_context(wanted)?;
    quietly(install.args(["install", "-y", "-qq", "--no-install-recommends"]).args(packages))
        .with_context(wanted)
}

/// Whether a build server runs us: then nothing may be skipped.
pub fn is_ci() -> bool {
    env::var("CI").is_ok_and(|value| !value.is_empty() && value != "false" && value != "0")
}
