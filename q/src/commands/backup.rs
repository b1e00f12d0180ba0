//! `q backup`: copies of everything, made while it runs, opened with one key, put back where nothing is.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use q_backup::{Archive, Keep, Manifest, Plan, Wanted};
use q_core::{AuditEntry, Env, Span, Timestamp, Verdict};
use q_db::{Db, DbConfig, backup::Position};
use q_runtime::Config;
use serde::Serialize;
use serde_json::json;

use crate::{
    backups,
    cli::Cli,
    commands::{schedule, verify},
    compose::{self, store_of},
    layout::Layout,
    output::{self, exit, usage, with_code},
    restored::Restored,
    running,
};

/// `q backup`.
#[derive(Debug, Subcommand)]
pub enum BackupVerb {
    /// Make a backup now; the instance may run.
    Create(CreateArgs),
    /// List the backups; `--clean` shows the newest one that verifies.
    List(ListArgs),
    /// Open everything a backup needs and compare hashes; `--deep` also restores it into a scratch place and verifies.
    Verify(BackupVerifyArgs),
    /// Put a backup back where nothing is: `q backup restore latest`, `q backup restore ID`.
    Restore(RestoreArgs),
    /// Remove the backups that the rule of retention does not keep.
    Prune(PruneArgs),
    /// Show how often backups are made, where to and how long they are kept, or set it.
    Schedule(schedule::ScheduleArgs),
}

/// Where backups are, and what opens them.
#[derive(Debug, Clone, Args)]
pub struct FromArgs {
    /// Where the backups are: a folder, or s3://bucket/prefix?endpoint=https://host&region=name. By the settings when not
    /// given.
    #[arg(long, value_name = "TARGET")]
    pub from: Option<String>,
    /// The file with the age secret key; DIR.keys/backup.key when not given.
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Who must have signed the backups, such as did:squid:…; the instance here, or whom the key file names, when not
    /// given.
    #[arg(long, value_name = "DID")]
    pub signer: Option<String>,
    /// Take what nobody signed: backups of versions that did not sign, whose origin nothing proves.
    #[arg(long)]
    pub accept_unsigned: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `q backup create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Only these modules.
    #[arg(long, value_delimiter = ',', value_name = "MODULE")]
    pub modules: Option<Vec<String>>,
    /// Where to; by the settings when not given.
    #[arg(long, value_name = "TARGET")]
    pub to: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `q backup list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only the newest one that verifies.
    #[arg(long)]
    pub clean: bool,
    /// Where.
    #[command(flatten)]
    pub from: FromArgs,
}

/// The newest backup, where one is named.
const LATEST: &str = "latest";

/// `q backup verify`.
#[derive(Debug, Args)]
pub struct BackupVerifyArgs {
    /// A backup as it was made, or `latest`.
    #[arg(default_value = "latest")]
    pub id: String,
    /// Also restore it into a scratch place and verify every store there.
    #[arg(long)]
    pub deep: bool,
    /// Where.
    #[command(flatten)]
    pub from: FromArgs,
}

/// `q backup restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// A backup as it was made, or `latest`: the newest one with everything shipped since.
    #[arg(default_value = "latest")]
    pub id: String,
    /// The state at this instant (RFC 3339); for SQLite stores to within the seconds between two shipments.
    #[arg(long, value_name = "INSTANT", conflicts_with = "id")]
    pub to_time: Option<Timestamp>,
    /// Only the stores of these modules, beside the others that are there.
    #[arg(long, value_delimiter = ',', value_name = "MODULE")]
    pub modules: Option<Vec<String>>,
    /// Into this data folder instead of the one of `--data`.
    #[arg(long, value_name = "DIR")]
    pub into: Option<PathBuf>,
    /// From where.
    #[command(flatten)]
    pub from: FromArgs,
}

/// `q backup prune`.
#[derive(Debug, Args)]
pub struct PruneArgs {
    /// The rule, such as hourly=48,daily=7,weekly=4,monthly=12; by the settings when not given.
    #[arg(long, value_name = "RULE")]
    pub keep: Option<Keep>,
    /// Only say what would be removed.
    #[arg(long)]
    pub dry_run: bool,
    /// Where.
    #[arg(long, value_name = "TARGET")]
    pub from: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// One backup, for people and programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    id: String,
    at: Timestamp,
    is_signed: bool,
    bytes: u64,
    written: u64,
    took_ms: u64,
    modules: BTreeMap<String, Position>,
}

impl Shown {
    fn of(manifest: &Manifest, is_signed: bool) -> Self {
        let modules = manifest.modules.iter();
        Self {
            id: manifest.id.clone(),
            is_signed,
            at: manifest.at,
            bytes: manifest.bytes,
            written: manifest.written,
            took_ms: manifest.took_ms,
            modules: modules.map(|(name, copy)| (name.clone(), copy.position.clone())).collect(),
        }
    }

    fn line(&self) -> String {
        let Self { id, at, bytes, written, .. } = self;
        let modules = self.modules.keys().map(String::as_str).collect::<Vec<_>>().join(" ");
        let mark = if self.is_signed { "" } else { "UNSIGNED  " };
        format!("{id}  {at}  {mark}{} kept, {} new  {modules}", size(*bytes), size(*written))
    }
}

/// `12.3 MB`.
fn size(bytes: u64) -> String {
    let tenths = |unit: u64| format!("{}.{}", bytes / unit, bytes % unit * 10 / unit);
    match bytes {
        0..1_000_000 => format!("{} kB", tenths(1_000)),
        1_000_000..1_000_000_000 => format!("{} MB", tenths(1_000_000)),
        _ => format!("{} GB", tenths(1_000_000_000)),
    }
}

pub async fn run(cli: &Cli, verb: &BackupVerb) -> anyhow::Result<ExitCode> {
    let layout = Layout::of(&cli.data);
    match verb {
        BackupVerb::Create(arguments) => create(&layout, arguments).await,
        BackupVerb::List(arguments) => list(&layout, arguments).await,
        BackupVerb::Verify(arguments) => verify_one(&layout, arguments).await,
        BackupVerb::Restore(arguments) => restore(&layout, arguments).await,
        BackupVerb::Prune(arguments) => prune(&layout, arguments).await,
        BackupVerb::Schedule(arguments) => schedule::run(&layout, arguments),
    }
}

/// Does what blocks on a thread that may.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work).await.context("the work was broken off")?
}

async fn create(layout: &Layout, arguments: &CreateArgs) -> anyhow::Result<ExitCode> {
    let config = compose::config(layout)?;
    for module in arguments.modules.iter().flatten() {
        compose::entry(module)?;
    }
    let source = backups::source(layout, &config, arguments.modules.as_deref())?;
    let place = backups::place(layout, &config, arguments.to.as_deref())?;
    let (target, recipients) = (place.target.to_string(), place.recipients.to_string());
    let signer = layout.read_did(crate::layout::INSTANCE)?;
    let made = blocking(move || Ok(q_backup::create(&source, &place, &Env::system())?)).await?;
    output::show(arguments.json, &Shown::of(&made, true), |shown| {
        output::line(shown.line());
        output::line(format!("in {target}, signed by {signer}"));
        let key = backups::key_file(layout);
        if key.exists() {
            output::line(format!(
                "opens with {}: keep a copy of that file apart from this machine; it and the target are all a restore \
                 needs, and it names the signer",
                key.display()
            ));
        } else {
            output::line(format!(
                "opens with the secret key of {recipients}; a restore elsewhere needs it, and --signer {signer}"
            ));
        }
    });
    Ok(ExitCode::SUCCESS)
}

fn archive(layout: &Layout, from: &FromArgs) -> anyhow::Result<Archive> {
    backups::archive(layout, &compose::config(layout)?, from)
}

async fn list(layout: &Layout, arguments: &ListArgs) -> anyhow::Result<ExitCode> {
    if arguments.clean {
        return newest_clean(layout, &arguments.from).await;
    }
    let archive = archive(layout, &arguments.from)?;
    let (shown, unsigned, unsound) = blocking(move || {
        let (mut shown, mut unsigned, mut unsound) = (Vec::new(), Vec::new(), Vec::new());
        for id in archive.ids()?.into_iter().rev() {
            match archive.judged(&id) {
                Ok((manifest, is_signed)) => shown.push(Shown::of(&manifest, is_signed)),
                // With another key none of them opens, and without a signer none is believed.
                Err(error @ (q_backup::Error::WrongKey { .. } | q_backup::Error::UnknownSigner { .. })) => {
                    return Err(error.into());
                }
                Err(q_backup::Error::Unsigned(_)) => unsigned.push(id),
                Err(error) => unsound.push(format!("{id}: {error}")),
            }
        }
        Ok((shown, unsigned, unsound))
    })
    .await?;
    for line in &unsound {
        output::progress(line);
    }
    if let (Some(newest), Some(oldest)) = (unsigned.first(), unsigned.last()) {
        output::progress(format!(
            "{} more, {oldest} to {newest}, are not signed: versions that did not sign made them, or somebody who may write \
             to the target; --accept-unsigned shows them",
            unsigned.len()
        ));
    }
    output::show(arguments.from.json, &shown, |shown| {
        for shown in shown {
            output::line(shown.line());
        }
    });
    if shown.is_empty() {
        let what = if unsigned.is_empty() && unsound.is_empty() {
            "there is no backup yet; `q backup create` makes one"
        } else {
            "there is no backup that can be believed; `q backup create` makes one"
        };
        return Err(with_code(exit::FINDINGS, what));
    }
    Ok(if unsound.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(exit::FINDINGS) })
}

/// The newest backup that is whole and whose stores are sound: each is put back into a scratch place and verified, for
/// a faithful copy of a damaged store is whole as well.
async fn newest_clean(layout: &Layout, from: &FromArgs) -> anyhow::Result<ExitCode> {
    let ids = {
        let archive = archive(layout, from)?;
        blocking(move || Ok(archive.ids()?)).await?
    };
    let mut has_unsound = false;
    for id in ids.into_iter().rev() {
        let (archive, looked) = (archive(layout, from)?, id.clone());
        let whole = blocking(move || {
            let judged = archive.judged(&looked);
            Ok(judged.and_then(|(manifest, is_signed)| {
                archive.verify(&looked).map(|_| Shown::of(&manifest, is_signed))
            }))
        });
        let why = match whole.await? {
            Err(error @ (q_backup::Error::WrongKey { .. } | q_backup::Error::UnknownSigner { .. })) => {
                return Err(error.into());
            }
            // Of versions that did not sign: not wrong, and not to be relied on.
            Err(q_backup::Error::Unsigned(_)) => continue,
            Err(error) => error.to_string(),
            Ok(shown) => {
                let wanted = Wanted::Backup(id.clone());
                match super::drill::rehearse(layout, from, &wanted, None).await {
                    Ok(report) if report.is_sound() => {
                        output::show(from.json, &[shown], |shown| {
                            output::line(shown[0].line());
                        });
                        return Ok(if has_unsound {
                            ExitCode::from(exit::FINDINGS)
                        } else {
                            ExitCode::SUCCESS
                        });
                    }
                    Ok(report) => report.damage(),
                    Err(error) => format!("{error:#}"),
                }
            }
        };
        has_unsound = true;
        output::progress(format!("{id}: {why}"));
    }
    Err(with_code(exit::FINDINGS, "no backup verifies"))
}

async fn verify_one(layout: &Layout, arguments: &BackupVerifyArgs) -> anyhow::Result<ExitCode> {
    let archive = archive(layout, &arguments.from)?;
    let wanted = arguments.id.clone();
    let verified = blocking(move || {
        let id = if wanted == LATEST {
            let newest = archive.ids()?.pop();
            newest.ok_or_else(|| with_code(exit::FINDINGS, "there is no backup yet"))?
        } else {
            wanted
        };
        archive.verify(&id).map_err(|error| with_code(exit::FINDINGS, error))
    })
    .await?;
    if arguments.deep {
        let wanted = Wanted::Backup(verified.id.clone());
        let report = super::drill::rehearse(layout, &arguments.from, &wanted, None).await?;
        output::show(arguments.from.json, &json!({"verified": verified, "restored": report}), |_| {
            report.tell();
        });
        return Ok(report.code());
    }
    output::show(arguments.from.json, &verified, |verified| {
        let q_backup::Verified { id, pieces, bytes, cuts } = verified;
        output::line(format!("{id}: sound ({pieces} pieces, {}, {cuts} shipments after it)", size(*bytes)));
    });
    Ok(ExitCode::SUCCESS)
}

async fn prune(layout: &Layout, arguments: &PruneArgs) -> anyhow::Result<ExitCode> {
    let config = compose::config(layout)?;
    let target = backups::target(layout, &config, arguments.from.as_deref())?;
    let keep = match arguments.keep {
        Some(keep) => keep,
        None => config.section("backup").text("keep").parse().map_err(usage)?,
    };
    let (data, is_dry, signer) = (layout.data.clone(), arguments.dry_run, backups::signer(layout));
    let pruned = blocking(move || {
        Ok(q_backup::prune(&data, &target, &signer.trust()?, keep, Env::system().now(), is_dry)?)
    })
    .await?;
    for (id, why) in &pruned.refused {
        output::progress(format!("{id} stays and is not counted: {why}"));
    }
    output::show(arguments.json, &pruned, |pruned| {
        let word = if is_dry { "would remove" } else { "removed" };
        for id in &pruned.removed {
            output::line(format!("{word} {id}"));
        }
        let (bytes, objects, kept) = (size(pruned.bytes), pruned.objects, pruned.kept.len());
        output::line(format!("{word} {objects} objects, {bytes}; {kept} backups stay"));
    });
    Ok(ExitCode::SUCCESS)
}

/// What a restore came to.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    backup: String,
    data: PathBuf,
    /// How old the newest state is that was put back, in seconds.
    age_seconds: i64,
    /// The instant each module's state is of.
    reached: BTreeMap<String, Timestamp>,
    /// Secrets that were there and differed; they lie below `replaced-…` in the folder of secrets.
    replaced: Vec<String>,
    findings: BTreeMap<String, serde_json::Value>,
}

async fn restore(layout: &Layout, arguments: &RestoreArgs) -> anyhow::Result<ExitCode> {
    let into = arguments.into.as_deref().map_or_else(|| layout.clone(), Layout::of);
    if let Some(running) = running::find(&into)? {
        let what = format!("the instance runs in process {}; `q stop` ends it, then restore", running.pids());
        return Err(with_code(exit::CANNOT_START, what));
    }
    let archive = archive(layout, &arguments.from)?;
    let wanted = match (&arguments.to_time, arguments.id.as_str()) {
        (Some(at), _) if *at > Env::system().now() => {
            return Err(usage(format!(
                "{at} is still to come; without --to-time the newest state is restored"
            )));
        }
        (Some(at), _) => Wanted::At(*at),
        (None, LATEST) => Wanted::Newest,
        (None, id) => Wanted::Backup(id.to_owned()),
    };
    let (is_partial, is_newest) = (arguments.modules.is_some(), wanted == Wanted::Newest);
    if !is_partial {
        refuse_folder_in_use(&into)?;
    }
    let modules = arguments.modules.clone();
    let (archive, plan) = blocking(move || {
        let plan = archive.plan(&wanted, modules.as_deref())?;
        Ok((archive, plan))
    })
    .await?;
    refuse_other_instance(&into, &plan)?;
    let age = Env::system().now().since(plan.instant());
    output::progress(format!("restoring {} as of {}, {} ago", plan.base.id, plan.instant(), length(age)));
    // Whoever can remove the newer ones can have an older one taken for the newest.
    let newest_here = q_backup::status(&into.data).id.filter(|id| is_newest && *id > plan.base.id);
    if let Some(newer) = newest_here {
        output::progress(format!(
            "this machine made a newer one, {newer}, which is not in {}: find out where it went",
            archive.target()
        ));
    }
    let (replaced, plan) = put_back(archive, plan, &into, is_partial, BTreeMap::new()).await?;
    let names: Vec<&str> = compose::MODULES.iter().map(|entry| entry.name).collect();
    let findings = verify::offline(&into, Vec::new(), &names, None).await?;
    let is_sound = findings.values().all(|findings| findings.as_array().is_some_and(Vec::is_empty));
    let outcome = Outcome {
        backup: plan.base.id.clone(),
        data: into.data.clone(),
        age_seconds: age.as_seconds(),
        reached: plan.reached.clone(),
        replaced,
        findings,
    };
    output::show(arguments.from.json, &outcome, |outcome| {
        for (module, at) in &outcome.reached {
            output::line(format!("{module:<12} as of {at}"));
        }
        for (module, findings) in &outcome.findings {
            for finding in findings.as_array().into_iter().flatten() {
                output::line(format!(
                    "{module}: {} at {}: {}",
                    finding["code"], finding["place"], finding["detail"]
                ));
            }
        }
        let data = outcome.data.display();
        output::line(if is_sound {
            format!("restored and verified; `q up --data {data}` starts it")
        } else {
            format!("restored into {data}, and not sound: see above")
        });
    });
    Ok(if is_sound { ExitCode::SUCCESS } else { ExitCode::from(exit::FINDINGS) })
}

/// `3 h 12 min`.
fn length(span: Span) -> String {
    let seconds = span.as_seconds().max(0);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} days {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// Only settings may be in a folder that a whole instance is put into.
fn refuse_folder_in_use(into: &Layout) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(&into.data).into_iter().flatten().flatten();
    let names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    if names.iter().all(|name| name == "q.toml" || name == "backup.lock" || name == "backup.status.json") {
        return Ok(());
    }
    let data = into.data.display();
    let what = format!(
        "{data} is not empty: a restore overwrites nothing; move it away (mv {data} {data}.before), or choose another \
         place with --into; --modules puts single stores back"
    );
    Err(with_code(exit::CANNOT_START, what))
}

fn refuse_other_instance(into: &Layout, plan: &Plan) -> anyhow::Result<()> {
    let read = std::fs::read(into.instance_copy()).ok();
    let there: Option<serde_json::Value> = read.and_then(|text| serde_json::from_slice(&text).ok());
    let there = there.and_then(|about| Some(about["did"].as_str()?.to_owned()));
    match there {
        Some(did) if did != plan.base.instance => {
            let keys = into.keys.display();
            let what = format!("the secrets in {keys} are of another instance ({did}); move them away first");
            Err(with_code(exit::CANNOT_START, what))
        }
        _ => Ok(()),
    }
}

/// Puts everything of `plan` into the folders of `into`, whose stores are where its settings say, or where `elsewhere`
/// does. What says that an instance is here comes last.
pub async fn put_back(
    archive: Archive,
    plan: Plan,
    into: &Layout,
    is_partial: bool,
    elsewhere: BTreeMap<String, DbConfig>,
) -> anyhow::Result<(Vec<String>, Plan)> {
    let layout = into.clone();
    let (mut replaced, mut archive, mut plan) = (Vec::new(), archive, plan);
    if !is_partial {
        layout.create()?;
        let (keys, data) = (layout.keys.clone(), layout.data.clone());
        (replaced, archive, plan) = blocking(move || {
            let replaced = archive.restore_secrets(&plan, &keys, backups::is_newer_here)?;
            archive.restore_file(&plan, &data, "q.toml")?;
            Ok((replaced, archive, plan))
        })
        .await?;
    }
    let config = compose::config(&layout)?;
    let mut places = BTreeMap::new();
    for module in &plan.modules {
        compose::entry(module)?;
        let place = match elsewhere.get(module) {
            Some(place) => place.clone(),
            None => store_of(&layout, &config, module)?,
        };
        places.insert(module.clone(), place);
    }
    let heard = heard_by_others(&layout, &config, &plan, is_partial).await?;
    let there = places.clone();
    let (archive, plan) = blocking(move || {
        archive.restore_stores(&plan, &there)?;
        Ok((archive, plan))
    })
    .await?;
    let env = Env::system();
    let word = Restored {
        instance: plan.base.instance.clone(),
        backup: plan.base.id.clone(),
        at: plan.instant(),
        put_back_at: env.now(),
        modules: plan.modules.clone(),
    };
    for (module, place) in &places {
        let db = Db::open_existing(place, compose::entry(module)?.migrations, &env).await;
        let db = db.with_context(|| format!("the restored store of {module} does not open"))?;
        let (events, audit) = heard.get(module).copied().unwrap_or_default();
        let resumed = db.resume_beyond(events, audit, entry(&word, module, &plan, events, audit)).await;
        db.close().await;
        resumed.with_context(|| format!("the restored store of {module} cannot be written"))?;
    }
    if elsewhere.is_empty() {
        word.leave(&layout)?;
    }
    if is_partial {
        return Ok((replaced, plan));
    }
    let data = layout.data.clone();
    blocking(move || {
        archive.restore_file(&plan, &data, "instance.json")?;
        Ok((replaced, plan))
    })
    .await
}

/// The audit row that a restored store goes on with.
fn entry(word: &Restored, module: &str, plan: &Plan, events: i64, audit: i64) -> AuditEntry {
    let position = plan.positions.get(module).cloned().unwrap_or_default();
    AuditEntry {
        family: "platform".into(),
        action: "store.restored".into(),
        actor: None,
        target: module.to_owned(),
        verdict: Verdict::Warn,
        details: json!({
            "backup": word.backup,
            "at": plan.reached.get(module),
            "putBackAt": word.put_back_at,
            "events": position.events,
            "audit": position.audit,
            "lostEvents": (events - position.events).max(0),
            "lostAudit": (audit - position.audit).max(0),
        }),
    }
}

/// How far the stores that stay have heard those that are put back: events, audit rows.
async fn heard_by_others(
    layout: &Layout,
    config: &Config,
    plan: &Plan,
    is_partial: bool,
) -> anyhow::Result<BTreeMap<String, (i64, i64)>> {
    if !is_partial {
        return Ok(BTreeMap::new());
    }
    let mut others = backups::source(layout, config, None)?.stores;
    others.retain(|(name, _)| !plan.modules.contains(name));
    let positions = blocking(move || {
        let snapshots = q_db::backup::snapshots(&others, || true)?;
        Ok(snapshots.into_iter().map(|snapshot| snapshot.position).collect::<Vec<Position>>())
    })
    .await?;
    let of = |module: &String| {
        positions
            .iter()
            .map(|position| position.heard_of(module))
            .fold((0, 0), |most, heard| (most.0.max(heard.0), most.1.max(heard.1)))
    };
    Ok(plan.modules.iter().map(|module| (module.clone(), of(module))).collect())
}

/// Whether a folder is gone; for scratch places.
pub fn remove(folder: &Path) {
    let _ = std::fs::remove_dir_all(folder);
}
