//! `q`: the whole ecosystem as one program. Dispatches the verb and turns its outcome into an exit code.
//!
//! **Invariant:** only `compose/` names the modules that make an instance; only `output.rs` talks to the terminal.

mod cli;
mod commands;
mod compose;
mod knowledge;
mod layout;
mod output;
mod running;
mod session;
mod settings;
mod stores;
mod warnings;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    q_runtime::log::start(&cli.log, cli.log_json);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return output::fail(&error.into()),
    };
    match runtime.block_on(commands::run(cli)) {
        Ok(code) => code,
        Err(error) => output::fail(&error),
    }
}
