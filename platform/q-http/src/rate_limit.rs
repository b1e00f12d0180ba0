//! Rate limits by address before authentication and by identity after it.
//!
//! Generic cell rate algorithm: one instant per key says when its next request would be on time, so a key
//! costs 8 bytes and no timer. Replicas count apart until they share a store.

use std::{collections::HashMap, hash::Hash, net::IpAddr};

use parking_lot::Mutex;
use q_contract::{Problem, codes};
use q_core::{Did, Timestamp, network_of};

/// The most keys remembered per limiter; beyond it the idle ones are forgotten.
const KEYS_MAX: usize = 65_536;
const WINDOW_MICROS: i64 = 60_000_000;

/// Requests allowed per minute, which is also the burst; 0 switches a limit off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RateLimits {
    /// Per network address, before authentication.
    pub per_address_per_minute: u32,
    /// Per identity, after it.
    pub per_identity_per_minute: u32,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self { per_address_per_minute: 6_000, per_identity_per_minute: 600 }
    }
}

/// What is left to a key, for the `RateLimit` header (IETF draft-ietf-httpapi-ratelimit-headers).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allowance {
    pub(crate) limit: u32,
    pub(crate) remaining: u32,
}

/// The limits of one module.
pub(crate) struct RateLimiter {
    limits: RateLimits,
    addresses: Mutex<HashMap<IpAddr, i64>>,
    identities: Mutex<HashMap<Did, i64>>,
}

impl RateLimiter {
    pub(crate) fn new(limits: RateLimits) -> Self {
        Self { limits, addresses: Mutex::default(), identities: Mutex::default() }
    }

    pub(crate) fn address(&self, address: IpAddr, now: Timestamp) -> Result<Option<Allowance>, Problem> {
        admit(&self.addresses, network_of(address), self.limits.per_address_per_minute, now)
    }

    pub(crate) fn identity(&self, did: &Did, now: Timestamp) -> Result<Option<Allowance>, Problem> {
        admit(&self.identities, did.clone(), self.limits.per_identity_per_minute, now)
    }
}

fn admit<K: Hash + Eq>(
    keys: &Mutex<HashMap<K, i64>>,
    key: K,
    limit: u32,
    now: Timestamp,
) -> Result<Option<Allowance>, Problem> {
    if limit == 0 {
        return Ok(None);
    }
    let now = now.micros();
    let step = WINDOW_MICROS / i64::from(limit);
    let mut keys = keys.lock();
    if keys.len() >= KEYS_MAX && !keys.contains_key(&key) {
        keys.retain(|_, due| *due > now);
        // So many at once are an attack that no limit by address stops; it must not cost memory or time as well.
        if keys.len() >= KEYS_MAX {
            keys.clear();
        }
    }
    let due = keys.get(&key).copied().unwrap_or(now).max(now);
    let ahead = due - now + step;
    if ahead > WINDOW_MICROS {
        let wait_seconds = (ahead - WINDOW_MICROS).div_euclid(1_000_000) + 1;
        return Err(Problem::new(&codes::RATE_LIMITED)
            .detail(format!("at most {limit} requests a minute"))
            .hint(format!("try again in {wait_seconds} s"))
            .with("retryAfter", wait_seconds));
    }
    keys.insert(key, due + step);
    let remaining = u32::try_from((WINDOW_MICROS - ahead) / step).unwrap_or_default();
    Ok(Some(Allowance { limit, remaining }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allows_the_burst_then_one_per_step() {
        let limiter = RateLimiter::new(RateLimits { per_address_per_minute: 3, per_identity_per_minute: 0 });
        let address = IpAddr::from([127, 0, 0, 1]);
        let at = Timestamp::from_seconds(1_000);
        let left: Vec<_> = (0..3).map(|_| limiter.address(address, at).unwrap().unwrap().remaining).collect();
        assert_eq!(left, [2, 1, 0]);
        let refused = limiter.address(address, at).unwrap_err();
        assert_eq!(refused.extra["retryAfter"], 21);
        assert_eq!(refused.hint.as_deref(), Some("try again in 21 s"));
        assert!(limiter.address(address, Timestamp::from_seconds(1_021)).is_ok());
        assert!(limiter.address(IpAddr::from([127, 0, 0, 2]), at).is_ok());
    }

    #[test]
    fn any_number_of_busy_addresses_takes_bounded_memory() {
        let limiter = RateLimiter::new(RateLimits { per_address_per_minute: 60, per_identity_per_minute: 0 });
        let at = Timestamp::from_seconds(1_000);
        for number in 0..u32::try_from(2 * KEYS_MAX + 1).unwrap() {
            assert!(limiter.address(IpAddr::from(number.to_be_bytes()), at).is_ok());
        }
        assert!(limiter.addresses.lock().len() <= KEYS_MAX);
    }

    #[test]
    fn zero_means_no_limit() {
        let limiter = RateLimiter::new(RateLimits { per_address_per_minute: 0, per_identity_per_minute: 0 });
        assert_eq!(limiter.address(IpAddr::from([127, 0, 0, 1]), Timestamp::default()), Ok(None));
    }
}
