//! `q up` and `q serve`: start, tell where, serve until told to stop.

use std::{
    net::{SocketAddr, TcpListener},
    process::ExitCode,
};

use q_runtime::Config;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    cli::{Cli, ServeArgs, UpArgs},
    commands::{demo, init},
    compose::{self, Assembled, Options},
    layout::Layout,
    output::{self, exit, with_code},
    running,
};

/// Starts every module, after making the instance if there is none.
pub async fn up(cli: &Cli, arguments: &UpArgs) -> anyhow::Result<ExitCode> {
    let layout = Layout::of(&cli.data);
    if let Some(other) = running::find(&layout)? {
        return Err(already(&layout, "an instance", &other.pids()));
    }
    if !init::is_done(&layout) {
        refuse_taken_ports(&compose::config(&layout)?)?;
        init::make(&layout, arguments.demo).await?;
    }
    init::complete(&layout).await?;
    refuse_demo(&layout, arguments.demo)?;
    let assembled = compose::assemble(&layout, &Options { modules: Vec::new(), is_online: true }).await?;
    tell(&assembled);
    if arguments.demo
        && let Err(error) = demo::play(&layout, &assembled.running(&layout)?).await
    {
        assembled.house.stop().await;
        return Err(error.context("the demonstration did not come off"));
    }
    serve(&layout, assembled).await
}

/// Starts some modules; the others may run in other processes of the same data folder, or wherever the settings say.
pub async fn some(cli: &Cli, arguments: &ServeArgs) -> anyhow::Result<ExitCode> {
    let layout = Layout::of(&cli.data);
    let modules = arguments
        .modules
        .iter()
        .map(|name| Ok(compose::entry(name)?.name))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let others = running::find(&layout)?.unwrap_or_default();
    for module in &modules {
        if let Some(pid) = others.process_of(module) {
            return Err(already(&layout, module, &pid.to_string()));
        }
    }
    init::complete(&layout).await?;
    refuse_demo(&layout, arguments.demo)?;
    let assembled = compose::assemble(&layout, &Options { modules, is_online: true }).await?;
    tell(&assembled);
    if arguments.demo
        && assembled.note.modules.contains_key("qwallet")
        && let Err(error) = demo::play(&layout, &assembled.running(&layout)?).await
    {
        assembled.house.stop().await;
        return Err(error.context("the demonstration did not come off"));
    }
    serve(&layout, assembled).await
}

/// A start that would be refused makes no instance.
fn refuse_taken_ports(config: &Config) -> anyhow::Result<()> {
    let elsewhere = compose::remote_urls(config);
    for (section, address) in compose::listen_addresses(config) {
        if elsewhere.contains_key(section) {
            continue;
        }
        let expected = "an address with a port, such as 127.0.0.1:3000";
        let parsed: SocketAddr = config
            .section(section)
            .parse("listen", expected)
            .map_err(|error| with_code(exit::CANNOT_START, error))?;
        if let Err(error) = TcpListener::bind(parsed) {
            let variable = q_runtime::config::variable_name(section, "listen");
            let what = format!(
                "{section} cannot listen on {address}: {error}; stop what uses the port, or set {variable}; nothing was \
                 made yet"
            );
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
        output::line(format!("front door   {door}   (known as {})", assembled.note.origin));
    }
    for (name, url) in &assembled.note.modules {
        output::line(format!("{name:<12} {url}"));
    }
}

/// Leaves the note for the other verbs, waits for the signal to stop, then finishes what is open.
async fn serve(layout: &Layout, assembled: Assembled) -> anyhow::Result<ExitCode> {
    assembled.note.leave(layout)?;
    output::line("serving until stopped (Ctrl-C, or `q stop`)");
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    output::progress("stopping: finishing open requests");
    let note = assembled.note;
    tokio::select! {
        () = assembled.house.stop() => {}
        _ = interrupt.recv() => output::progress("stopped at once on the second signal"),
        _ = terminate.recv() => output::progress("stopped at once on the second signal"),
    }
    note.take_away(layout);
    Ok(ExitCode::SUCCESS)
}
