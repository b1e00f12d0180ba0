//! What is said at the start about settings that are possible and probably not meant.
//!
//! **Invariant:** nothing here changes what the program does.

use std::net::SocketAddr;

use q_did::WebName;
use q_runtime::Config;

use crate::layout::{INSTANCE, Layout};

/// Logs a warning for each setting of the instance in `layout` that looks like a slip; `front_door` is where it listens.
pub fn tell(config: &Config, layout: &Layout, front_door: Option<SocketAddr>) {
    for text in texts(config, layout, front_door) {
        tracing::warn!("{text}");
    }
}

/// A sentence for each setting that looks like a slip.
pub fn texts(config: &Config, layout: &Layout, front_door: Option<SocketAddr>) -> Vec<String> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let slip = |(name, meant)| format!("the variable {name} sets nothing; did you mean {meant}?");
    let mut texts: Vec<String> = config.misspelt(names).into_iter().map(slip).collect();
    let origin = config.section("instance").text("origin").trim_end_matches('/').to_owned();
    // Port 0 asks for any port, which no origin can name.
    let asked = config.section("front_door").parse::<SocketAddr>("listen", "an address with a port");
    if let (Some(door), Ok(asked)) = (front_door, asked)
        && asked.port() != 0
    {
        texts.extend(elsewhere(&origin, door));
    }
    let genesis = std::fs::read_to_string(layout.genesis(INSTANCE)).unwrap_or_default();
    texts.extend(made_under(&genesis).and_then(|host| renamed(&origin, &host)));
    texts
}

/// A warning when `origin` names this host at another port than the front door's.
fn elsewhere(origin: &str, door: SocketAddr) -> Option<String> {
    let (scheme, authority) = origin.split_once("://")?;
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (authority, if scheme == "https" { 443 } else { 80 }),
    };
    let is_here = matches!(host, "localhost" | "127.0.0.1" | "[::1]")
        || host.to_ascii_lowercase().ends_with(".localhost");
    (is_here && port != door.port()).then(|| {
        format!(
            "the front door listens on {door}, but instance.origin (Q_INSTANCE_ORIGIN) says {origin}: tokens and links \
             lead to port {port}, where nobody may listen. Unless something passes requests on, let the front door \
             listen on port {port}, or make the instance with Q_INSTANCE_ORIGIN={scheme}://{host}:{}",
            door.port()
        )
    })
}

/// The host, as in a URL, under which the identity with this log was made.
fn made_under(genesis: &str) -> Option<String> {
    let entry: serde_json::Value = serde_json::from_str(genesis.lines().next()?).ok()?;
    let name: WebName = entry["state"]["id"].as_str()?.parse().ok()?;
    Some(name.host())
}

/// A warning when the identities were made under another host than they are served under.
fn renamed(origin: &str, made_under: &str) -> Option<String> {
    let (scheme, authority) = origin.split_once("://")?;
    (made_under != authority).then(|| {
        format!(
            "instance.origin (Q_INSTANCE_ORIGIN) is {origin}, but this instance was made under {made_under}, and its \
             identities carry that name: changes of their keys are refused under another one, and other programs look \
             for them there. Set it back to {scheme}://{made_under}"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moved_front_door_is_noticed() {
        let door: SocketAddr = "127.0.0.1:9090".parse().expect("an address");
        for origin in
            ["http://qnode.localhost:8080", "http://localhost", "http://127.0.0.1:80", "https://[::1]"]
        {
            let text = elsewhere(origin, door).expect("a warning");
            assert!(text.contains("9090") && text.contains(origin), "{text}");
        }
        for origin in ["http://qnode.localhost:9090", "https://q.example.org", "http://q.example.org:8080"] {
            assert_eq!(elsewhere(origin, door), None, "{origin}");
        }
    }

    #[test]
    fn another_origin_than_that_of_the_identities_is_noticed() {
        let (_, log, _) =
            q_did::Keyring::create("qnode.localhost:8080", &q_core::Env::system()).expect("a host");
        let host = made_under(&log.to_text()).expect("a log names its host");
        assert_eq!(host, "qnode.localhost:8080");
        assert_eq!(renamed("http://qnode.localhost:8080", &host), None);
        for origin in ["http://qnode.localhost:9090", "http://other.localhost:8080", "https://q.example.org"]
        {
            let text = renamed(origin, &host).expect("a warning");
            assert!(text.contains(origin) && text.contains("://qnode.localhost:8080"), "{text}");
        }
        assert_eq!(made_under(""), None);
    }
}
