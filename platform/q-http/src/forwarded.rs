//! On whose behalf a proxy asks: the `Forwarded` field (RFC 7239), believed only from where our own proxies are.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderValue, header};

/// Who may say for whom it asks, besides this host itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies(Vec<IpAddr>);

impl Proxies {
    /// The addresses in a setting, with commas between them.
    ///
    /// # Errors
    /// The word that is no address.
    pub fn parse(setting: &str) -> Result<Self, String> {
        let words = setting.split(',').map(str::trim).filter(|word| !word.is_empty());
        words.map(|word| word.parse().map_err(|_| word.to_owned())).collect::<Result<_, _>>().map(Self)
    }

    /// Where a request comes from that `peer` sent: what a proxy says when it is one of ours, else `peer`.
    ///
    /// Of several entries the last one counts, which the proxy itself has added; those before it may be anybody's.
    pub(crate) fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> SocketAddr {
        let is_ours = peer.ip().is_loopback() || self.0.contains(&peer.ip());
        let said = || {
            let field = headers.get_all(header::FORWARDED).iter().next_back()?.to_str().ok()?;
            for_node(field.rsplit(',').next()?)
        };
        is_ours.then(said).flatten().map_or(peer, |ip| SocketAddr::new(ip, 0))
    }
}

/// The address of the `for` parameter of one entry; an obfuscated or unknown node has none.
fn for_node(entry: &str) -> Option<IpAddr> {
    let value = entry.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| value.trim().trim_matches('"'))
    })?;
    // IPv6 addresses stand in brackets; a port may follow either (section 6).
    if let Some(rest) = value.strip_prefix('[') {
        return rest.split(']').next()?.parse().ok();
    }
    value.split(':').next()?.parse().ok()
}

/// Says that the request is asked for `client`, in place of whatever it said before.
pub(crate) fn set(headers: &mut HeaderMap, client: Option<IpAddr>) {
    headers.remove(header::FORWARDED);
    let text = match client {
        Some(IpAddr::V4(address)) => format!("for={address}"),
        Some(IpAddr::V6(address)) => format!("for=\"[{address}]\""),
        None => return,
    };
    if let Ok(value) = HeaderValue::from_str(&text) {
        headers.insert(header::FORWARDED, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(proxies: &str, peer: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for field in forwarded {
            headers.append(header::FORWARDED, HeaderValue::from_str(field).unwrap());
        }
        let peer = SocketAddr::new(peer.parse().unwrap(), 4711);
        Proxies::parse(proxies).unwrap().client(peer, &headers).ip().to_string()
    }

    #[test]
    fn only_our_own_proxies_are_believed_and_only_for_what_they_added() {
        assert_eq!(client("", "127.0.0.1", &["for=198.51.100.7"]), "198.51.100.7");
        assert_eq!(client("", "203.0.113.9", &["for=198.51.100.7"]), "203.0.113.9");
        assert_eq!(client("203.0.113.9, ::1", "203.0.113.9", &["for=198.51.100.7"]), "198.51.100.7");
        assert_eq!(client("", "127.0.0.1", &["for=10.0.0.1, for=198.51.100.7;proto=http"]), "198.51.100.7");
        assert_eq!(
            client("", "127.0.0.1", &["for=10.0.0.1", "proto=http;For=\"[2001:db8::1]:80\""]),
            "2001:db8::1"
        );
        assert_eq!(client("", "127.0.0.1", &["for=\"198.51.100.7:4711\""]), "198.51.100.7");
        for nobody in ["for=unknown", "for=_hidden", "by=10.0.0.1", "", "for"] {
            assert_eq!(client("", "127.0.0.1", &[nobody]), "127.0.0.1", "{nobody}");
        }
        assert!(Proxies::parse("10.0.0.1, here").is_err());
    }

    #[test]
    fn what_is_set_is_read_alike() {
        for address in ["198.51.100.7", "2001:db8::1"] {
            let mut headers = HeaderMap::new();
            headers.insert(header::FORWARDED, HeaderValue::from_static("for=10.9.9.9"));
            set(&mut headers, Some(address.parse().unwrap()));
            let said = headers[header::FORWARDED].to_str().unwrap().to_owned();
            assert_eq!(client("", "127.0.0.1", &[&said]), address);
        }
    }
}
