//! `q`: the whole ecosystem as one program. Dispatches the verb and turns its outcome into an exit code.
//!
//! **Invariant:** only `compose/` names the modules that make an instance; only `output.rs` talks to the terminal.

mod advice;
mod backups;
mod cli;
mod commands;
mod compose;
mod control;
mod handover;
mod holder;
mod knowledge;
mod layout;
mod output;
mod releases;
mod restored;
mod running;
mod session;
mod settings;
mod stores;
mod warnings;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::Cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    keep_pages_small();
    let as_json = output::is_json_asked(std::env::args_os());
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return output::fail_arguments(&error, as_json),
    };
    q_runtime::log::start(&cli.log, cli.log_json);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return output::fail(&error.into(), as_json, None),
    };
    let keyring = layout::Layout::of(&cli.data);
    let ended = runtime.block_on(async {
        let ended = commands::run(cli).await;
        q_trace::finish().await;
        ended
    });
    let code = ended.unwrap_or_else(|error| output::fail(&error, as_json, Some(&keyring)));
    q_runtime::log::flush();
    code
}

/// Has the system give memory in pages of 4 KiB, before there is a thread.
///
/// The allocator asks for pages of 2 MiB. An instance that idles would then hold 60 MiB of which it uses none, and
/// payments are no faster for it (bench/README.md). Where the system does not know the setting it gives small ones anyway.
fn keep_pages_small() {
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}
