//! How many identities one address may register.

use std::{collections::HashMap, net::IpAddr};

use parking_lot::Mutex;
use q_core::{Span, Timestamp, network_of};

use crate::error::Error;

/// The window in which registrations are counted.
const WINDOW: Span = Span::seconds(3_600);
/// Addresses counted at once; when there are more, those whose window is over are forgotten first.
const ADDRESSES_MAX: usize = 65_536;

/// Counts registrations per address.
#[derive(Debug)]
pub struct Registrations {
    per_address_max: u32,
    counts: Mutex<HashMap<IpAddr, (Timestamp, u32)>>,
}

impl Registrations {
    /// Allows `per_address_max` in an hour; any number when 0.
    pub fn new(per_address_max: u32) -> Self {
        Self { per_address_max, counts: Mutex::default() }
    }

    /// Counts one registration; callers within the process have no address and are not counted.
    pub fn count(&self, address: Option<IpAddr>, now: Timestamp) -> Result<(), Error> {
        let Some(address) = address.filter(|_| self.per_address_max > 0).map(network_of) else {
            return Ok(());
        };
        let mut counts = self.counts.lock();
        if counts.len() >= ADDRESSES_MAX {
            counts.retain(|_, (began_at, _)| now.since(*began_at) < WINDOW);
        }
        let is_full = counts.len() >= ADDRESSES_MAX && !counts.contains_key(&address);
        let (began_at, count) = counts.entry(address).or_insert((now, 0));
        if now.since(*began_at) >= WINDOW {
            (*began_at, *count) = (now, 0);
        }
        let retry_after = WINDOW.as_seconds() - now.since(*began_at).as_seconds();
        if is_full {
            return Err(Error::RateLimited { retry_after });
        }
        if *count >= self.per_address_max {
            return Err(Error::RegistrationsFull { most: self.per_address_max, retry_after });
        }
        *count += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_an_hour_and_then_again() {
        let registrations = Registrations::new(5);
        let address: Option<IpAddr> = Some([192, 0, 2, 1].into());
        let start = Timestamp::from_seconds(1_780_272_000);
        for _ in 0..5 {
            assert!(registrations.count(address, start).is_ok());
        }
        let sixth = registrations.count(address, start + Span::seconds(60));
        assert!(matches!(sixth, Err(Error::RegistrationsFull { most: 5, retry_after: 3_540 })), "{sixth:?}");
        assert!(registrations.count(Some([192, 0, 2, 2].into()), start).is_ok(), "another address");
        let neighbours =
            ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4", "2001:db8::5", "2001:db8::6"];
        let of_neighbours = neighbours.map(|text| registrations.count(text.parse().ok(), start).is_ok());
        assert_eq!(of_neighbours, [true, true, true, true, true, false], "one network");
        assert!(registrations.count(None, start).is_ok(), "no address");
        assert!(registrations.count(address, start + WINDOW).is_ok(), "another hour");
    }
}
