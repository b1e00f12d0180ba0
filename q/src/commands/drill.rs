//! `q drill restore`: the newest backup put back into a scratch place, opened, verified and compared with what is live,
//! against the objectives.
//!
//! The scratch instance is opened by a process of its own, as after a real loss, and is gone afterwards.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use q_backup::{Plan, Wanted};
use q_contract::Client;
use q_core::{Caller, Env, Timestamp, caller::Principal, hash};
use q_db::{DbConfig, backup::Position};
use q_runtime::{Finding, config::variable_name};
use qwallet_api::{GetTrialBalance, TrialBalance, TrialBalanceRequest};
use serde::{Deserialize, Serialize};

use crate::{
    backups,
    cli::Cli,
    commands::backup::{FromArgs, blocking, put_back, remove},
    compose::{self, Options, store_of},
    layout::{Layout, write_private},
    output::{self, exit, with_code},
    running,
    session::Session,
};

/// How the process that opened an instance begins to say that it cannot tell the books.
const CANNOT_ADD_UP: &str = "the books cannot be read";
/// How long adding up large books may take.
const PATIENCE: Duration = Duration::from_mins(10);

/// `q drill`.
#[derive(Debug, Subcommand)]
pub enum DrillVerb {
    /// Restore the newest backup into a scratch place, verify it and compare it with the live instance.
    Restore(RestoreDrillArgs),
    /// Open the instance, verify it and print what it holds; started by the drill.
    #[command(hide = true)]
    Look(LookArgs),
}

/// `q drill restore`.
#[derive(Debug, Args)]
pub struct RestoreDrillArgs {
    /// Judge only these modules; everything is restored, because they need each other.
    #[arg(long, value_delimiter = ',', value_name = "MODULE")]
    pub modules: Option<Vec<String>>,
    /// Where.
    #[command(flatten)]
    pub from: FromArgs,
}

/// `q drill look`.
#[derive(Debug, Args)]
pub struct LookArgs {
    /// Leave the verification out.
    #[arg(long)]
    pub books_only: bool,
}

/// What a module may take and lose (operations, section 6): recovery time and loss.
fn objective(module: &str) -> Objective {
    let minutes =
        |recovery: u64, loss: u64| Objective { recovery_seconds: recovery * 60, loss_seconds: loss * 60 };
    match module {
        "qwallet" | "squid" | "qonsent" => minutes(15, 1),
        "qdrive" | "qmarket" | "qindex" => minutes(30, 15),
        "qmail" | "qchat" => minutes(60, 30),
        _ => minutes(120, 60),
    }
}

/// What a module may take and lose.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Objective {
    recovery_seconds: u64,
    loss_seconds: u64,
}

/// One module in a drill.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModuleReport {
    engine: String,
    /// The instant its restored state is of.
    reached: Timestamp,
    /// How much it would have lost, had everything been lost when the drill began.
    loss_seconds: f64,
    /// Restoring everything, opening it, and verifying this module.
    recovery_seconds: f64,
    objective: Objective,
    restored: Position,
    live: Option<Position>,
    findings: Vec<Finding>,
    is_met: bool,
}

/// What a drill came to.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    at: Timestamp,
    backup: String,
    target: String,
    restore_seconds: f64,
    open_seconds: f64,
    verify_seconds: f64,
    modules: BTreeMap<String, ModuleReport>,
    /// Whether the restored books balance.
    books_balance: Option<bool>,
    /// Whether they are the live ones, where nothing happened in between.
    books_equal: Option<bool>,
    is_met: bool,
}

/// What the process that opened an instance says of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Look {
    open_seconds: f64,
    modules: BTreeMap<String, LookAt>,
    books: Option<TrialBalance>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LookAt {
    verify_seconds: f64,
    findings: Vec<Finding>,
}

pub async fn run(cli: &Cli, verb: &DrillVerb) -> anyhow::Result<ExitCode> {
    let layout = Layout::of(&cli.data);
    match verb {
        DrillVerb::Restore(arguments) => {
            for module in arguments.modules.iter().flatten() {
                compose::entry(module)?;
            }
            let modules = arguments.modules.clone().map(BTreeSet::from_iter);
            let report = rehearse(&layout, &arguments.from, &Wanted::Newest, modules).await;
            // A backup that cannot be put back is what the drill is there to find.
            let report = report.map_err(|error| with_code(exit::FINDINGS, format!("{error:#}")))?;
            let name = format!("{}.json", report.at.micros());
            let folder = layout.data.join("drills");
            std::fs::create_dir_all(&folder)?;
            write_private(&folder.join(name), &serde_json::to_vec_pretty(&report)?)?;
            output::show(arguments.from.json, &report, Report::tell);
            Ok(report.code())
        }
        DrillVerb::Look(arguments) => look(&layout, arguments).await,
    }
}

impl Report {
    /// Says it to people.
    pub fn tell(&self) {
        output::line(format!(
            "{} restored in {:.1} s, opened in {:.1} s, verified in {:.1} s",
            self.backup, self.restore_seconds, self.open_seconds, self.verify_seconds
        ));
        for (name, module) in &self.modules {
            let Objective { recovery_seconds, loss_seconds } = module.objective;
            output::line(format!(
                "{} {name:<10} recovery {:>7.1} s of {recovery_seconds} s   loss {:>6.1} s of {loss_seconds} s",
                if module.is_met { "ok " } else { "BAD" },
                module.recovery_seconds,
                module.loss_seconds,
            ));
            for finding in &module.findings {
                output::line(format!("    {finding}"));
            }
        }
        match (self.books_balance, self.books_equal) {
            (Some(true), Some(true)) => output::line("the books balance and are the live ones"),
            (Some(true), _) => output::line("the books balance"),
            (Some(false), _) => output::line("the books DO NOT BALANCE"),
            (None, _) => {}
        }
    }

    /// Whether every store was found sound, however long it took.
    pub fn is_sound(&self) -> bool {
        self.modules.values().all(|module| module.findings.is_empty())
    }

    /// What was found wrong, as one line.
    pub fn damage(&self) -> String {
        let findings = self.modules.values().flat_map(|module| &module.findings);
        findings.map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    /// The exit code that says whether the objectives are met.
    pub fn code(&self) -> ExitCode {
        if self.is_met { ExitCode::SUCCESS } else { ExitCode::from(exit::FINDINGS) }
    }
}

/// A scratch instance, gone when dropped: its folders, and its databases on servers.
struct Scratch {
    folder: PathBuf,
    databases: Vec<String>,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove(&self.folder);
        let databases = std::mem::take(&mut self.databases);
        // The client of the server blocks, which a thread of its own may.
        let dropped = std::thread::spawn(move || {
            for url in databases {
                if let Err(error) = q_db::backup::drop_database(&url) {
                    tracing::warn!(%error, "a scratch database stays behind");
                }
            }
        });
        let _ = dropped.join();
    }
}

/// Restores what is `wanted` into a scratch place and judges `modules`, or all.
pub async fn rehearse(
    layout: &Layout,
    from: &FromArgs,
    wanted: &Wanted,
    modules: Option<BTreeSet<String>>,
) -> anyhow::Result<Report> {
    let config = compose::config(layout)?;
    let archive = backups::archive(layout, &config, from)?;
    let target = archive.target().to_string();
    let env = Env::system();
    let (at, began) = (env.now(), Instant::now());
    let source = backups::source(layout, &config, None)?;
    let judges_loss = matches!(wanted, Wanted::Newest);
    let (stores, wanted) = (source.stores, wanted.clone());
    let (live, archive, plan) = blocking(move || {
        let live = live_positions(&stores);
        let plan = archive.plan(&wanted, None)?;
        Ok((live, archive, plan))
    })
    .await?;
    let number = hash::hex(&env.random::<4>());
    let mut scratch =
        Scratch { folder: backups::beside(&layout.data, &format!(".drill-{number}")), databases: Vec::new() };
    remove(&scratch.folder);
    let place = Layout::of(&scratch.folder.join("q-data"));
    let mut elsewhere = BTreeMap::new();
    for (module, copy) in &plan.base.modules {
        if copy.engine == "postgres"
            && let DbConfig::Postgres { url } = store_of(layout, &config, module)?
        {
            let name = format!("{}_drill_{number}", compose::database_of(module));
            let url = q_db::backup::with_database(&url, &name);
            scratch.databases.push(url.clone());
            elsewhere.insert(module.clone(), DbConfig::Postgres { url });
        } else {
            elsewhere.insert(module.clone(), DbConfig::sqlite(place.store(module)));
        }
    }
    let (_, plan) = put_back(archive, plan, &place, false, elsewhere.clone()).await?;
    let restore_seconds = began.elapsed().as_secs_f64();
    let looked = look_by_process(&place, &elsewhere, false).await?;
    let books = live_books(layout, looked.books.is_some()).await;
    drop(scratch);
    Ok(judge(&Drill { at, target, plan, live, restore_seconds, looked, books, modules, judges_loss }))
}

/// How far the live stores are, all of one instant; those that cannot be read are left out, since a restore is rehearsed
/// above all when one of them is damaged.
fn live_positions(stores: &[(String, DbConfig)]) -> BTreeMap<String, Position> {
    let positions = |stores: &[(String, DbConfig)]| {
        let snapshots = q_db::backup::snapshots(stores, || true)?;
        Ok::<_, q_db::backup::SnapshotError>(snapshots.into_iter().map(|one| (one.module, one.position)))
    };
    if let Ok(all) = positions(stores) {
        return all.collect();
    }
    let one_by_one = stores.chunks(1).map(positions);
    one_by_one
        .filter_map(|looked| match looked {
            Ok(position) => Some(position),
            Err(error) => {
                output::progress(format!("not compared with what is live: {error}"));
                None
            }
        })
        .flatten()
        .collect()
}

/// What was found out.
struct Drill {
    at: Timestamp,
    target: String,
    plan: Plan,
    live: BTreeMap<String, Position>,
    restore_seconds: f64,
    looked: Look,
    books: Option<LiveBooks>,
    modules: Option<BTreeSet<String>>,
    /// A backup chosen by its name is as old as it is: how much it lacks is told, and not judged.
    judges_loss: bool,
}

struct LiveBooks {
    books: TrialBalance,
    is_at_rest: bool,
}

fn judge(drill: &Drill) -> Report {
    let Drill { at, plan, live, looked, .. } = drill;
    let is_judged = |name: &str| drill.modules.as_ref().is_none_or(|modules| modules.contains(name));
    let mut modules = BTreeMap::new();
    for (name, copy) in plan.base.modules.iter().filter(|(name, _)| is_judged(name)) {
        let restored = plan.positions.get(name).cloned().unwrap_or_default();
        let reached = plan.reached.get(name).copied().unwrap_or(plan.base.at);
        let live = live.get(name).cloned();
        let loss = if live.as_ref() == Some(&restored) { 0 } else { at.since(reached).as_micros().max(0) };
        let loss_seconds = Duration::from_micros(u64::try_from(loss).unwrap_or_default()).as_secs_f64();
        let look = looked.modules.get(name);
        let verify_seconds = look.map_or(0.0, |look| look.verify_seconds);
        let findings = look.map_or_else(
            || vec![Finding::new("cannot_open", format!("{name} store"), "it was not opened")],
            |look| look.findings.clone(),
        );
        let recovery_seconds = drill.restore_seconds + looked.open_seconds + verify_seconds;
        let objective = objective(name);
        // What a server keeps is as old as its dump; less is what its own archive of the log is for.
        let is_kept_by_server = copy.engine == "postgres";
        let is_met = findings.is_empty()
            && recovery_seconds <= Duration::from_secs(objective.recovery_seconds).as_secs_f64()
            && (!drill.judges_loss
                || is_kept_by_server
                || loss_seconds <= Duration::from_secs(objective.loss_seconds).as_secs_f64());
        let engine = copy.engine.clone();
        modules.insert(
            name.clone(),
            ModuleReport {
                engine,
                reached,
                loss_seconds,
                recovery_seconds,
                objective,
                restored,
                live,
                findings,
                is_met,
            },
        );
    }
    // Books that cannot be added up are no better than those that do not balance.
    let has_books = plan.modules.contains("qwallet");
    let books_balance = has_books.then(|| looked.books.as_ref().is_some_and(balances));
    let books_equal = match (&looked.books, &drill.books) {
        (Some(restored), Some(live)) => Some(restored.items == live.books.items),
        _ => None,
    };
    let must_be_equal = drill.books.as_ref().is_some_and(|live| live.is_at_rest)
        && modules.get("qwallet").is_some_and(|wallet| wallet.live.as_ref() == Some(&wallet.restored));
    let is_met = modules.values().all(|module| module.is_met)
        && books_balance != Some(false)
        && !(must_be_equal && books_equal == Some(false));
    Report {
        at: *at,
        backup: plan.base.id.clone(),
        target: drill.target.clone(),
        restore_seconds: drill.restore_seconds,
        open_seconds: looked.open_seconds,
        verify_seconds: looked.modules.values().map(|look| look.verify_seconds).sum(),
        modules,
        books_balance,
        books_equal,
        is_met,
    }
}

fn balances(books: &TrialBalance) -> bool {
    books
        .items
        .iter()
        .all(|row| row.difference.as_str().trim_start_matches('-').trim_matches(['0', '.']).is_empty())
}

/// The live books: of the running instance, or of its files.
async fn live_books(layout: &Layout, has_books: bool) -> Option<LiveBooks> {
    if !has_books {
        return None;
    }
    let asked = async {
        if running::find(layout)?.is_some() {
            let client = Session::open(&layout.data, "operator")?.client("qwallet")?;
            let books = client.call::<GetTrialBalance>(&TrialBalanceRequest::default()).await?;
            return anyhow::Ok(Some(LiveBooks { books, is_at_rest: false }));
        }
        let looked = look_by_process(layout, &BTreeMap::new(), true).await?;
        Ok(looked.books.map(|books| LiveBooks { books, is_at_rest: true }))
    };
    asked.await.unwrap_or_else(|error| {
        output::progress(format!("the live books cannot be compared: {error:#}"));
        None
    })
}

/// Has a process of this program open the instance in `place`, whose stores are where `stores` says.
async fn look_by_process(
    place: &Layout,
    stores: &BTreeMap<String, DbConfig>,
    books_only: bool,
) -> anyhow::Result<Look> {
    let mut command = tokio::process::Command::new(std::env::current_exe()?);
    command.arg("--data").arg(&place.data).args(["drill", "look"]).kill_on_drop(true);
    if books_only {
        command.arg("--books-only");
    }
    for (module, store) in stores {
        let url = match store {
            DbConfig::Postgres { url } => url.as_str(),
            DbConfig::Sqlite { .. } => "",
        };
        command.env(variable_name(module, "database_url"), url).env(variable_name(module, "url"), "");
    }
    let output = command.output().await?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    complaint.lines().filter(|line| line.starts_with(CANNOT_ADD_UP)).for_each(output::progress);
    if !output.status.success() {
        let what = format!("the restored instance does not open: {}", complaint.trim());
        return Err(with_code(exit::FINDINGS, what));
    }
    serde_json::from_slice(&output.stdout).context("the process that opened the instance said something else")
}

async fn look(layout: &Layout, arguments: &LookArgs) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let built = compose::assemble(layout, &Options::offline()).await?;
    let open_seconds = began.elapsed().as_secs_f64();
    let mut modules = BTreeMap::new();
    for beam in built.house.beams().iter().filter(|_| !arguments.books_only) {
        let began = Instant::now();
        let mut findings = q_runtime::verify(&*beam.module).await?;
        let name = beam.module.name();
        let older = built.rolled_back.iter().filter(|older| older.module == name);
        findings.extend(older.map(crate::stores::finding));
        let verify_seconds = began.elapsed().as_secs_f64();
        modules.insert(name.to_owned(), LookAt { verify_seconds, findings });
    }
    let has_books = built.house.beams().iter().any(|beam| beam.module.name() == "qwallet");
    let books = if has_books {
        let principal = Principal::new(layout.read_instance()?.operator, Env::system().now());
        let client = Client::new(built.directory.transport("qwallet"))
            .as_caller(Caller::Identity(principal))
            .within(PATIENCE);
        match client.call::<GetTrialBalance>(&TrialBalanceRequest::default()).await {
            Ok(books) => Some(books),
            Err(error) => {
                output::progress(format!("{CANNOT_ADD_UP}: {error}"));
                None
            }
        }
    } else {
        None
    };
    built.house.stop().await;
    output::line(serde_json::to_string(&Look { open_seconds, modules, books })?);
    Ok(ExitCode::SUCCESS)
}
