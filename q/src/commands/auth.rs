//! `q auth`: credentials for other programs.

use std::{path::Path, process::ExitCode};

use q_auth::prove::dpop_proof;
use serde_json::json;

use crate::{
    cli::{AuthVerb, Cli},
    commands::second_key,
    output,
    session::Session,
};

pub async fn run(cli: &Cli, verb: &AuthVerb) -> anyhow::Result<ExitCode> {
    match verb {
        AuthVerb::Token { acting } => {
            let token = Session::open(&cli.data, &acting.name)?.token(false).await?;
            output::show(acting.json, &json!({"accessToken": token}), |_| output::line(&token));
        }
        AuthVerb::SecondKey(verb) => second_key::run(cli, verb).await?,
        AuthVerb::StepUp { file, acting } => second_key::step_up(cli, file.as_deref(), acting).await?,
        AuthVerb::Headers { method, url, switch_to, acting } => {
            let session = Session::open(&cli.data, &acting.name)?;
            let token = match switch_to {
                Some(who) => session.switched(&session.identity(who)?, true).await?.access_token,
                None => session.token(true).await?,
            };
            // The proof covers scheme, authority and path only (RFC 9449 section 4.2).
            let target = url.split(['?', '#']).next().unwrap_or_default();
            let method = method.to_uppercase();
            let proof = dpop_proof(&session.keyring.current, &method, target, Some(&token), &session.env);
            let headers = json!({"Authorization": format!("DPoP {token}"), "DPoP": proof});
            // The shell splits $(…) at blanks and a header holds one, so curl reads the headers from a file.
            let text = format!("Authorization: DPoP {token}\nDPoP: {proof}\n");
            if acting.json {
                output::show(true, &headers, |_| ());
            } else {
                refuse_split(&session.layout.keys)?;
                let file = session.layout.keep_headers(&session.fresh_key(), &text)?;
                output::line(format!("-X {method} -H @{}", file.display()));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Quotes in the outcome of $(…) are plain characters to a shell, so no path could be written that it does not split.
fn refuse_split(keys: &Path) -> anyhow::Result<()> {
    let text = keys.display().to_string();
    if text.contains(|letter: char| letter.is_whitespace() || "*?[".contains(letter)) {
        anyhow::bail!(
            "a shell would split the path of the key folder, {text:?}; use --json and hand curl each header with -H, or a \
             data folder without blanks and * ? ["
        );
    }
    Ok(())
}
