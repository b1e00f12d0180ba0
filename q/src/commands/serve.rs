//! `q up` and `q serve`: start, tell where, serve until told to stop.

use std::{
    net::{SocketAddr, TcpListener},
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use q_runtime::Config;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
    task::JoinHandle,
};

use crate::{
    cli::{Cli, ServeArgs, UpArgs},
    commands::{demo, init, mode, preflight},
    compose::{self, Assembled, Options},
    control::{Control, Restarted},
    handover::{self, Heir, Outcome},
    layout::Layout,
    output::{self, exit, with_code},
    releases,
    running::{self, Note},
    settings,
};

/// Starts every module, after making the instance if there is none.
pub async fn up(cli: &Cli, arguments: &UpArgs) -> anyhow::Result<ExitCode> {
    let layout = Layout::of(&cli.data);
    let options = Options { modules: Vec::new(), is_online: true };
    if let Some(heir) = Heir::of_this_process()? {
        return take_over(&layout, options, heir).await;
    }
    if let Some(other) = running::find(&layout)? {
        return Err(already(&layout, "an instance", &other.pids()));
    }
    if !init::is_done(&layout) {
        refuse_taken_ports(&compose::config(&layout)?)?;
        init::make(&layout, arguments.demo).await?;
    }
    begin(&layout, options, arguments.demo).await
}

/// Starts some modules; the others may run in other processes of the same data folder, or wherever the settings say.
pub async fn some(cli: &Cli, arguments: &ServeArgs) -> anyhow::Result<ExitCode> {
    let layout = Layout::of(&cli.data);
    let modules = arguments
        .modules
        .iter()
        .map(|name| Ok(compose::entry(name)?.name))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let options = Options { modules, is_online: true };
    if let Some(heir) = Heir::of_this_process()? {
        return take_over(&layout, options, heir).await;
    }
    let others = running::find(&layout)?.unwrap_or_default();
    let config = compose::config(&layout)?;
    for module in &options.modules {
        if let Some(pid) = others.process_of(module)
            && !compose::may_have_replicas(&layout, &config, module)?
        {
            return Err(already(&layout, module, &pid.to_string()));
        }
    }
    begin(&layout, options, arguments.demo).await
}

/// Starts the first process of its kind.
async fn begin(layout: &Layout, options: Options, is_demo: bool) -> anyhow::Result<ExitCode> {
    settings::refuse_wrong(&compose::config(layout)?)?;
    init::complete(layout).await?;
    refuse_demo(layout, is_demo)?;
    let assembled = compose::assemble(layout, &options).await?;
    tell(&assembled);
    if is_demo
        && assembled.note.modules.contains_key("qwallet")
        && let Err(error) = demo::play(layout, &assembled.running(layout)?).await
    {
        assembled.house.stop().await;
        return Err(error.context("the demonstration did not come off"));
    }
    assembled.note.leave(layout)?;
    output::announce("serving until stopped (Ctrl-C, or `q stop`)");
    serve(layout, options, assembled).await
}

/// Goes on in the place of the process that started this one.
async fn take_over(layout: &Layout, options: Options, mut heir: Heir) -> anyhow::Result<ExitCode> {
    let taken = async {
        preflight::check(layout, &options, heir.sockets()).await?;
        let inherited = heir.ready().await?;
        let assembled = compose::assemble_on(layout, &options, inherited).await?;
        assembled.note.leave(layout)?;
        anyhow::Ok(assembled)
    };
    match taken.await {
        Ok(assembled) => {
            heir.serving()?;
            serve(layout, options, assembled).await
        }
        Err(error) => {
            heir.failed(&error);
            Err(error)
        }
    }
}

/// A start that would be refused makes no instance.
fn refuse_taken_ports(config: &Config) -> anyhow::Result<()> {
    let elsewhere = compose::remote_urls(config);
    for (section, _) in compose::listen_addresses(config) {
        if elsewhere.contains_key(section) {
            continue;
        }
        let expected = "an address with a port, such as 127.0.0.1:3000";
        let parsed: SocketAddr = config
            .section(section)
            .parse("listen", expected)
            .map_err(|error| with_code(exit::CANNOT_START, error))?;
        if let Err(error) = TcpListener::bind(parsed) {
            let what = format!("{}; nothing was made yet", compose::cannot(section, parsed, &error));
            return Err(with_code(exit::CANNOT_START, what));
        }
    }
    Ok(())
}

fn already(layout: &Layout, what: &str, pid: &str) -> anyhow::Error {
    let data = layout.data.display();
    with_code(exit::CANNOT_START, format!("{what} already runs on {data} in process {pid}; `q stop` ends it"))
}

fn refuse_demo(layout: &Layout, is_wanted: bool) -> anyhow::Result<()> {
    if !is_wanted || layout.read_instance()?.is_demo {
        return Ok(());
    }
    let data = layout.data.display();
    Err(with_code(
        exit::CANNOT_START,
        format!("{data} holds an instance that is not for demonstration; choose another folder with --data"),
    ))
}

fn tell(assembled: &Assembled) {
    if let Some(door) = &assembled.note.front_door {
        output::announce(format!("front door   {door}   (known as {})", assembled.note.origin));
    }
    for (name, url) in &assembled.note.modules {
        output::announce(format!("{name:<12} {url}"));
    }
    // A mode outlives the process: whoever starts it should not learn from refused requests.
    for beam in assembled.house.beams() {
        let name = beam.module.name();
        let mode = mode::shown(&beam.module.db().mode());
        if let Some(next) = mode::next(name, &mode) {
            output::announce(format!("{name:<12} is {}", mode::told(&mode)));
            output::announce(format!("{:<12} next: {next}", ""));
        }
    }
}

/// Two signals within this time are one: a service manager signals each process of a service by itself.
const SAME_SIGNAL: Duration = Duration::from_secs(1);

/// Serves until a signal or an order ends this process.
async fn serve(layout: &Layout, options: Options, mut assembled: Assembled) -> anyhow::Result<ExitCode> {
    let program = std::env::current_exe()?;
    let (going_on, ends) = oneshot::channel();
    let mut going_on = Some(going_on);
    tokio::spawn(log_start(assembled.note.clone(), releases::note_start(layout, &program), ends));
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut control = Control::open(layout)?;
    loop {
        let asked = tokio::select! {
            _ = interrupt.recv() => Err("SIGINT"),
            _ = terminate.recv() => Err("SIGTERM"),
            asked = control.next() => Ok(asked),
        };
        drop(going_on.take());
        let (note, begun) = (assembled.note.clone(), Instant::now());
        let asked = match asked {
            Ok(asked) => asked,
            Err(signal) => {
                output::progress("stopping: finishing open requests");
                tokio::select! {
                    () = assembled.house.stop() => log_stop(signal, begun),
                    () = once_more(&mut interrupt, &mut terminate) => {
                        output::progress("stopped at once on the second signal");
                        log_stop("a second signal", begun);
                    }
                }
                note.take_away(layout);
                return Ok(ExitCode::SUCCESS);
            }
        };
        let binary = asked.restart.binary.clone().unwrap_or_else(|| program.clone());
        if !asked.restart.is_rolling {
            assembled.house.stop().await;
            log_stop("a restart was asked for", begun);
            note.take_away(layout);
            drop(control);
            asked.answer(&Restarted::Stopped).await;
            // In this process, so that whoever started it still has it.
            q_trace::finish().await;
            q_runtime::log::flush();
            let mut again = Command::new(&binary);
            let failed = again.args(std::env::args_os().skip(1)).env_remove(handover::HANDOVER).exec();
            let what =
                format!("{} cannot be started: {failed}; `q up` starts the instance", binary.display());
            return Err(with_code(exit::CANNOT_START, what));
        }
        match handover::give(layout, assembled, &options.modules, &binary).await {
            Outcome::Given(given) => {
                log_stop("another process goes on in its place", begun);
                note.take_away(layout);
                drop(control);
                asked.answer(&given.into()).await;
                let has_stopped = terminate.recv().now_or_never().or(interrupt.recv().now_or_never());
                if has_stopped.is_some() {
                    running::ask_to_stop(given.pid)?;
                }
                return handover::leave();
            }
            Outcome::Kept(kept, error) => {
                tracing::warn!("the restart did not come off, this process serves on: {error:#}");
                kept.note.leave(layout)?;
                assembled = *kept;
                asked.answer(&Restarted::Kept { why: format!("{error:#}") }).await;
            }
            Outcome::Lost(error) => {
                log_stop("a hand-over failed", begun);
                note.take_away(layout);
                drop(control);
                let why = format!("{error:#}; nothing runs now, `q up` starts the instance");
                asked.answer(&Restarted::Lost { why }).await;
                return Err(error);
            }
        }
    }
}

/// One line that says what runs, for whoever reads the log later.
async fn log_start(note: Note, release: JoinHandle<Option<u32>>, ends: oneshot::Receiver<()>) {
    let modules = note.modules.keys().map(String::as_str).collect::<Vec<_>>().join(" ");
    let addresses = note.modules.iter().map(|(module, url)| format!("{module}={url}"));
    let door = note.front_door.iter().map(|door| format!("front_door={door}"));
    let addresses = addresses.chain(door).collect::<Vec<_>>().join(" ");
    // Not known when this start could not be kept for a rollback, or ended before it was.
    let release = tokio::select! {
        release = release => release.ok().flatten(),
        _ = ends => None,
    };
    let (version, pid) = (env!("CARGO_PKG_VERSION"), std::process::id());
    tracing::info!(version, release, pid, modules, addresses, origin = %note.origin, "serving");
}

/// One line that says why this process serves no more, and how long it took to finish what was open.
fn log_stop(why: &str, begun: Instant) {
    let drained_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::info!(why, drained_ms, "stopped serving");
}

/// Waits for a signal that is not the first one once more.
async fn once_more(interrupt: &mut Signal, terminate: &mut Signal) {
    let first = Instant::now();
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if first.elapsed() > SAME_SIGNAL {
            return;
        }
    }
}
