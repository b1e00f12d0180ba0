//! `q runbook`: follows a procedure step by step, shows what each step finds, and keeps a record.

use std::{
    fs,
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use q_core::{Env, Timestamp};
use q_ops_api::incidents::EntryKind;
use q_runbooks::{
    Action, Place, Procedure, Scope, Step, Variables,
    judge::{Outcome, Verdict, hindrance, judge},
    page,
};
use serde::Serialize;
use tokio::process::Command;

use crate::{
    cli::Cli,
    commands::timeline,
    compose,
    layout::{Layout, write_private},
    output::{self, exit, usage},
    running,
};

/// `q runbook`.
#[derive(Debug, Args)]
pub struct RunbookArgs {
    /// `list`, a procedure about the instance, or a module and a procedure about it: `qwallet high-error-rate`.
    #[arg(required = true, num_args = 1..=2, value_name = "[MODULE] PROCEDURE")]
    subject: Vec<String>,
    /// Do steps that change something without asking.
    #[arg(long)]
    yes: bool,
    /// Print JSON; questions are left open.
    #[arg(long)]
    json: bool,
    /// With `render`: write the pages into this folder.
    #[arg(long, hide = true, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// One procedure followed once.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    procedure: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    module: String,
    started_at: Timestamp,
    ended_at: Timestamp,
    steps: Vec<Done>,
}

/// One step as it went.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Done {
    title: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    command: String,
    verdict: Verdict,
    finding: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    otherwise: String,
    millis: u64,
}

pub async fn run(cli: &Cli, arguments: &RunbookArgs) -> anyhow::Result<ExitCode> {
    let procedures = q_runbooks::all()?;
    match arguments.subject.as_slice() {
        [list] if list == "list" => {
            list_all(&procedures, arguments.json);
            Ok(ExitCode::SUCCESS)
        }
        [render] if render == "render" => {
            render_to(&procedures, arguments.out.as_deref().context("name a folder with --out")?)
        }
        [name] => follow(cli, arguments, find(&procedures, name, Scope::Ecosystem)?, "").await,
        [module, name] => {
            let module = compose::entry(module)?.name;
            follow(cli, arguments, find(&procedures, name, Scope::Module)?, module).await
        }
        _ => Err(usage("name a procedure, or a module and a procedure")),
    }
}

fn find<'a>(procedures: &'a [Procedure], name: &str, scope: Scope) -> anyhow::Result<&'a Procedure> {
    let found = procedures.iter().find(|procedure| procedure.name == name);
    match found {
        Some(procedure) if procedure.scope == scope => Ok(procedure),
        Some(_) if scope == Scope::Ecosystem => {
            Err(usage(format!("{name} is about one module: `q runbook MODULE {name}`")))
        }
        Some(_) => Err(usage(format!("{name} is about the whole instance: `q runbook {name}`"))),
        None => Err(usage(format!("there is no procedure {name}; `q runbook list` shows them"))),
    }
}

fn list_all(procedures: &[Procedure], as_json: bool) {
    let rows: Vec<_> = procedures
        .iter()
        .map(|procedure| {
            let subject = match procedure.scope {
                Scope::Module => format!("MODULE {}", procedure.name),
                Scope::Ecosystem => procedure.name.clone(),
            };
            (subject, procedure.when.replace("{module}", "the module"))
        })
        .collect();
    output::show(as_json, &rows, |rows| {
        for (subject, when) in rows {
            output::line(format!("{subject:<28} {when}"));
        }
    });
}

fn render_to(procedures: &[Procedure], folder: &Path) -> anyhow::Result<ExitCode> {
    fs::create_dir_all(folder)?;
    for entry in &compose::MODULES {
        let settings = compose::variables_of(entry);
        let about = page::About { purpose: entry.purpose, settings };
        let text = page::of_module(procedures, &documented(entry), &about);
        fs::write(folder.join(format!("{}.md", entry.name)), text)?;
    }
    let first = compose::MODULES.first().context("there are modules")?;
    let ecosystem = Place { module: String::new(), ..documented(first) };
    fs::write(folder.join("ecosystem.md"), page::of_ecosystem(procedures, &ecosystem))?;
    Ok(ExitCode::SUCCESS)
}

/// Where a module is by the defaults, as the pages print it.
fn documented(entry: &compose::ModuleEntry) -> Place {
    Place {
        module: entry.name.to_owned(),
        url: format!("http://localhost:{}", entry.port),
        front_door: "http://localhost:8080".to_owned(),
        port: entry.port,
        prefix: prefix(entry.name),
        database: compose::database_of(entry.name),
        store: format!("q-data/{}.sqlite", entry.name),
        data: "q-data".to_owned(),
        config: "q-data/q.toml".to_owned(),
    }
}

fn prefix(module: &str) -> String {
    let variable = q_runtime::config::variable_name(module, "listen");
    variable.trim_end_matches("_LISTEN").to_owned()
}

/// Where the module is now, as far as it runs; by the settings otherwise.
fn actual(layout: &Layout, module: &str) -> anyhow::Result<(Place, Option<&'static str>)> {
    let entry = compose::MODULES.iter().find(|entry| entry.name == module);
    let mut place = documented(entry.or(compose::MODULES.first()).context("there are modules")?);
    module.clone_into(&mut place.module);
    place.data = layout.data.display().to_string();
    place.config = layout.config().display().to_string();
    place.store = layout.store(module).display().to_string();
    let config = compose::config(layout)?;
    let running = running::find(layout)?.unwrap_or_default();
    let listens = |section: &str| {
        compose::listen_addresses(&config).into_iter().find(|(name, _)| *name == section).map(|(_, at)| at)
    };
    let door = running.front_door.clone().or_else(|| Some(format!("http://{}", listens("front_door")?)));
    place.front_door = door.unwrap_or(place.front_door);
    let Some(entry) = entry else { return Ok((place, None)) };
    let url = running.modules.get(module).cloned();
    place.url = url.or_else(|| Some(format!("http://{}", listens(module)?))).unwrap_or(place.url);
    place.port = place.url.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or(entry.port);
    let database = config.section(module).optional("database_url").map(str::to_owned);
    let engine = if database.is_some() { "postgres" } else { "sqlite" };
    if let Some(url) = &database {
        let variables = q_db::backup::server_environment(url)?;
        let name = variables.iter().find(|(name, _)| *name == "PGDATABASE");
        place.database = name.map_or(place.database, |(_, database)| database.clone());
    }
    Ok((place, Some(engine)))
}

async fn follow(
    cli: &Cli,
    arguments: &RunbookArgs,
    procedure: &Procedure,
    module: &str,
) -> anyhow::Result<ExitCode> {
    let layout = Layout::of(&cli.data);
    let env = Env::system();
    let started_at = env.now();
    if !arguments.json {
        let (place, _) = actual(&layout, module)?;
        let variables = Variables::of(&place);
        output::line(variables.fill(&procedure.title));
        output::line(variables.fill(&procedure.when));
    }
    let mut steps: Vec<Done> = Vec::new();
    // By their titles in the source, which the steps that need them name.
    let mut taken: Vec<(&str, Verdict)> = Vec::new();
    for step in &procedure.steps {
        // Asked anew for every step: starting and restarting move the module.
        let (place, engine) = actual(&layout, module)?;
        if !step.is_for(module, engine) {
            continue;
        }
        let hindrance = hindrance(step, &taken);
        let done = take(&layout, module, arguments, step, hindrance, &Variables::of(&place)).await?;
        taken.push((&step.title, done.verdict));
        if !arguments.json {
            tell(steps.len() + 1, &done);
        }
        steps.push(done);
    }
    let record = Record {
        procedure: procedure.name.clone(),
        module: module.to_owned(),
        started_at,
        ended_at: env.now(),
        steps,
    };
    let kept = keep(&layout, &record)?;
    attach(&layout, &record, &kept).await;
    if arguments.json {
        output::line(serde_json::to_string_pretty(&record)?);
    } else {
        output::line(format!("\nrecord: {}", kept.display()));
    }
    let needs_attention = record.steps.iter().any(|done| done.verdict == Verdict::Attention);
    Ok(if needs_attention { ExitCode::from(exit::FINDINGS) } else { ExitCode::SUCCESS })
}

async fn take(
    layout: &Layout,
    module: &str,
    arguments: &RunbookArgs,
    step: &Step,
    hindrance: Option<String>,
    variables: &Variables,
) -> anyhow::Result<Done> {
    let mut done = Done {
        title: variables.fill(&step.title),
        command: String::new(),
        verdict: Verdict::Skipped,
        finding: String::new(),
        otherwise: variables.fill(&step.otherwise),
        millis: 0,
    };
    if let Action::Run(command, _) = step.action() {
        done.command = variables.fill_command(command);
    }
    if let Some(why) = hindrance {
        done.finding = why;
        return Ok(done);
    }
    let begun = tokio::time::Instant::now();
    match step.action() {
        Action::Ask(question) => {
            let question = variables.fill(question);
            (done.verdict, done.finding) = match answer(arguments, &question)? {
                Some(answer) => (Verdict::Answered, format!("{question} — {answer}")),
                None => (Verdict::Skipped, format!("nobody was there to ask: {question}")),
            };
        }
        Action::Run(_, expected) => {
            if step.changes && !may_change(arguments, &done)? {
                done.finding =
                    String::from("not done: it changes something, and nobody agreed (--yes agrees)");
            } else if step.background {
                (done.verdict, done.finding) = begin(layout, module, &done.command)?;
            } else {
                let outcome = execute(layout, module, &done.command, step.patience_seconds).await?;
                (done.verdict, done.finding) = judge(expected, &outcome);
            }
        }
    }
    done.millis = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(done)
}

fn may_change(arguments: &RunbookArgs, done: &Done) -> anyhow::Result<bool> {
    if arguments.yes {
        return Ok(true);
    }
    let question = format!("{}: run `{}`? (yes/no)", done.title, done.command);
    Ok(answer(arguments, &question)?.is_some_and(|answer| answer.starts_with(['y', 'Y'])))
}

/// What the person at the terminal says; `None` when there is nobody.
fn answer(arguments: &RunbookArgs, question: &str) -> anyhow::Result<Option<String>> {
    if arguments.json || !io::stdin().is_terminal() {
        return Ok(None);
    }
    let mut terminal = io::stderr().lock();
    write!(terminal, "{question} ")?;
    terminal.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    let answer = answer.trim();
    Ok((!answer.is_empty()).then(|| answer.to_owned()))
}

/// A shell in which `q` is this program, on this data folder.
/// The programs of PostgreSQL find the server of `module` as an operator's do on its host: by the name alone.
fn shell(layout: &Layout, module: &str, command: &str) -> anyhow::Result<Command> {
    let program = std::env::current_exe()?;
    let own = program.parent().context("the program is in a folder")?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(own.to_owned()).chain(std::env::split_paths(&path)))?;
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).env("PATH", path).env("Q_DATA", &layout.data).stdin(Stdio::null());
    let config = compose::config(layout)?;
    let is_module = compose::MODULES.iter().any(|entry| entry.name == module);
    if let Some(url) =
        is_module.then(|| config.section(module)).as_ref().and_then(|of| of.optional("database_url"))
    {
        shell.envs(q_db::backup::server_environment(url)?);
    }
    Ok(shell)
}

async fn execute(
    layout: &Layout,
    module: &str,
    command: &str,
    patience_seconds: u64,
) -> anyhow::Result<Outcome> {
    let running = shell(layout, module, command)?.kill_on_drop(true).output();
    let Ok(output) = tokio::time::timeout(Duration::from_secs(patience_seconds), running).await else {
        return Ok(Outcome::default());
    };
    let output = output.context("sh is needed to follow a procedure")?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Outcome { code: output.status.code(), said: text(output.stdout), complained: text(output.stderr) })
}

/// Starts a command that goes on after this one has ended.
fn begin(layout: &Layout, module: &str, command: &str) -> anyhow::Result<(Verdict, String)> {
    if running::find(layout)?.is_some() {
        return Ok((Verdict::Well, "the instance already runs".to_owned()));
    }
    fs::create_dir_all(folder(layout))?;
    let said = folder(layout).join("started.log");
    let log = fs::File::create(&said)?;
    let mut command = shell(layout, module, command)?;
    let child = command.stdout(log.try_clone()?).stderr(log).process_group(0).spawn()?;
    let process = child.id().map(|id| id.to_string()).unwrap_or_default();
    Ok((Verdict::Well, format!("started as process {process}; it says more in {}", said.display())))
}

fn folder(layout: &Layout) -> PathBuf {
    layout.data.join("runbooks")
}

fn keep(layout: &Layout, record: &Record) -> anyhow::Result<PathBuf> {
    let folder = folder(layout);
    fs::create_dir_all(&folder)?;
    let stamp = record.started_at.to_string().replace([':', '.'], "-");
    let subject = [record.module.as_str(), record.procedure.as_str()].join(" ");
    let path = folder.join(format!("{stamp}-{}.json", subject.trim().replace(' ', "-")));
    write_private(&path, &serde_json::to_vec_pretty(record)?)?;
    Ok(path)
}

/// Writes on every open incident that the runbook was followed, and what needs attention.
async fn attach(layout: &Layout, record: &Record, kept: &Path) {
    let attention: Vec<&str> = record
        .steps
        .iter()
        .filter(|done| done.verdict == Verdict::Attention)
        .map(|done| done.title.as_str())
        .collect();
    let subject = [record.module.as_str(), record.procedure.as_str()].join(" ");
    let found = if attention.is_empty() {
        "nothing needs attention".to_owned()
    } else {
        format!("needs attention: {}", attention.join("; "))
    };
    let text = format!("runbook {}: {} steps, {found}", subject.trim(), record.steps.len());
    let file = kept.file_name().map(|name| name.to_string_lossy().into_owned());
    let details = serde_json::json!({"record": file, "steps": record.steps.len()});
    let noted = timeline::note_if_possible(layout, EntryKind::Runbook, &text, &details).await;
    for incident in noted {
        output::progress(format!("noted on {incident}"));
    }
}

fn tell(number: usize, done: &Done) {
    let mark = match done.verdict {
        Verdict::Well => "ok",
        Verdict::Attention => "ATTENTION",
        Verdict::Answered => "answered",
        Verdict::Skipped => "skipped",
    };
    output::line(format!("\n{number}. {} [{mark}, {} ms]", done.title, done.millis));
    if !done.command.is_empty() {
        output::line(format!("   $ {}", done.command));
    }
    for line in done.finding.lines() {
        output::line(format!("   {line}"));
    }
    if done.verdict == Verdict::Attention && !done.otherwise.is_empty() {
        output::line(format!("   → {}", done.otherwise));
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, error::ErrorKind};

    use super::*;

    /// The invocations of `q` in a command line or, between backticks, in a sentence.
    fn invocations(text: &str) -> Vec<Vec<String>> {
        // Another program inside a word, as in `--from "$(date …)"`, says an instant.
        let mut text = text.to_owned();
        while let Some((begin, length)) = text.find("$(date").and_then(|at| Some((at, text[at..].find(')')?)))
        {
            text.replace_range(begin..=begin + length, "2026-11-25T09:00:00Z");
        }
        let parts = text.split(['\n', ';', '|', '`']).flat_map(|part| part.split("&&")).flat_map(|part| {
            // A command of ours inside another: `curl $(q auth headers …) …`.
            part.split("$(").map(|part| part.split(") ").next().unwrap_or_default())
        });
        let words = |part: &str| shell_words(part.trim().trim_start_matches("do ").trim());
        parts.map(words).filter(|words| words.first().is_some_and(|word| word == "q")).collect()
    }

    /// Words as a shell would make them of plain and quoted text.
    fn shell_words(text: &str) -> Vec<String> {
        let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
        for letter in text.chars() {
            match (quote, letter) {
                (None, '\'' | '"') => quote = Some(letter),
                (Some(open), _) if open == letter => quote = None,
                (None, ' ') => words.extend((!word.is_empty()).then(|| std::mem::take(&mut word))),
                _ => word.push(letter),
            }
        }
        words.extend((!word.is_empty()).then_some(word));
        words
    }

    #[test]
    fn every_command_a_runbook_names_exists() {
        let entry = compose::MODULES.iter().find(|entry| entry.name == "qwallet").unwrap();
        let variables = Variables::of(&documented(entry));
        let mut count = 0;
        for procedure in q_runbooks::all().unwrap() {
            for step in &procedure.steps {
                let action = match step.action() {
                    Action::Run(command, _) => command,
                    Action::Ask(question) => question,
                };
                for text in [action, &step.otherwise, &step.why, &step.title] {
                    for words in invocations(&variables.fill(text)) {
                        count += 1;
                        let parsed = Cli::command().try_get_matches_from(&words);
                        let refused = parsed.err().filter(|error| {
                            // `q stop --help` would be an answer, not a mistake.
                            !matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion)
                        });
                        assert!(refused.is_none(), "{}: {words:?}: {}", procedure.name, refused.unwrap());
                    }
                }
            }
        }
        assert!(count > 80, "{count} commands were found");
    }
}
