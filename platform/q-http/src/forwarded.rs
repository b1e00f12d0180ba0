//! On whose behalf a proxy asks: the `Forwarded` field (RFC 7239), believed only from where our own proxies are.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderValue, header};

/// Who may say for whom it asks, besides this host itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies(Vec<Network>);

/// The addresses that begin with the same bits (CIDR, RFC 4632 section 3.1); a single one with all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    /// An address, or one with the number of its leading bits, such as `10.1.0.0/16`. Never everybody: what anybody may
    /// say is worth nothing.
    fn parse(word: &str) -> Option<Self> {
        let (address, bits) =
            word.split_once('/').map_or((word, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().ok()?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => all,
            Some(bits) => bits.parse().ok().filter(|bits| (1..=all).contains(bits))?,
        };
        Some(Self { address, bits })
    }

    fn contains(self, other: IpAddr) -> bool {
        match (self.address, other) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits()) >> (32 - self.bits) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits()) >> (128 - self.bits) == 0
            }
            _ => false,
        }
    }
}

impl Proxies {
    /// The addresses and networks in a setting, with commas between them.
    ///
    /// # Errors
    /// The word that is neither.
    pub fn parse(setting: &str) -> Result<Self, String> {
        let words = setting.split(',').map(str::trim).filter(|word| !word.is_empty());
        words
            .map(|word| Network::parse(word).ok_or_else(|| word.to_owned()))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Where a request comes from that `peer` sent: what a proxy says when it is one of ours, else `peer`.
    ///
    /// Of several entries the last one counts, which the proxy itself has added; those before it may be anybody's.
    pub(crate) fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> SocketAddr {
        // Who comes over IPv4 to a socket that listens on both has an address that says so (RFC 4291 section 2.5.5.2).
        let proxy = peer.ip().to_canonical();
        let is_ours = proxy.is_loopback() || self.0.iter().any(|network| network.contains(proxy));
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
    fn a_network_of_proxies_is_believed_as_a_whole() {
        for (proxies, peer, is_believed) in [
            ("10.1.0.0/16", "10.1.255.9", true),
            ("10.1.0.0/16", "10.2.0.1", false),
            ("192.0.2.1, 10.1.2.3/16", "10.1.9.9", true),
            ("10.1.2.0/23", "10.1.3.255", true),
            ("10.1.2.0/23", "10.1.4.0", false),
            ("10.1.2.3/32", "10.1.2.3", true),
            ("10.1.2.3/32", "10.1.2.2", false),
            ("128.0.0.0/1", "203.0.113.9", true),
            ("2001:db8::/32", "2001:db8:7::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("2001:db8::7/128", "2001:db8::7", true),
            ("10.1.0.0/16", "::ffff:10.1.0.7", true),
            ("10.1.0.0/16", "2001:db8::1", false),
        ] {
            let said = if is_believed { "198.51.100.7" } else { peer };
            assert_eq!(client(proxies, peer, &["for=198.51.100.7"]), said, "{peer} of {proxies}");
        }
        for word in [
            "10.0.0.0/33",
            "10.0.0.0/0",
            "::/0",
            "2001:db8::/129",
            "10.0.0/8",
            "10.0.0.0/",
            "10.0.0.0/x",
            "/8",
        ] {
            assert_eq!(Proxies::parse(&format!("127.0.0.1, {word}")), Err(word.to_owned()));
        }
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
