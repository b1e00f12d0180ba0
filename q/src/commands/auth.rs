//! `q auth`: credentials for other programs.

use std::process::ExitCode;

use q_auth::prove::dpop_proof;
use serde_json::json;

use crate::{
    cli::{AuthVerb, Cli},
    layout::write_private,
    output,
    session::Session,
};

pub async fn run(cli: &Cli, verb: &AuthVerb) -> anyhow::Result<ExitCode> {
    match verb {
        AuthVerb::Token { acting } => {
            let token = Session::open(&cli.data, &acting.name)?.token(false).await?;
            output::show(acting.json, &json!({"accessToken": token}), |_| output::line(&token));
        }
        AuthVerb::Headers { method, url, acting } => {
            let session = Session::open(&cli.data, &acting.name)?;
            let token = session.token(true).await?;
            // The proof covers scheme, authority and path only (RFC 9449 section 4.2).
            let target = url.split(['?', '#']).next().unwrap_or_default();
            let method = method.to_uppercase();
            let proof = dpop_proof(&session.keyring.current, &method, target, Some(&token), &session.env);
            let headers = json!({"Authorization": format!("DPoP {token}"), "DPoP": proof});
            // The shell splits $(…) at blanks and a header holds one, so curl reads the headers from a file.
            let file = session.layout.keys.join("curl-headers");
            write_private(&file, format!("Authorization: DPoP {token}\nDPoP: {proof}\n").as_bytes())?;
            output::show(acting.json, &headers, |_| {
                output::line(format!("-X {method} -H @{}", file.display()));
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}
