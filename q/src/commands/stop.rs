//! `q stop`: asks the running instance to finish and waits until it has.

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
    running::ask_to_stop(&instance)?;
    output::progress(format!("asked process {} to stop", instance.pid));
    let gone = async {
        while running::is_alive(instance.pid) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, gone).await.is_err() {
        return Err(with_code(
            exit::FAILED,
            format!("process {} is still finishing requests; a second `q stop` ends it now", instance.pid),
        ));
    }
    output::line("stopped");
    Ok(ExitCode::SUCCESS)
}
