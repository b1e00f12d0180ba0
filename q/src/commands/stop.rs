//! `q stop`: asks every process of the running instance to finish and waits until all have.

use std::{process::ExitCode, time::Duration};

use crate::{
    cli::Cli,
    compose,
    layout::Layout,
    output::{self, exit, with_code},
    running,
};

/// A little longer than the instance gives its open requests and its deliveries.
const PATIENCE: Duration = Duration::from_secs(45);

/// `q stop`.
#[derive(Debug, clap::Args)]
pub struct StopArgs {
    /// Stop the processes of these modules only; all processes when none is given.
    #[arg(value_name = "MODULE")]
    pub modules: Vec<String>,
}

pub async fn run(cli: &Cli, arguments: &StopArgs) -> anyhow::Result<ExitCode> {
    let layout = Layout::of(&cli.data);
    for module in &arguments.modules {
        compose::entry(module)?;
    }
    let mut instance = running::find(&layout)?.unwrap_or_default();
    instance.processes.retain(|_, modules| is_meant(modules, &arguments.modules));
    if instance.processes.is_empty() {
        output::line("not running");
        return Ok(ExitCode::SUCCESS);
    }
    for (pid, modules) in &instance.processes {
        let others = modules.iter().filter(|module| !arguments.modules.contains(module)).cloned();
        let others: Vec<String> = others.collect();
        if !arguments.modules.is_empty() && !others.is_empty() {
            let others = others.join(", ");
            let what = format!("process {pid} also runs {others}: name them as well, or `q stop` everything");
            return Err(with_code(exit::USAGE, what));
        }
    }
    let notice: u64 =
        compose::config(&layout)?.section("stop").parse("notice_seconds", "a number of seconds")?;
    let patience = PATIENCE + Duration::from_secs(notice);
    for (pid, modules) in &instance.processes {
        running::ask_to_stop(*pid)?;
        output::progress(format!("asked process {pid} to stop ({})", modules.join(", ")));
    }
    let gone = async {
        while instance.processes.keys().any(|pid| running::is_alive(*pid)) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    if tokio::time::timeout(patience, gone).await.is_err() {
        let left: Vec<_> =
            instance.processes.keys().filter(|pid| running::is_alive(**pid)).map(u32::to_string).collect();
        return Err(with_code(
            exit::FAILED,
            format!(
                "process {} is still finishing requests; a second `q stop` ends it now",
                left.join(" and ")
            ),
        ));
    }
    output::line("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Whether a process of `modules` is to stop.
fn is_meant(modules: &[String], wanted: &[String]) -> bool {
    wanted.is_empty() || modules.iter().any(|module| wanted.contains(module))
}
