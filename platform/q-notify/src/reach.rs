//! Which addresses may be connected to.
//!
//! Whoever may choose a webhook's address could otherwise have this host ask its own services, its neighbours, or the
//! cloud's metadata (server-side request forgery). A name is looked up once and the connection goes to the very address
//! that was judged, so that a name that changes its answer in between gains nothing.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use http::Uri;

use crate::NotUsable;

/// Where webhooks may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// Wherever the operator says: for addresses that only operators set.
    Anywhere,
    /// The public Internet over https, and what is allowed by name: for addresses that users set.
    Public(Vec<Allowed>),
}

/// A name or a network that may be reached although it is not public.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed {
    /// A host name, whatever its addresses.
    Name(String),
    /// The addresses whose first bits are these.
    Network(IpAddr, u8),
}

/// The text is neither a name nor a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a host name nor an address or network such as 10.0.0.0/8")]
pub struct NotAllowed(pub String);

impl FromStr for Allowed {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<Self, NotAllowed> {
        let refused = || NotAllowed(text.to_owned());
        let (address, bits) =
            text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        if let Ok(address) = address.parse::<IpAddr>() {
            let most = if address.is_ipv4() { 32 } else { 128 };
            let bits = bits.map_or(Ok(most), |bits| bits.parse().map_err(|_| refused()))?;
            return if bits <= most { Ok(Self::Network(address, bits)) } else { Err(refused()) };
        }
        let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "-._".contains(letter);
        let is_name = bits.is_none() && !text.is_empty() && text.chars().all(is_letter);
        if is_name { Ok(Self::Name(text.to_ascii_lowercase())) } else { Err(refused()) }
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Network(address, bits) => write!(f, "{address}/{bits}"),
        }
    }
}

impl Allowed {
    fn holds(&self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::Network(IpAddr::V4(network), bits), IpAddr::V4(address)) => {
                same_start(network.to_bits().into(), address.to_bits().into(), *bits, 32)
            }
            (Self::Network(IpAddr::V6(network), bits), IpAddr::V6(address)) => {
                same_start(network.to_bits(), address.to_bits(), *bits, 128)
            }
            _ => false,
        }
    }
}

fn same_start(one: u128, other: u128, bits: u8, width: u32) -> bool {
    let rest = width - u32::from(bits);
    rest >= 128 || one >> rest == other >> rest
}

impl FromStr for Reach {
    type Err = NotAllowed;

    /// The public Internet, and what `text` allows besides: names and networks, divided by commas.
    fn from_str(text: &str) -> Result<Self, NotAllowed> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        Ok(Self::Public(parts.map(str::parse).collect::<Result<_, _>>()?))
    }
}

impl Reach {
    /// Whether `to` may be asked at all, as far as its text says.
    ///
    /// # Errors
    /// For what is no address of a web server, for plain http to strangers, and for addresses that are not public.
    pub fn check(&self, to: &Uri) -> Result<(), NotUsable> {
        let refused = |why: &str| Err(NotUsable(why.to_owned()));
        let Some(host) = to.host().filter(|host| !host.is_empty()) else {
            return refused("a webhook needs a URL such as https://example.org/hook");
        };
        // Passwords in URLs end up in logs; the signature is what a receiver checks.
        if to.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return refused("a URL with a user name or a password is not used");
        }
        let host = bare(host);
        match to.scheme_str() {
            Some("https") => {}
            Some("http") if self.is_allowed_by_name(&host) => {}
            Some("http") => return refused("only https is used, so that nobody on the way can listen in"),
            _ => return refused("a webhook needs a URL such as https://example.org/hook"),
        }
        match host.parse() {
            Ok(address) if !self.admits(&host, address) => refused("the address is not a public one"),
            _ => Ok(()),
        }
    }

    /// Whether `host`, which has this address, may be connected to there.
    pub(crate) fn admits(&self, host: &str, address: IpAddr) -> bool {
        match self {
            Self::Anywhere => true,
            Self::Public(allowed) => {
                is_public(address) || allowed.iter().any(|allowed| allowed.holds(address)) || self.names(host)
            }
        }
    }

    /// Whether plain http will do: the operator knows the way there.
    fn is_allowed_by_name(&self, host: &str) -> bool {
        match self {
            Self::Anywhere => true,
            Self::Public(allowed) => {
                let is_in = |address| allowed.iter().any(|allowed| allowed.holds(address));
                self.names(host) || host.parse().is_ok_and(is_in)
            }
        }
    }

    fn names(&self, host: &str) -> bool {
        let Self::Public(allowed) = self else { return false };
        allowed
            .iter()
            .any(|allowed| matches!(allowed, Allowed::Name(name) if name.eq_ignore_ascii_case(host)))
    }
}

/// A host without the brackets of an IPv6 address and the dot at the end of a name.
pub(crate) fn bare(host: &str) -> String {
    host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase()
}

/// Whether an address is one that anybody on the Internet has (the IANA special-purpose registries of RFC 6890 list
/// those that are not).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_broadcast()
        || address.is_documentation()
        || address.is_multicast()
        || a == 0
        // Shared by carriers, RFC 6598.
        || (a == 100 && (64..128).contains(&b))
        // Protocol assignments, RFC 6890; the anycast of 6to4, RFC 7526.
        || (a, b, c) == (192, 0, 0)
        || (a, b, c) == (192, 88, 99)
        // Measuring devices, RFC 2544.
        || (a == 198 && (b == 18 || b == 19))
        // Reserved, RFC 1112.
        || a >= 240;
    !is_special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(mapped) = address.to_ipv4_mapped() {
        return is_public_v4(mapped);
    }
    let parts = address.segments();
    // Only 2000::/3 is given out as global unicast (RFC 4291), besides translated IPv4 addresses.
    match parts {
        // NAT64 (RFC 6052) and 6to4 (RFC 3056): the IPv4 address inside is where it goes.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => is_public_v4(joined(high, low)),
        // Documentation, RFC 3849 and 9637; protocol assignments with Teredo, RFC 2928.
        [0x2001, 0xdb8 | 0..=0x1ff, ..] | [0x3fff, 0..=0xfff, ..] => false,
        [first, ..] => (0x2000..=0x3fff).contains(&first),
    }
}

fn joined(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_public_addresses_from_others() {
        for public in
            ["1.1.1.1", "93.184.216.34", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "64:ff9b::101:101"]
        {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for other in [
            "127.0.0.1",
            "127.8.9.1",
            "0.0.0.0",
            "0.1.2.3",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.5",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "2002:7f00:1::",
            "2002:a00:1::",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "fec0::1",
            "100::1",
        ] {
            assert!(!is_public(other.parse().unwrap()), "{other}");
        }
    }

    #[test]
    fn what_users_may_name() {
        let reach = "".parse::<Reach>().unwrap();
        for fine in ["https://example.org/hook?a=b", "https://example.org:8443/", "https://1.1.1.1/"] {
            assert_eq!(reach.check(&fine.parse().unwrap()), Ok(()), "{fine}");
        }
        for (text, why) in [
            ("/hook", "needs a URL"),
            ("ftp://example.org/", "needs a URL"),
            ("http://example.org/", "only https"),
            ("http://127.0.0.1/", "only https"),
            ("https://127.0.0.1/", "not a public"),
            ("https://[::1]/", "not a public"),
            ("https://[::ffff:169.254.169.254]/", "not a public"),
            ("https://169.254.169.254/latest", "not a public"),
            ("https://a:b@example.org/", "user name"),
        ] {
            let error = reach.check(&text.parse().unwrap()).unwrap_err();
            assert!(error.0.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn what_an_operator_allows_besides() {
        let reach = "127.0.0.1, 10.0.0.0/8 ,hooks.intern, fd00::/8".parse::<Reach>().unwrap();
        for fine in ["http://127.0.0.1:9/", "http://10.9.8.7/", "http://hooks.intern/", "https://[fd00::1]/"]
        {
            assert_eq!(reach.check(&fine.parse().unwrap()), Ok(()), "{fine}");
        }
        for other in
            ["http://127.0.0.2/", "http://hooks.intern.example/", "https://192.168.0.1/", "http://11.0.0.1/"]
        {
            assert!(reach.check(&other.parse().unwrap()).is_err(), "{other}");
        }
        assert!(reach.admits("hooks.intern", "192.168.0.1".parse().unwrap()));
        assert!(!reach.admits("other.intern", "192.168.0.1".parse().unwrap()));
        assert!("0.0.0.0/0".parse::<Reach>().unwrap().check(&"http://192.168.0.1/".parse().unwrap()).is_ok());
        for nonsense in ["10.0.0.0/33", "10.0.0.0/x", "::/129", "a b", "example.org/8", "https://x"] {
            assert!(nonsense.parse::<Reach>().is_err(), "{nonsense}");
        }
    }
}
