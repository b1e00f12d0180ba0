//! `q up` and `q serve`: start, tell where, serve until told to stop.

use std::process::ExitCode;

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
    refuse_second(&layout)?;
    if !init::is_done(&layout) {
        init::make(&layout, arguments.demo).await?;
    }
    let instance = layout.read_instance()?;
    if arguments.demo && !instance.is_demo {
        let data = layout.data.display();
        return Err(with_code(
            exit::CANNOT_START,
            format!(
                "{data} holds an instance that is not for demonstration; choose another folder with --data"
            ),
        ));
    }
    let assembled = compose::assemble(&layout, &Options { modules: Vec::new(), is_online: true }).await?;
    tell(&assembled);
    if arguments.demo
        && let Err(error) = demo::play(&layout, &assembled.running).await
    {
        assembled.house.stop().await;
        return Err(error.context("the demonstration did not come off"));
    }
    serve(&layout, assembled).await
}

/// Starts some modules.
pub async fn some(cli: &Cli, arguments: &ServeArgs) -> anyhow::Result<ExitCode> {
    let layout = Layout::of(&cli.data);
    refuse_second(&layout)?;
    let modules = arguments
        .modules
        .iter()
        .map(|name| Ok(compose::entry(name)?.name))
        .collect::<anyhow::Result<Vec<_>>>()
        .map_err(|error| with_code(exit::CANNOT_START, error))?;
    let assembled = compose::assemble(&layout, &Options { modules, is_online: true }).await?;
    tell(&assembled);
    serve(&layout, assembled).await
}

fn refuse_second(layout: &Layout) -> anyhow::Result<()> {
    match running::find(layout)? {
        None => Ok(()),
        Some(other) => Err(with_code(
            exit::CANNOT_START,
            format!("process {} already runs on {}; `q stop` ends it", other.pid, layout.data.display()),
        )),
    }
}

fn tell(assembled: &Assembled) {
    if let Some(door) = &assembled.running.front_door {
        output::line(format!("front door   {door}   (known as {})", assembled.running.origin));
    }
    for (name, url) in &assembled.running.modules {
        output::line(format!("{name:<12} {url}"));
    }
}

/// Leaves the note for the other verbs, waits for the signal to stop, then finishes what is open.
async fn serve(layout: &Layout, assembled: Assembled) -> anyhow::Result<ExitCode> {
    running::note(layout, &assembled.running)?;
    output::line("serving until stopped (Ctrl-C, or `q stop`)");
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    output::progress("stopping: finishing open requests");
    tokio::select! {
        () = assembled.house.stop() => {}
        _ = interrupt.recv() => output::progress("stopped at once on the second signal"),
        _ = terminate.recv() => output::progress("stopped at once on the second signal"),
    }
    running::forget(layout);
    Ok(ExitCode::SUCCESS)
}
