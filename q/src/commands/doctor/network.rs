//! Ports, other programs, and what their clocks say.

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Uri, header};
use q_contract::{Client, HttpTransport};
use q_core::{Env, Timestamp};
use q_runtime::{Config, config::variable_name};
use tokio::net::TcpStream;

use super::Line;
use crate::{compose, running::Running};

/// How long another program may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Tokens and proofs are checked with a tolerance; a clock that is further off than this eats it up.
const SKEW_MAX_SECONDS: i64 = 5;

/// Whether each port is ours, or can be.
pub fn ports(running: Option<&Running>, config: &Config) -> Vec<Line> {
    let elsewhere = compose::remote_urls(config);
    let addresses = compose::listen_addresses(config).into_iter();
    let here = addresses.filter(|(section, _)| !elsewhere.contains_key(*section));
    here.map(|(section, address)| {
        let what = format!("port of {section}");
        let url = running.and_then(|running| match section {
            "front_door" => running.front_door.as_ref(),
            module => running.modules.get(module),
        });
        if let (Some(url), Some(running)) = (url, running) {
            return Line::good(what, format!("{url} is served by process {}", running.pids()));
        }
        let Ok(parsed) = address.parse::<SocketAddr>() else {
            return Line::bad(
                what,
                format!("{address} is no address"),
                format!("correct {}", variable_name(section, "listen")),
            );
        };
        match TcpListener::bind(parsed) {
            Ok(_) => Line::good(what, format!("{address} is free")),
            Err(error) => {
                let holder =
                    crate::holder::of(parsed).map(|holder| format!(", held by {holder}")).unwrap_or_default();
                let variable = variable_name(section, "listen");
                Line::bad(
                    what,
                    format!("{address}: {error}{holder}"),
                    format!("stop what uses it, or set {variable}"),
                )
            }
        }
    })
    .collect()
}

/// Whether what runs is what this program is.
pub async fn versions(running: Option<&Running>) -> Vec<Line> {
    let ours = env!("CARGO_PKG_VERSION");
    let Some(running) = running else { return vec![Line::good("version", format!("{ours}; nothing runs"))] };
    let mut lines = Vec::new();
    for (module, url) in &running.modules {
        let what = format!("module {module}");
        let client = Client::new(Arc::new(HttpTransport::new(url.clone()))).within(PATIENCE);
        let answer = client.send("GET", "/health", Bytes::new(), "").await;
        let body =
            answer.ok().and_then(|answer| serde_json::from_slice::<serde_json::Value>(answer.body()).ok());
        let Some(body) = body else {
            let fix = "`q logs` says what it is doing; `q restart` starts it anew";
            lines.push(Line::bad(what, format!("{url} does not answer"), fix));
            continue;
        };
        let text = |key: &str| body[key].as_str().unwrap_or("unreadable").to_owned();
        let (status, version) = (text("status"), text("version"));
        let down = body["dependencies"].as_object().into_iter().flatten();
        let down: Vec<&str> =
            down.filter(|(_, one)| one["status"] == "down").map(|(name, _)| name.as_str()).collect();
        let finding = format!("{status}, version {version}");
        lines.push(match status.as_str() {
            "unhealthy" => Line::bad(
                what,
                format!("{finding}; down: {}", down.join(", ")),
                format!("`q call {module} GET /health/detailed` says why"),
            ),
            _ if version != ours => Line::doubtful(
                what,
                format!("{finding}, this program is {ours}"),
                "`q restart --rolling --binary FILE` goes on with another program",
            ),
            "degraded" => Line::doubtful(
                what,
                format!("{finding}; down: {}", down.join(", ")),
                format!("`q call {module} GET /health/detailed` says why"),
            ),
            _ => Line::good(what, finding),
        });
    }
    lines
}

/// Whether the programs that the settings name can be reached.
pub async fn dependencies(config: &Config, clocks: &mut Clocks) -> Vec<Line> {
    let mut lines = Vec::new();
    for (name, setting) in config.all() {
        let Some((section, key)) = name.split_once('.') else { continue };
        // Judged elsewhere, or no other program.
        if key == "listen" || key == "database_url" || name == "instance.origin" {
            continue;
        }
        for url in setting.value.split(',').map(str::trim).filter(|text| text.contains("://")) {
            let (shown, variable) = (redacted(url), variable_name(section, key));
            let what = if key == "url" { section.to_owned() } else { name.clone() };
            let begun = Instant::now();
            let reached = match url.split_once("://") {
                Some(("http", _)) => clocks.ask(&what, url).await,
                _ => connect(url).await,
            };
            let ms = begun.elapsed().as_millis();
            lines.push(match reached {
                Ok(()) => Line::good(what, format!("{shown} answers within {ms} ms")),
                // An instance starts without it, and serves with less until it is there.
                Err(error) => Line::doubtful(
                    what,
                    format!("{shown} cannot be reached: {error}"),
                    format!("start it, or correct {variable}"),
                ),
            });
        }
    }
    lines
}

/// Opens a connection and closes it again.
async fn connect(url: &str) -> Result<(), String> {
    let uri: Uri = url.parse().map_err(|_| "this is no URL".to_owned())?;
    let host = uri.host().ok_or("the URL names no host")?;
    let port = uri.port_u16().or(match uri.scheme_str() {
        Some("nats" | "tls") => Some(4222),
        Some("https") => Some(443),
        Some("smtp") => Some(25),
        Some("smtps") => Some(465),
        _ => None,
    });
    let Some(port) = port else { return Err("the URL names no port".to_owned()) };
    match tokio::time::timeout(PATIENCE, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

/// A URL without the password in it.
fn redacted(url: &str) -> String {
    match url.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?))) {
        Some((scheme, (_, host))) => format!("{scheme}://{host}"),
        None => url.to_owned(),
    }
}

/// What other clocks say of ours.
#[derive(Default)]
pub struct Clocks(Vec<(String, i64)>);

impl Clocks {
    /// Notes that `who` says it is `theirs`, having been asked just now.
    pub fn note(&mut self, who: &str, theirs: Timestamp) {
        self.0.push((who.to_owned(), Env::system().now().since(theirs).as_seconds()));
    }

    /// Asks a server, and compares the date of its answer (RFC 9110 section 6.6.1).
    async fn ask(&mut self, who: &str, url: &str) -> Result<(), String> {
        let client = Client::new(Arc::new(HttpTransport::new(url))).within(PATIENCE);
        let answer =
            client.send("GET", "/health/live", Bytes::new(), "").await.map_err(|error| error.to_string())?;
        let date = answer.headers().get(header::DATE).and_then(|date| date.to_str().ok());
        if let Some(theirs) = date.and_then(Timestamp::from_http_date) {
            self.note(who, theirs);
        }
        Ok(())
    }

    /// How far the clock of this machine is off.
    pub fn line(&self) -> Line {
        let Some((who, seconds)) = self.0.iter().max_by_key(|(_, seconds)| seconds.abs()) else {
            return Line::unknown(
                "clock",
                "nothing to compare it with: no database server and no module elsewhere",
            );
        };
        let word = if *seconds < 0 { "behind" } else { "ahead of" };
        let finding = format!("{} s {word} {who}", seconds.abs());
        if seconds.abs() > SKEW_MAX_SECONDS {
            let fix = "synchronise the clocks: timedatectl set-ntp true, on both machines";
            return Line::bad("clock", finding, fix);
        }
        Line::good("clock", finding)
    }
}
