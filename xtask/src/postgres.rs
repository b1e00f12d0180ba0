//! Throw-away PostgreSQL clusters from the binaries on this machine.
//!
//! **Invariant:** a cluster lives in a folder of its own, listens on loopback behind a random password, and is gone with
//! its [`Cluster`] value. Only clusters for tests run without `fsync`; what is measured never does.

use crate::machine::{self, Running};
use anyhow::{Context as _, Result, bail};
use std::fs::{self, File};
use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What a cluster is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Speed before safety: the data is thrown away.
    Tests,
    /// As a careful operator would run it: every commit is on disk before it is answered.
    Measuring,
}

/// A running cluster; dropping it stops the server and removes the folder.
pub struct Cluster {
    binaries: PathBuf,
    owner: Option<(u32, u32)>,
    port: u16,
    password: String,
    // Declared in the order of dropping: the server ends before its folder goes.
    server: Option<Running>,
    folder: TempDir,
}

const SUPERUSER: &str = "q";
const START_MAX: Duration = Duration::from_secs(30);
/// Another process may take the free port between our look and the server's bind.
const START_TRIES: usize = 5;

impl Cluster {
    /// Makes and starts a cluster. Installs PostgreSQL if the machine has none and lets us.
    pub fn start(purpose: Purpose) -> Result<Self> {
        sweep_orphans();
        let binaries = find_or_install()?;
        // initdb and postgres refuse to run as root, so root hands the cluster to an ordinary user.
        let owner = if machine::is_root() {
            let names = ["postgres", "nobody"];
            Some(
                names
                    .iter()
                    .find_map(|name| machine::user_id(name))
                    .context("no ordinary user to run PostgreSQL as")?,
            )
        } else {
            None
        };
        let prefix = format!("{FOLDER_PREFIX}{}-", std::process::id());
        let folder =
            tempfile::Builder::new().prefix(&prefix).tempdir().context("making a folder for PostgreSQL")?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700))?;
        let mut cluster =
            Self { binaries, owner, port: 0, password: random_password()?, server: None, folder };
        cluster.initialise()?;
        for _ in 0..START_TRIES {
            if cluster.launch(purpose)? {
                return Ok(cluster);
            }
        }
        bail!("PostgreSQL does not start:\n{}", cluster.log());
    }

    /// The address for clients, a libpq URL naming the superuser and the database `postgres`.
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// The same naming another database, which need not be there yet.
    pub fn url_of(&self, database: &str) -> String {
        format!("postgresql://{SUPERUSER}:{}@127.0.0.1:{}/{database}", self.password, self.port)
    }

    /// What `postgres --version` says, without the program's name.
    pub fn version(&self) -> String {
        let said = machine::output(Command::new(self.binaries.join("postgres")).arg("--version"));
        said.map_or_else(
            |_| "unknown".to_owned(),
            |said| said.trim().trim_start_matches("postgres (PostgreSQL) ").to_owned(),
        )
    }

    /// A client program of the same installation, told where the cluster is, over its Unix socket.
    pub fn client(&self, name: &str) -> Command {
        let mut command = Command::new(self.binaries.join(name));
        command.env("PGHOST", self.folder.path()).env("PGPORT", self.port.to_string());
        command.env("PGUSER", SUPERUSER).env("PGDATABASE", "postgres");
        command
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn as_owner(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.join(program));
        command.current_dir(self.folder.path());
        if let Some((uid, gid)) = self.owner {
            command.uid(uid).gid(gid);
        }
        command
    }

    fn initialise(&self) -> Result<()> {
        let password_file = self.folder.path().join("password");
        fs::write(&password_file, &self.password)?;
        if let Some((uid, gid)) = self.owner {
            chown(self.folder.path(), Some(uid), Some(gid))?;
            chown(&password_file, Some(uid), Some(gid))?;
        }
        let mut initdb = self.as_owner("initdb");
        initdb.arg("-D").arg(self.data()).args(["-U", SUPERUSER, "-E", "UTF8", "--locale=C", "--no-sync"]);
        // The plain password never leaves loopback, and SCRAM would cost each test connection milliseconds.
        initdb.args(["--auth-local=trust", "--auth-host=password"]).arg("--pwfile").arg(&password_file);
        machine::quietly(&mut initdb)?;
        fs::remove_file(password_file)?;
        Ok(())
    }

    /// Starts the server on a free port; false if it ended at once, as when the port was taken meanwhile.
    fn launch(&mut self, purpose: Purpose) -> Result<bool> {
        self.port = free_port()?;
        let log = File::create(self.folder.path().join("log"))?;
        let mut server = self.as_owner("postgres");
        server.arg("-D").arg(self.data()).args(["-p", &self.port.to_string(), "-h", "127.0.0.1", "-k"]);
        server.arg(self.folder.path());
        for setting in settings(purpose) {
            server.args(["-c", setting]);
        }
        server.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut running = Running::start(&mut server)?;
        let patience_ends_at = Instant::now() + START_MAX;
        while Instant::now() < patience_ends_at {
            if running.ended()?.is_some() {
                return Ok(false);
            }
            let mut question = self.client("psql");
            if machine::quietly(question.args(["-XqAt", "-c", "select 1"])).is_ok() {
                self.server = Some(running);
                return Ok(true);
            }
            machine::pause(Duration::from_millis(50))?;
        }
        Ok(false)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // "Immediate" because the data goes with the folder; a polite stop would write it out first.
        let mut stop = self.as_owner("pg_ctl");
        stop.arg("-D").arg(self.data()).args(["stop", "-w", "-m", "immediate"]);
        let _ = stop.stdout(Stdio::null()).stderr(Stdio::null()).status();
        drop(self.server.take());
    }
}

fn settings(purpose: Purpose) -> &'static [&'static str] {
    match purpose {
        Purpose::Tests => &[
            "fsync=off",
            "synchronous_commit=off",
            "full_page_writes=off",
            "max_connections=300",
            "shared_buffers=128MB",
            "autovacuum=off",
        ],
        // Only sizes differ from the defaults; durability is left as PostgreSQL ships it, and said aloud.
        Purpose::Measuring => &[
            "fsync=on",
            "synchronous_commit=on",
            "full_page_writes=on",
            "max_connections=400",
            "shared_buffers=1GB",
            "max_wal_size=8GB",
        ],
    }
}

fn find_or_install() -> Result<PathBuf> {
    if let Some(folder) = find() {
        return Ok(folder);
    }
    println!("PostgreSQL: not found, installing");
    machine::apt_install(&["postgresql"])?;
    find().context("PostgreSQL was installed, but initdb is not where it should be")
}

/// The newest installation: Debian keeps each major version in a folder that is not on the PATH.
fn find() -> Option<PathBuf> {
    let is_complete = |folder: &PathBuf| {
        ["initdb", "postgres", "pg_ctl", "psql"].iter().all(|name| folder.join(name).is_file())
    };
    let version = |path: &Path| {
        path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<u32>().ok())
    };
    let mut installed: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((version(&entry.path())?, entry.path().join("bin"))))
        .filter(|(_, folder)| is_complete(folder))
        .collect();
    installed.sort();
    let on_path = || {
        machine::find_program("initdb")
            .and_then(|path| path.canonicalize().ok()?.parent().map(Path::to_path_buf))
    };
    installed.pop().map(|(_, folder)| folder).or_else(|| on_path().filter(is_complete))
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr())?.port())
}

fn random_password() -> Result<String> {
    let mut bytes = [0_u8; 16];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .context("reading /dev/urandom")?;
    Ok(format!("{:032x}", u128::from_le_bytes(bytes)))
}

const FOLDER_PREFIX: &str = "q-postgres-";

/// Ends clusters whose xtask was killed before it could: their folder names a process that is gone.
fn sweep_orphans() {
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let path = entry.path();
        let starter = entry.file_name().to_str().and_then(|name| {
            let id: u32 = name.strip_prefix(FOLDER_PREFIX)?.split('-').next()?.parse().ok()?;
            Some(id)
        });
        let Some(starter) = starter
            .filter(|id| Path::new("/proc/self").exists() && !Path::new(&format!("/proc/{id}")).exists())
        else {
            continue;
        };
        println!("PostgreSQL: tidying away the cluster left by process {starter}");
        let server = fs::read_to_string(path.join("data/postmaster.pid")).ok();
        let server = server.and_then(|text| text.lines().next()?.trim().parse::<u32>().ok());
        // Process numbers are reused: only a process that was started with this very folder is ours to end.
        let is_ours = |id: &u32| {
            let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&*path.to_string_lossy())
        };
        if let Some(id) = server.filter(is_ours) {
            let _ = Command::new("kill").args(["-QUIT", &id.to_string()]).status();
            let _ = machine::pause(Duration::from_secs(1));
        }
        let _ = fs::remove_dir_all(path);
    }
}
