//! One file per verb: what the user asked, asked of the instance, and said back.
//!
//! **Invariant:** no rule of the product is decided here; a verb asks the modules like any other client.

mod auth;
mod call;
mod change;
mod config;
mod demo;
mod doctor;
mod grant;
mod id;
mod init;
mod issue;
mod openapi;
mod serve;
mod stop;
mod ucan;
mod verify;
mod wallet;

use std::process::ExitCode;

use crate::{
    cli::{Cli, Verb},
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
        Verb::Stop => stop::run(&cli).await,
        Verb::Doctor(arguments) => doctor::run(&cli, arguments).await,
        Verb::Config(arguments) => config::run(&cli, arguments),
        Verb::Verify(arguments) => verify::run(&cli, arguments).await,
        Verb::Id(verb) => id::run(&cli, verb).await,
        Verb::Auth(verb) => auth::run(&cli, verb).await,
        Verb::Wallet(verb) => wallet::run(&cli, verb).await,
        Verb::Grant(verb) => grant::run(&cli, verb).await,
        Verb::Ucan(arguments) => ucan::run(arguments),
        Verb::Call(arguments) => call::run(&cli, arguments).await,
        Verb::Openapi(arguments) => openapi::run(&cli, arguments).await,
    }
}

/// Whether an identity of the keyring acts, and needs the keys that hold now.
const fn acts(verb: &Verb) -> bool {
    match verb {
        Verb::Verify(_) | Verb::Id(_) | Verb::Auth(_) | Verb::Wallet(_) | Verb::Grant(_) | Verb::Call(_) => {
            true
        }
        Verb::Init(_)
        | Verb::Up(_)
        | Verb::Serve(_)
        | Verb::Stop
        | Verb::Doctor(_)
        | Verb::Config(_)
        | Verb::Ucan(_)
        | Verb::Openapi(_) => false,
    }
}
