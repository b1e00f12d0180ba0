//! Rate limits by address before authentication and by identity after it, alone or among replicas.
//!
//! Generic cell rate algorithm: one instant per key says when its next request would be on time, so a key costs a few
//! bytes and no timer.
//!
//! Replicas count apart and tell each other several times a second what they let through, so that each knows the
//! instant that holds for all. Between two tellings a replica gives away at most its share of what was left, and half of
//! that, because what others gave away meanwhile is not known yet: all together they let through little more than one
//! would (less than a tenth where news takes 50 ms, in the test that drives three as fast as it can), at the price that a burst at a single replica is
//! spread over a second. Replicas that cannot hear each other fail half closed: each keeps to its part of the limit, so
//! the whole still holds, and nobody is refused altogether. Only for the seconds in which a replica does not yet know
//! of others, or takes one that is cut off for gone, each may count alone.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use q_contract::{Problem, codes};
use q_core::{IdentityKind, Principal, Timestamp, hash, network_of};

/// The most keys remembered per limiter; beyond it the idle ones are forgotten.
const KEYS_MAX: usize = 65_536;
/// The most keys told at once; others follow with the next telling.
const TOLD_MAX: usize = 16_384;
/// One key as it is told: the key, and how often it was let through.
const TOLD_BYTES: usize = 20;
const WINDOW_MICROS: i64 = 60_000_000;

/// Requests allowed per minute, which is also the burst; 0 switches a limit off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RateLimits {
    /// Per network address, before authentication.
    pub per_address_per_minute: u32,
    /// Per identity, after it.
    pub per_identity_per_minute: u32,
    /// Per sub-identity, and per identity that nobody can tie to another: programs are many and tireless.
    pub per_sub_identity_per_minute: u32,
}

impl RateLimits {
    /// No limit at all.
    pub const NONE: Self =
        Self { per_address_per_minute: 0, per_identity_per_minute: 0, per_sub_identity_per_minute: 0 };
}

impl Default for RateLimits {
    fn default() -> Self {
        Self { per_address_per_minute: 6_000, per_identity_per_minute: 600, per_sub_identity_per_minute: 50 }
    }
}

/// What is left to a key, for the `RateLimit` header (IETF draft-ietf-httpapi-ratelimit-headers).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allowance {
    pub(crate) limit: u32,
    pub(crate) remaining: u32,
}

/// The limits of one module, and what its callers have used of them.
pub struct RateLimiter {
    addresses: Counter,
    identities: Counter,
    sub_identities: Counter,
    replicas: AtomicU32,
    can_hear: AtomicBool,
    /// Counts the tellings.
    round: AtomicU64,
}

/// What the keys of one kind have used.
struct Counter {
    limit: u32,
    keys: Mutex<Keys>,
}

#[derive(Default)]
struct Keys {
    by_key: HashMap<u128, Used>,
    /// Those with something to tell.
    untold: Vec<u128>,
}

#[derive(Clone, Copy, Default)]
struct Used {
    /// When the next request would be on time, in microseconds.
    due: i64,
    /// Let through here and not told yet.
    untold: u32,
    /// The round in which `given` and `share` hold.
    round: u64,
    given: u32,
    share: u32,
}

/// What a replica may give away.
#[derive(Clone, Copy)]
struct Part {
    replicas: u32,
    can_hear: bool,
    round: u64,
}

impl RateLimiter {
    /// Limits of which nobody has used anything.
    pub fn new(limits: RateLimits) -> Arc<Self> {
        let counter = |limit| Counter { limit, keys: Mutex::default() };
        Arc::new(Self {
            addresses: counter(limits.per_address_per_minute),
            identities: counter(limits.per_identity_per_minute),
            sub_identities: counter(limits.per_sub_identity_per_minute),
            replicas: AtomicU32::new(1),
            can_hear: AtomicBool::new(true),
            round: AtomicU64::new(0),
        })
    }

    pub(crate) fn address(&self, address: IpAddr, now: Timestamp) -> Result<Option<Allowance>, Problem> {
        let key = match network_of(address) {
            IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
            IpAddr::V6(address) => address.to_bits(),
        };
        self.addresses.admit(key, now, self.part())
    }

    pub(crate) fn identity(&self, who: &Principal, now: Timestamp) -> Result<Option<Allowance>, Problem> {
        let counter = if is_sub(who) { &self.sub_identities } else { &self.identities };
        if counter.limit == 0 {
            return Ok(None);
        }
        let digest = hash::sha256(who.did.as_str().as_bytes());
        let key = digest.first_chunk().map(|bytes| u128::from_be_bytes(*bytes)).unwrap_or_default();
        counter.admit(key, now, self.part())
    }

    fn part(&self) -> Part {
        Part {
            replicas: self.replicas.load(Ordering::Relaxed),
            can_hear: self.can_hear.load(Ordering::Relaxed),
            round: self.round.load(Ordering::Relaxed),
        }
    }

    /// Says how many replicas there are, this one included, and whether they can be heard.
    pub fn among(&self, replicas: u32, can_hear: bool) {
        self.replicas.store(replicas.max(1), Ordering::Relaxed);
        self.can_hear.store(can_hear, Ordering::Relaxed);
    }

    /// What was let through since the last telling, for [`RateLimiter::hear`] of the other replicas; begins a round.
    pub fn tell(&self) -> Vec<u8> {
        self.round.fetch_add(1, Ordering::Relaxed);
        let mut told = Vec::new();
        self.addresses.tell(0, &mut told);
        self.identities.tell(1, &mut told);
        self.sub_identities.tell(2, &mut told);
        told
    }

    /// Takes in what another replica let through.
    pub fn hear(&self, told: &[u8], now: Timestamp) {
        for entry in told.chunks_exact(1 + TOLD_BYTES) {
            let (kind, entry) = (entry[0], &entry[1..]);
            let (Some(key), Some(count)) = (entry.first_chunk::<16>(), entry.last_chunk::<4>()) else {
                return;
            };
            let counter = match kind {
                0 => &self.addresses,
                1 => &self.identities,
                _ => &self.sub_identities,
            };
            counter.add(u128::from_be_bytes(*key), u32::from_be_bytes(*count), now);
        }
    }
}

/// Whether the narrower limit is theirs. A community speaks for many, and has the wider one.
fn is_sub(who: &Principal) -> bool {
    match who.kind {
        Some(IdentityKind::Aid) => true,
        Some(IdentityKind::Dao) => false,
        _ => who.parent.is_some(),
    }
}

impl Counter {
    fn admit(&self, key: u128, now: Timestamp, part: Part) -> Result<Option<Allowance>, Problem> {
        if self.limit == 0 {
            return Ok(None);
        }
        let now = now.micros();
        // Unheard, a replica is one of several whose parts make up the limit.
        let is_apart = part.replicas > 1 && !part.can_hear;
        let limit = if is_apart { (self.limit / part.replicas).max(1) } else { self.limit };
        let step = WINDOW_MICROS / i64::from(limit);
        let mut keys = self.keys.lock();
        keys.make_room(key, now);
        let used = keys.by_key.entry(key).or_default();
        used.due = used.due.max(now);
        let ahead = used.due - now + step;
        if ahead > WINDOW_MICROS {
            return Err(refusal(self.limit, (ahead - WINDOW_MICROS).div_euclid(1_000_000) + 1));
        }
        let left = u32::try_from((WINDOW_MICROS - ahead) / step).unwrap_or_default();
        if part.replicas > 1 && part.can_hear {
            if used.round != part.round || used.share == 0 {
                (used.round, used.given) = (part.round, 0);
                used.share = ((left + 1) / (2 * part.replicas)).max(1);
            }
            if used.given >= used.share {
                return Err(refusal(self.limit, 1));
            }
            used.given += 1;
        }
        used.due += step;
        if part.replicas > 1 {
            used.untold += 1;
            if used.untold == 1 {
                keys.untold.push(key);
            }
        }
        Ok(Some(Allowance { limit: self.limit, remaining: left }))
    }

    fn tell(&self, kind: u8, told: &mut Vec<u8>) {
        let mut keys = self.keys.lock();
        let rest = keys.untold.len().saturating_sub(TOLD_MAX);
        for key in keys.untold.split_off(rest) {
            if let Some(used) = keys.by_key.get_mut(&key) {
                told.push(kind);
                told.extend(key.to_be_bytes());
                told.extend(std::mem::take(&mut used.untold).to_be_bytes());
            }
        }
    }

    fn add(&self, key: u128, count: u32, now: Timestamp) {
        if self.limit == 0 {
            return;
        }
        let (now, step) = (now.micros(), WINDOW_MICROS / i64::from(self.limit));
        let mut keys = self.keys.lock();
        keys.make_room(key, now);
        let used = keys.by_key.entry(key).or_default();
        // However much others say, and however often: nobody is shut out for longer than two windows by hearsay.
        let due = used.due.max(now).saturating_add(step.saturating_mul(i64::from(count)));
        used.due = due.min(now + 2 * WINDOW_MICROS);
    }
}

impl Keys {
    fn make_room(&mut self, key: u128, now: i64) {
        if self.by_key.len() < KEYS_MAX || self.by_key.contains_key(&key) {
            return;
        }
        self.by_key.retain(|_, used| used.due > now);
        // So many at once are an attack that no limit by address stops; it must not cost memory or time as well.
        if self.by_key.len() >= KEYS_MAX {
            self.by_key.clear();
            self.untold.clear();
        }
    }
}

fn refusal(limit: u32, wait_seconds: i64) -> Problem {
    Problem::new(&codes::RATE_LIMITED)
        .detail(format!("at most {limit} requests a minute"))
        .hint(format!("try again in {wait_seconds} s"))
        .with("retryAfter", wait_seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(per_address: u32, per_identity: u32) -> Arc<RateLimiter> {
        let (per_address_per_minute, per_identity_per_minute) = (per_address, per_identity);
        let per_sub_identity_per_minute = per_identity / 12;
        RateLimiter::new(RateLimits {
            per_address_per_minute,
            per_identity_per_minute,
            per_sub_identity_per_minute,
        })
    }

    fn somebody(did: &str) -> Principal {
        Principal::new(did.parse().unwrap(), Timestamp::default())
    }

    #[test]
    fn sub_identities_have_a_limit_of_their_own() {
        let limiter = limiter(0, 600);
        let at = Timestamp::from_seconds(1_000);
        let parent = somebody("did:squid:QmParent");
        let program = Principal { parent: Some(parent.did.clone()), ..somebody("did:squid:QmProgram") };
        let aid = Principal { kind: Some(IdentityKind::Aid), ..somebody("did:squid:QmAid") };
        let dao = Principal { kind: Some(IdentityKind::Dao), ..program.clone() };
        for (who, limit) in [(&parent, 600), (&program, 50), (&aid, 50), (&dao, 600)] {
            let passed = (0..700).filter(|_| limiter.identity(who, at).is_ok()).count();
            assert_eq!(passed, limit, "{:?}", who.did);
        }
    }

    #[test]
    fn allows_the_burst_then_one_per_step() {
        let limiter = limiter(3, 0);
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
        let limiter = limiter(60, 0);
        limiter.among(2, true);
        let at = Timestamp::from_seconds(1_000);
        for number in 0..u32::try_from(2 * KEYS_MAX + 1).unwrap() {
            assert!(limiter.address(IpAddr::from(number.to_be_bytes()), at).is_ok());
        }
        let keys = limiter.addresses.keys.lock();
        assert!(keys.by_key.len() <= KEYS_MAX && keys.untold.len() <= KEYS_MAX);
        drop(keys);
        assert!(limiter.tell().len() <= TOLD_MAX * (1 + TOLD_BYTES));
    }

    #[test]
    fn what_others_say_shuts_nobody_out_for_long() {
        let limiter = limiter(0, 60);
        limiter.among(2, true);
        let did = somebody("did:example:victim");
        let at = Timestamp::from_seconds(1_000);
        assert!(limiter.identity(&did, at).is_ok());
        let mut told = limiter.tell();
        let count = told.len() - 4;
        told[count..].copy_from_slice(&u32::MAX.to_be_bytes());
        (0..100).for_each(|_| limiter.hear(&told, at));
        assert!(limiter.identity(&did, at).is_err());
        assert!(limiter.identity(&did, Timestamp::from_seconds(1_000 + 121)).is_ok());
    }

    #[test]
    fn zero_means_no_limit() {
        let limiter = limiter(0, 0);
        assert_eq!(limiter.address(IpAddr::from([127, 0, 0, 1]), Timestamp::default()), Ok(None));
    }

    fn among_three(replicas: &[Arc<RateLimiter>], can_hear: bool) {
        for replica in replicas {
            replica.among(3, can_hear);
        }
    }

    /// Lets an identity ask every replica as often as it can for `millis` milliseconds, while they tell each other what
    /// they hear after `delay_millis`; answers how often it was let through.
    fn hammered(replicas: &[Arc<RateLimiter>], millis: i64, delay_millis: i64) -> u32 {
        let did = somebody("did:example:busy");
        let mut said: Vec<(i64, usize, Vec<u8>)> = Vec::new();
        let mut passed = 0;
        for at in 0..millis {
            let now = Timestamp::from_micros(1_000_000_000 + at * 1_000);
            said.retain(|(when, from, told)| {
                let has_come = *when <= at;
                let others = replicas.iter().enumerate().filter(|(to, _)| has_come && to != from);
                for (_, replica) in others {
                    replica.hear(told, now);
                }
                !has_come
            });
            for (number, replica) in replicas.iter().enumerate() {
                // They do not tell at the same instant.
                if at % 200 == 67 * i64::try_from(number).unwrap() {
                    said.push((at + delay_millis, number, replica.tell()));
                }
                for _ in 0..20 {
                    passed += u32::from(replica.identity(&did, now).is_ok());
                }
            }
        }
        passed
    }

    #[test]
    fn replicas_together_let_through_hardly_more_than_one_alone() {
        for (delay_millis, more_percent) in [(1, 10), (50, 10), (200, 20)] {
            let replicas: Vec<_> = (0..3).map(|_| limiter(0, 600)).collect();
            among_three(&replicas, true);
            // The burst of 600, and 10 a second.
            let passed = hammered(&replicas, 6_000, delay_millis);
            let most = 660 * (100 + more_percent) / 100;
            assert!((600..=most).contains(&passed), "{passed} with a delay of {delay_millis} ms");
        }
    }

    #[test]
    fn replicas_that_cannot_hear_each_other_keep_to_their_parts() {
        let replicas: Vec<_> = (0..3).map(|_| limiter(0, 600)).collect();
        among_three(&replicas, false);
        let passed = hammered(&replicas, 6_000, i64::MAX / 2);
        assert!((600..=663).contains(&passed), "{passed}");
    }

    #[test]
    fn one_replica_of_three_gives_a_single_caller_nearly_the_whole_burst_in_seconds() {
        let replicas: Vec<_> = (0..3).map(|_| limiter(0, 600)).collect();
        among_three(&replicas, true);
        let did = somebody("did:example:one");
        let mut passed = 0;
        for at in 0..4_000 {
            let now = Timestamp::from_micros(1_000_000_000 + at * 1_000);
            if at % 200 == 0 {
                let told = replicas[0].tell();
                replicas[1..].iter().for_each(|replica| replica.hear(&told, now));
            }
            passed += u32::from(replicas[0].identity(&did, now).is_ok());
        }
        assert!(passed > 570, "{passed}");
    }
}
