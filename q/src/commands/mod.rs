//! One file per verb: what the user asked, asked of the instance, and said back.
//!
//! **Invariant:** no rule of the product is decided here; a verb asks the modules like any other client.

pub mod alerts;
mod auth;
pub mod backup;
mod call;
mod change;
mod config;
mod demo;
mod doctor;
pub mod drill;
pub mod evidence;
pub mod grant;
mod id;
pub mod incident;
mod init;
pub mod isolate;
mod issue;
pub mod logs;
pub mod maintenance;
pub mod mode;
mod openapi;
pub mod preflight;
pub mod receipt;
pub mod report;
pub mod restart;
pub mod rollback;
pub mod runbook;
pub mod schedule;
pub mod second_key;
mod serve;
pub mod slo;
pub mod smoke;
pub mod status;
pub mod stop;
pub mod sub;
pub mod timeline;
mod ucan;
mod verify;
pub mod wallet;

use std::process::ExitCode;

use crate::{
    cli::{Cli, Verb},
    handover,
    layout::Layout,
};

/// Does what the command line asks.
pub async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    if acts(&cli.verb) {
        change::finish_all(&Layout::of(&cli.data)).await?;
    }
    match &cli.verb {
        Verb::Init(arguments) => init::run(&cli, arguments).await,
        Verb::Up(arguments) => serve::up(&cli, arguments).await,
        Verb::Serve(arguments) => serve::some(&cli, arguments).await,
        Verb::Stop(arguments) => stop::run(&cli, arguments).await,
        Verb::Restart(arguments) => restart::run(&cli, arguments).await,
        Verb::Rollback(arguments) => rollback::run(&cli, arguments).await,
        Verb::Releases(arguments) => Ok(rollback::list(&cli, arguments)),
        Verb::Smoke(arguments) => smoke::run(&cli, arguments).await,
        Verb::Attend => handover::attend().await,
        Verb::Doctor(arguments) => doctor::run(&cli, arguments).await,
        Verb::Config(arguments) => config::run(&cli, arguments),
        Verb::Verify(arguments) => verify::run(&cli, arguments).await,
        Verb::Mode(arguments) => mode::run(&cli, arguments).await,
        Verb::Status(arguments) => status::run(&cli, arguments).await,
        Verb::Logs(arguments) => logs::run(&cli, arguments).await,
        Verb::Backup(verb) => backup::run(&cli, verb).await,
        Verb::Drill(verb) => drill::run(&cli, verb).await,
        Verb::Id(verb) => id::run(&cli, verb).await,
        Verb::Auth(verb) => auth::run(&cli, verb).await,
        Verb::Wallet(verb) => wallet::run(&cli, verb).await,
        Verb::Grant(verb) => grant::run(&cli, verb).await,
        Verb::Receipt(verb) => receipt::run(&cli, verb).await,
        Verb::Ucan(arguments) => ucan::run(arguments),
        Verb::Call(arguments) => call::run(&cli, arguments).await,
        Verb::Runbook(arguments) => runbook::run(&cli, arguments).await,
        Verb::Openapi(arguments) => openapi::run(&cli, arguments).await,
        Verb::Alerts(arguments) => alerts::run(&cli, arguments).await,
        Verb::Slo(arguments) => slo::run(&cli, arguments).await,
        Verb::Incident(arguments) => incident::run(&cli, arguments).await,
        Verb::Maintenance(arguments) => maintenance::run(&cli, arguments).await,
        Verb::Report(arguments) => report::run(&cli, arguments).await,
        Verb::Isolate(arguments) => isolate::run(&cli, arguments).await,
        Verb::Evidence(arguments) => evidence::run(&cli, arguments).await,
    }
}

/// Whether an identity of the keyring acts, and needs the keys that hold now.
const fn acts(verb: &Verb) -> bool {
    match verb {
        Verb::Alerts(_)
        | Verb::Slo(_)
        | Verb::Incident(_)
        | Verb::Maintenance(_)
        | Verb::Report(_)
        | Verb::Isolate(_)
        | Verb::Evidence(_)
        | Verb::Verify(_)
        | Verb::Mode(_)
        | Verb::Id(_)
        | Verb::Auth(_)
        | Verb::Wallet(_)
        | Verb::Grant(_)
        | Verb::Call(_) => true,
        Verb::Receipt(verb) => matches!(verb, receipt::ReceiptVerb::Get(_)),
        Verb::Init(_)
        | Verb::Up(_)
        | Verb::Serve(_)
        | Verb::Stop(_)
        | Verb::Backup(_)
        | Verb::Drill(_)
        | Verb::Restart(_)
        | Verb::Attend
        | Verb::Rollback(_)
        | Verb::Releases(_)
        | Verb::Smoke(_)
        | Verb::Doctor(_)
        | Verb::Logs(_)
        | Verb::Status(_)
        | Verb::Config(_)
        | Verb::Ucan(_)
        | Verb::Runbook(_)
        | Verb::Openapi(_) => false,
    }
}
