//! `q call`: any endpoint by method and path.

use std::process::ExitCode;

use anyhow::Context as _;
use bytes::Bytes;
use q_contract::{CallError, Problem};

use crate::{
    cli::{CallArgs, Cli},
    output::{self, exit, usage},
    session::Session,
};

pub async fn run(cli: &Cli, arguments: &CallArgs) -> anyhow::Result<ExitCode> {
    let session = Session::open(&cli.data, &arguments.acting.name)?;
    let client = if arguments.anonymous {
        session.anonymous(&arguments.module)?
    } else {
        session.client(&arguments.module)?
    };
    let method = arguments.method.to_uppercase();
    let client = if method == "GET" {
        client
    } else {
        client.with_key(arguments.idempotency_key.clone().unwrap_or_else(|| session.fresh_key()))
    };
    if !arguments.path.starts_with('/') {
        return Err(usage("the path begins with /, as in /health"));
    }
    let body = Bytes::from(arguments.body.clone().unwrap_or_default());
    let answer = client.send(&method, &arguments.path, body, "application/json").await?;
    if arguments.acting.json && !answer.status().is_success() {
        return Err(refusal(answer.status().as_u16(), answer.body()));
    }
    let text = std::str::from_utf8(answer.body()).context("the answer is not text")?;
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(value) => output::line(serde_json::to_string_pretty(&value)?),
        Err(_) => output::line(text.trim_end()),
    }
    if answer.status().is_success() {
        return Ok(ExitCode::SUCCESS);
    }
    output::progress(format!("status {}", answer.status()));
    Ok(ExitCode::from(exit::REFUSED))
}

/// What an answer refuses, for whoever wants refusals in one place.
fn refusal(status: u16, body: &[u8]) -> anyhow::Error {
    if let Ok(problem) = serde_json::from_slice::<Problem>(body) {
        return CallError::Problem(problem).into();
    }
    let said: String = String::from_utf8_lossy(body).chars().take(SAID_MAX).collect();
    output::with_code(exit::REFUSED, format!("status {status}, and no problem but: {}", said.trim()))
}

/// How much is told of an answer that is no problem, such as that of a proxy, in characters.
const SAID_MAX: usize = 500;
