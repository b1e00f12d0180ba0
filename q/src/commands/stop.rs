//! `q stop`: asks every process of the running instance to finish and waits until all have.

use std::{process::ExitCode, time::Duration};

use crate::{
    cli::Cli,
    layout::Layout,
    output::{self, exit, with_code},
    running,
};

/// A little longer than the instance gives its open requests.
const PATIENCE: Duration = Duration::from_secs(40);

pub async fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    let layout = Layout::of(&cli.data);
    let Some(instance) = running::find(&layout)? else {
        output::line("not running");
        return Ok(ExitCode::SUCCESS);
    };
    for (pid, modules) in &instance.processes {
        running::ask_to_stop(*pid)?;
        output::progress(format!("asked process {pid} to stop ({})", modules.join(", ")));
    }
    let gone = async {
        while instance.processes.keys().any(|pid| running::is_alive(*pid)) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, gone).await.is_err() {
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
