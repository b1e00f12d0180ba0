//! Network addresses as far as they tell one sender from another.

use std::net::{IpAddr, Ipv6Addr};

/// Who is counted as one: an IPv4 address, however it is spelled, or an IPv6 network of 64 bits, which is the least
/// anybody is given and holds more addresses than could be counted (RFC 6177).
pub fn network_of(address: IpAddr) -> IpAddr {
    const PREFIX: u128 = !(u64::MAX as u128);
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & PREFIX).into(),
        IpAddr::V4(address) => address.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_and_a_respelled_ipv4_address_count_as_one() {
        let network = |text: &str| network_of(text.parse().unwrap());
        assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:2:ffff::9"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
    }
}
