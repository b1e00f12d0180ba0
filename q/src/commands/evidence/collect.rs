//! `q evidence collect`: everything that shows what happened, into one signed archive.
//!
//! What cannot be secured is said in the manifest and does not keep the rest from being secured. Secrets stay where they
//! are: no key file, no environment of a process, no setting that holds one; what stores seal stays sealed.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, Write},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use aws_lc_rs::digest;
use bytes::Bytes;
use q_contract::{CallError, Client, Text};
use q_core::{Span, Timestamp, audit::AuditId, hash};
use q_db::backup::{Copying, snapshots};
use q_jose::jws;
use q_ops_api::incidents::{AddEntry, AddEntryRequest, EntryKind, GetIncident, IncidentId, IncidentRequest};
use qerberos_api::{
    GetCheckpoint, GetPolicy, GetProof, GetProofRequest, LogCheckpointRequest, LogPolicyRequest,
    SearchEvents, SearchEventsRequest,
};
use serde_json::{Value, json};

use super::{
    MANIFEST, MANIFEST_TYP, Manifest, Member, SIGNATURE, SIGNER, custody, hash_of, log_copy, sha256_of,
};
use crate::{
    cli::{AsArgs, Cli},
    commands::{config, incident, timeline},
    compose,
    output::{self, exit, usage},
    running,
    session::Session,
};

/// The most audit events whose inclusion is proved.
const PROOFS_MAX: usize = 500;
/// How long a log without a signed head is waited for, and how often it is asked.
const FIRST_CHECKPOINT: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// What of a process the kernel shows and is secured; never its environment, which may hold secrets.
const PROCESS_FILES: [&str; 6] = ["status", "cmdline", "limits", "stat", "io", "mountinfo"];

/// What is asked for.
pub struct Asked<'a> {
    /// The incident.
    pub incident: Option<&'a str>,
    /// The folder to write into.
    pub to: &'a Path,
    /// The recipient to encrypt to.
    pub encrypt_to: Option<&'a str>,
    /// How far back audit events are proved when no incident is named.
    pub since: Span,
}

/// An archive under construction.
pub struct Archive {
    tar: tar::Builder<Hashed>,
    /// A folder of its own for copies on their way in.
    scratch: PathBuf,
    at: Timestamp,
    files: Vec<Member>,
    pub missing: Vec<String>,
    /// What the archive holds otherwise than one might expect; nothing of it is missing.
    pub remarks: Vec<String>,
}

/// Where the archive goes.
enum Out {
    Plain(File),
    Sealed(Box<age::stream::StreamWriter<File>>),
}

/// What is written, hashed before it is encrypted.
struct Hashed {
    out: Out,
    context: digest::Context,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.context.update(&bytes[..count]);
        Ok(count)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.write(bytes),
            Self::Sealed(sealed) => sealed.write(bytes),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.flush(),
            Self::Sealed(sealed) => sealed.flush(),
        }
    }
}

impl Archive {
    fn begin(path: &Path, encrypt_to: Option<&str>, at: Timestamp) -> anyhow::Result<Self> {
        let file = File::options().write(true).create_new(true).mode(0o600).open(path);
        let file = file.with_context(|| format!("{} cannot be made", path.display()))?;
        let out = match encrypt_to {
            None => Out::Plain(file),
            Some(recipient) => {
                let recipient: age::x25519::Recipient =
                    recipient.parse().map_err(|error| usage(format!("{recipient:?}: {error}")))?;
                let recipients = std::iter::once(&recipient as &dyn age::Recipient);
                Out::Sealed(Box::new(age::Encryptor::with_recipients(recipients)?.wrap_output(file)?))
            }
        };
        let mut scratch = path.as_os_str().to_owned();
        scratch.push(".part");
        let scratch = PathBuf::from(scratch);
        fs::DirBuilder::new().mode(0o700).create(&scratch)?;
        Ok(Self {
            tar: tar::Builder::new(Hashed { out, context: digest::Context::new(&digest::SHA256) }),
            scratch,
            at,
            files: Vec::new(),
            missing: Vec::new(),
            remarks: Vec::new(),
        })
    }

    /// Adds bytes.
    pub fn add(&mut self, path: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let (length, sha256) = hash_of(bytes)?;
        self.append(path, length, bytes)?;
        self.files.push(Member { path: path.to_owned(), bytes: length, sha256 });
        Ok(())
    }

    pub fn add_json(&mut self, path: &str, value: &Value) -> anyhow::Result<()> {
        self.add(path, &serde_json::to_vec_pretty(value)?)
    }

    /// Adds a file; one that grows meanwhile is taken up to where it was.
    fn add_file(&mut self, path: &str, source: &Path) -> anyhow::Result<()> {
        let mut file = File::open(source)?;
        let length = file.metadata()?.len();
        let (bytes, sha256) = hash_of((&mut file).take(length))?;
        anyhow::ensure!(bytes == length, "it shrank while it was read");
        file.rewind()?;
        self.append(path, length, file.take(length))?;
        self.files.push(Member { path: path.to_owned(), bytes, sha256 });
        Ok(())
    }

    fn append(&mut self, path: &str, length: u64, source: impl io::Read) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_size(length);
        header.set_mode(0o600);
        header.set_mtime(self.at.seconds().max(0).cast_unsigned());
        self.tar.append_data(&mut header, path, source)
    }

    /// Keeps an outcome that is no failure of the whole.
    fn note<T>(&mut self, what: &str, outcome: anyhow::Result<T>) -> Option<T> {
        outcome.map_err(|error| self.missing.push(format!("{what}: {error:#}"))).ok()
    }

    /// Ends it; gives the hash of the content where it is encrypted.
    fn finish(self) -> anyhow::Result<Option<String>> {
        let _ = fs::remove_dir_all(&self.scratch);
        let Hashed { out, context } = self.tar.into_inner()?;
        match out {
            Out::Plain(file) => {
                file.sync_all()?;
                Ok(None)
            }
            Out::Sealed(sealed) => {
                sealed.finish()?.sync_all()?;
                Ok(Some(hash::hex(context.finish().as_ref())))
            }
        }
    }
}

pub async fn run(cli: &Cli, asked: &Asked<'_>, acting: &AsArgs) -> anyhow::Result<ExitCode> {
    let session = Session::open(&cli.data, &acting.name)?;
    let at = session.env.now();
    let incident = match asked.incident {
        Some(id) => Some(incident::incident(&session, id).await?),
        None => None,
    };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(asked.to)?;
    let stamp: String = Timestamp::from_seconds(at.seconds()).to_string().replace(['-', ':'], "");
    let ending = if asked.encrypt_to.is_some() { "tar.age" } else { "tar" };
    let path = asked.to.join(format!("evidence-{stamp}.{ending}"));
    let mut archive = Archive::begin(&path, asked.encrypt_to, at)?;
    let filled = fill(&session, &mut archive, incident, asked.since).await;
    if filled.is_err() {
        let _ = fs::remove_dir_all(&archive.scratch);
        let _ = fs::remove_file(&path);
    }
    filled?;
    let (missing, remarks) = (archive.missing.clone(), archive.remarks.clone());
    let count = archive.files.len();
    sign(&session, &mut archive, incident).await?;
    let content_sha256 = archive.finish()?;
    let sha256 = sha256_of(&path)?;
    let act = custody::Act { action: "collected", content_sha256, ..custody::Act::default() };
    custody::append(&session, &path, act).await?;
    let noted = tell(&session, incident, &path, &sha256).await;
    let report = json!({
        "file": path, "sha256": sha256, "files": count, "missing": missing, "remarks": remarks, "incidents": noted,
        "custody": custody::path(&path),
    });
    output::show(acting.json, &report, |_| {
        output::line(path.display());
        output::line(format!("{count} files, SHA-256 {sha256}"));
        for remark in &remarks {
            output::line(format!("held otherwise: {remark}"));
        }
        for incident in &noted {
            output::line(format!("noted on {incident}"));
        }
        output::progress("`q evidence verify FILE` checks it anywhere; keep the .custody.jsonl beside it");
    });
    if missing.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    // Last, so that nobody believes to hold more than the archive does.
    output::progress(format!(
        "NOT SECURED: {} — secure it by other means, or collect again when its cause is gone; the manifest says the same",
        missing.join("; ")
    ));
    Ok(ExitCode::from(exit::IN_PART))
}

async fn fill(
    session: &Session,
    archive: &mut Archive,
    incident: Option<IncidentId>,
    since: Span,
) -> anyhow::Result<()> {
    program(session, archive)?;
    processes(session, archive)?;
    states(session, archive).await?;
    logs(session, archive);
    let mut from = archive.at - since;
    if let Some(id) = incident {
        let found = session.client(q_ops::NAME)?.call::<GetIncident>(&IncidentRequest { id }).await?;
        let began = found.timeline.first().and_then(|first| first.details["beganAt"].as_str()?.parse().ok());
        from = began.unwrap_or(found.incident.opened_at);
        archive.add_json("incident.json", &json!(found))?;
    }
    audit(session, archive, from).await?;
    stores(session, archive).await
}

/// Which program ran, with which settings.
fn program(session: &Session, archive: &mut Archive) -> anyhow::Result<()> {
    let own = std::env::current_exe().ok();
    let mut programs = Vec::new();
    for note in running::notes(&session.layout)? {
        // The link leads to what runs, even where the file was replaced since.
        let link = PathBuf::from(format!("/proc/{}/exe", note.pid));
        let place = fs::read_link(&link).ok();
        programs.push(json!({"pid": note.pid, "path": place, "sha256": sha256_of(&link).ok()}));
    }
    let collector = json!({"version": env!("CARGO_PKG_VERSION"), "path": own, "sha256": own.as_deref().and_then(|own| sha256_of(own).ok())});
    let system = ["/proc/version", "/proc/uptime", "/proc/loadavg", "/proc/meminfo"];
    let system: serde_json::Map<String, Value> = system
        .into_iter()
        .filter_map(|file| Some((file.to_owned(), json!(fs::read_to_string(file).ok()?))))
        .collect();
    archive
        .add_json("program.json", &json!({"collector": collector, "running": programs, "system": system}))?;
    let settings = config::effective(&session.layout);
    if let Some(settings) = archive.note("settings", settings) {
        archive.add_json("config.json", &json!(settings))?;
    }
    let instance = json!(session.layout.read_instance()?);
    archive.add_json("instance.json", &instance)
}

/// What the kernel shows of the processes.
fn processes(session: &Session, archive: &mut Archive) -> anyhow::Result<()> {
    for note in running::notes(&session.layout)? {
        let pid = note.pid;
        archive.add_json(&format!("processes/{pid}/note.json"), &json!(note))?;
        for file in PROCESS_FILES {
            if let Ok(bytes) = fs::read(format!("/proc/{pid}/{file}")) {
                archive.add(&format!("processes/{pid}/{file}"), &bytes)?;
            }
        }
        let open: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(fs::read_link(entry.ok()?.path()).ok()?.display().to_string()))
            .collect();
        archive.add_json(&format!("processes/{pid}/open-files.json"), &json!(open))?;
    }
    Ok(())
}

/// How the modules say they are.
async fn states(session: &Session, archive: &mut Archive) -> anyhow::Result<()> {
    for entry in &compose::MODULES {
        let Ok(client) = session.client(entry.name) else {
            archive.missing.push(format!("state of {}: it does not run", entry.name));
            continue;
        };
        for (uri, file) in
            [("/health/detailed", "health.json"), ("/mode", "mode.json"), ("/metrics", "metrics.txt")]
        {
            let asked = async {
                let answer = client.send("GET", uri, Bytes::new(), "").await?;
                anyhow::ensure!(answer.status().is_success(), "answered {}", answer.status());
                anyhow::Ok(answer.into_body())
            };
            let answer = asked.await;
            if let Some(body) = archive.note(&format!("{uri} of {}", entry.name), answer) {
                archive.add(&format!("states/{}/{file}", entry.name), &body)?;
            }
        }
    }
    Ok(())
}

/// The log files, the rotated ones included.
fn logs(session: &Session, archive: &mut Archive) {
    let folder = compose::log_folder(&session.layout);
    let Ok(entries) = fs::read_dir(&folder) else {
        archive.missing.push("logs: the instance keeps none in files".to_owned());
        return;
    };
    let mut files: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_file()).collect();
    files.sort();
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let added = archive.add_file(&format!("logs/{name}"), &file);
        archive.note(&format!("log {name}"), added);
    }
}

/// The signed head of the log. An instance that was made a moment ago signs its first one within a second.
async fn first_checkpoint(client: &Client) -> Result<Text, CallError> {
    let began = tokio::time::Instant::now();
    loop {
        let asked = client.call::<GetCheckpoint>(&LogCheckpointRequest::default()).await;
        let is_missing = |error: &CallError| error.problem().is_some_and(|problem| problem.status == 404);
        match asked {
            Err(error) if is_missing(&error) && began.elapsed() < FIRST_CHECKPOINT => {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            answer => return answer,
        }
    }
}

/// The signed head of the audit log, what it is checked with, and the proof of every event since `from`.
async fn audit(session: &Session, archive: &mut Archive, from: Timestamp) -> anyhow::Result<()> {
    let Ok(client) = session.client("qerberos") else {
        archive.missing.push("audit log: qerberos does not run".to_owned());
        return Ok(());
    };
    let checkpoint = first_checkpoint(&client).await;
    let checkpoint = archive.note("checkpoint", checkpoint.map_err(Into::into));
    let policy = client.call::<GetPolicy>(&LogPolicyRequest::default()).await;
    if let Some(policy) = archive.note("policy of the log", policy.map_err(Into::into)) {
        archive.add("audit/policy", policy.0.as_bytes())?;
    }
    // The head that was kept outside the store: a log that was rewritten since does not contain it.
    let kept = fs::read_to_string(session.layout.keys.join("qerberos.checkpoint")).ok();
    if let Some(kept) = &kept {
        archive.add("audit/checkpoint.kept", kept.as_bytes())?;
    }
    if let Some(checkpoint) = checkpoint {
        archive.add("audit/log/checkpoint", checkpoint.0.as_bytes())?;
        let added = log_copy::add(&client, archive, &checkpoint.0, kept.as_deref()).await;
        archive.note("audit log", added);
    }
    let mut request = SearchEventsRequest { start_date: Some(from), ..SearchEventsRequest::default() };
    let (mut events, mut ids): (Vec<Value>, Vec<AuditId>) = (Vec::new(), Vec::new());
    while ids.len() < PROOFS_MAX {
        let page = client.call::<SearchEvents>(&request).await;
        let Some(page) = archive.note("audit events", page.map_err(Into::into)) else { break };
        for event in page.events {
            ids.push(event.id);
            events.push(json!(event));
        }
        request.cursor = page.next_cursor;
        if request.cursor.is_none() {
            break;
        }
    }
    if ids.len() >= PROOFS_MAX {
        let what = format!(
            "audit events: only the newest {} since {from} are proved one by one; the store of qerberos holds all",
            ids.len()
        );
        archive.remarks.push(what);
    }
    archive.add_json("audit/events.json", &json!(events))?;
    for id in ids {
        let proof = client.call::<GetProof>(&GetProofRequest { id, size: None }).await;
        // An event of the last second has no proof yet; that is no gap of the evidence worth a line each.
        if let Ok(proof) = proof {
            archive.add_json(&format!("audit/proofs/{id}.json"), &json!(proof))?;
        }
    }
    Ok(())
}

/// The stores as they are at one instant, copied while they are written.
async fn stores(session: &Session, archive: &mut Archive) -> anyhow::Result<()> {
    let config = compose::config(&session.layout)?;
    let mut wanted = Vec::new();
    for entry in &compose::MODULES {
        wanted.push((entry.name.to_owned(), compose::store_of(&session.layout, &config, entry.name)?));
    }
    let scratch = archive.scratch.clone();
    let copying = tokio::task::spawn_blocking(move || -> anyhow::Result<Vec<(String, PathBuf, Value)>> {
        let mut copied = Vec::new();
        for snapshot in snapshots(&wanted, || true)? {
            let path = match snapshot.copying()? {
                Copying::File(copy) => {
                    let path = scratch.join(format!("{}.sqlite", snapshot.module));
                    copy.write(&path, || true)?;
                    path
                }
                Copying::Server(mut dump) => {
                    let path = scratch.join(format!("{}.sql", snapshot.module));
                    let file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
                    let status = dump.stdout(file).status()?;
                    anyhow::ensure!(status.success(), "pg_dump of {} ended with {status}", snapshot.module);
                    path
                }
            };
            copied.push((snapshot.module.clone(), path, json!(snapshot.position)));
        }
        Ok(copied)
    });
    let copied = copying.await?;
    let Some(copied) = archive.note("stores", copied) else { return Ok(()) };
    for (module, path, position) in copied {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        archive.add_file(&format!("stores/{name}"), &path)?;
        archive.add_json(&format!("stores/{module}.position.json"), &position)?;
        fs::remove_file(&path)?;
    }
    Ok(())
}

/// Lists everything and signs the list.
async fn sign(session: &Session, archive: &mut Archive, incident: Option<IncidentId>) -> anyhow::Result<()> {
    if !archive.remarks.is_empty() {
        let remarks = json!(archive.remarks);
        archive.add_json("remarks.json", &remarks)?;
    }
    let manifest = Manifest {
        v: 1,
        instance: session.layout.read_instance()?.did,
        collected_by: session.did().clone(),
        collected_at: archive.at,
        incident: incident.map(|id| id.to_string()),
        missing: archive.missing.clone(),
        files: archive.files.clone(),
    };
    let manifest = serde_json::to_vec_pretty(&manifest)?;
    let header = jws::Header::typ(MANIFEST_TYP).kid(session.keyring.key_id());
    let signature = jws::sign(&header, &manifest, &session.keyring.current);
    let signer = custody::signer_log(session).await?;
    archive.add(MANIFEST, &manifest)?;
    archive.add(SIGNATURE, signature.as_bytes())?;
    archive.add(SIGNER, signer.as_bytes())
}

/// Writes on the incident, or on every open one, that evidence was secured.
async fn tell(session: &Session, incident: Option<IncidentId>, path: &Path, sha256: &str) -> Vec<IncidentId> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let text = format!("evidence secured in {name}, SHA-256 {sha256}");
    let details = json!({"file": name, "sha256": sha256});
    let Some(id) = incident else {
        return timeline::note(session, EntryKind::Evidence, &text, &details).await;
    };
    let noted = async {
        let client = session.client(q_ops::NAME)?.with_key(session.fresh_key());
        client.call::<AddEntry>(&AddEntryRequest { id, kind: EntryKind::Evidence, text, details }).await?;
        anyhow::Ok(())
    };
    if let Err(error) = noted.await {
        output::progress(format!("secured, but not written on {id}: {error:#}"));
        return Vec::new();
    }
    vec![id]
}
