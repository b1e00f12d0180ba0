//! What has been revoked, known before anybody asks.
//!
//! Fed by squid's events; a token is compared with it on every request. Entries about single tokens and
//! sessions are dropped once every token they could concern has run out.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::RwLock;
use q_core::{Did, Event, Timestamp};
use serde::{Deserialize, Serialize};

use crate::claims::{Claims, LIFETIME_MAX, SKEW_MAX};

/// The topic of [`Revocation`].
pub const SESSION_REVOKED: &str = "q.squid.session.revoked.v1";
const IDENTITY_SUSPENDED: &str = "q.squid.identity.suspended.v1";
const IDENTITY_REACTIVATED: &str = "q.squid.identity.reactivated.v1";
const IDENTITY_DELETED: &str = "q.squid.identity.deleted.v1";
/// The prefix of every topic [`Revocations::hear`] understands.
pub const TOPICS: &[&str] = &["q.squid.session.", "q.squid.identity."];

/// How many additions pass between two sweeps of what has run out.
const SWEEP_EVERY: u64 = 1_024;

/// The end of tokens: of one, of a session, of an identity up to an instant, or of a signing key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Revocation {
    /// Every token of this session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// This token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// Tokens of this identity made before `not_before`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub: Option<Did>,
    /// Every token signed with this key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// Tokens made before this instant; with no `sub`, those of everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Counts the revocations of the instance.
    pub epoch: u64,
}

/// The set of what is revoked.
#[derive(Debug, Default)]
pub struct Revocations {
    sets: RwLock<Sets>,
    epoch: AtomicU64,
    additions: AtomicU64,
}

#[derive(Debug, Default)]
struct Sets {
    /// Tokens and sessions, each with the instant after which no such token lives.
    tokens: HashMap<String, Timestamp>,
    sessions: HashMap<String, Timestamp>,
    /// Per identity: tokens made before this are dead.
    not_before: HashMap<Did, Timestamp>,
    /// Identities that may not act at all.
    blocked: HashMap<Did, Timestamp>,
    /// Signing keys nobody believes any more; never dropped.
    keys: HashMap<String, Timestamp>,
    everybody_not_before: Option<Timestamp>,
}

#[derive(Deserialize)]
struct About {
    did: Did,
}

impl Revocations {
    /// Nothing revoked.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes an event of squid into account; other events are skipped.
    pub fn hear(&self, event: &Event) {
        match event.topic.as_str() {
            SESSION_REVOKED => {
                if let Ok(revocation) = Revocation::deserialize(&event.data) {
                    self.revoke(&revocation, event.time);
                }
            }
            IDENTITY_SUSPENDED | IDENTITY_DELETED => {
                if let Ok(About { did }) = About::deserialize(&event.data) {
                    self.block(&did, event.time);
                }
            }
            IDENTITY_REACTIVATED => {
                if let Ok(About { did }) = About::deserialize(&event.data) {
                    self.unblock(&did);
                }
            }
            _ => {}
        }
    }

    /// Adds a revocation made at `at`.
    pub fn revoke(&self, revocation: &Revocation, at: Timestamp) {
        let forgotten_at = at + LIFETIME_MAX + SKEW_MAX + SKEW_MAX;
        let mut sets = self.sets.write();
        if let Some(sid) = &revocation.sid {
            sets.sessions.insert(sid.clone(), forgotten_at);
        }
        if let Some(jti) = &revocation.jti {
            sets.tokens.insert(jti.clone(), forgotten_at);
        }
        if let Some(kid) = &revocation.kid {
            sets.keys.insert(kid.clone(), at);
        }
        match (&revocation.sub, revocation.not_before) {
            (Some(sub), Some(instant)) => {
                later(sets.not_before.entry(sub.clone()).or_insert(instant), instant);
            }
            (None, Some(instant)) => later(sets.everybody_not_before.get_or_insert(instant), instant),
            (Some(_) | None, None) => {}
        }
        if self.additions.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1 {
            sets.sweep(at);
        }
        drop(sets);
        self.epoch.fetch_max(revocation.epoch, Ordering::Relaxed);
    }

    /// Stops an identity: its tokens are dead, those made before it is let in again too.
    pub fn block(&self, did: &Did, at: Timestamp) {
        let mut sets = self.sets.write();
        sets.blocked.insert(did.clone(), at);
        let after = Timestamp::from_micros(at.micros() + 1);
        later(sets.not_before.entry(did.clone()).or_insert(after), after);
    }

    /// Lets an identity in again, with new tokens.
    pub fn unblock(&self, did: &Did) {
        self.sets.write().blocked.remove(did);
    }

    /// Whether the identity may not act.
    pub fn is_blocked(&self, did: &Did) -> bool {
        self.sets.read().blocked.contains_key(did)
    }

    /// The newest revocation heard of.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    /// Whether a token signed with `kid` is dead.
    pub(crate) fn covers(&self, kid: &str, claims: &Claims) -> bool {
        let sets = self.sets.read();
        let made = claims.issued_at();
        sets.keys.contains_key(kid)
            || sets.tokens.contains_key(&claims.jti)
            || claims.sid.as_ref().is_some_and(|sid| sets.sessions.contains_key(sid))
            || sets.blocked.contains_key(&claims.sub)
            || sets.not_before.get(&claims.sub).is_some_and(|instant| made < *instant)
            || sets.everybody_not_before.is_some_and(|instant| made < instant)
    }
}

impl Sets {
    fn sweep(&mut self, now: Timestamp) {
        self.tokens.retain(|_, forgotten_at| *forgotten_at > now);
        self.sessions.retain(|_, forgotten_at| *forgotten_at > now);
        let oldest_alive = now - LIFETIME_MAX - SKEW_MAX - SKEW_MAX;
        self.not_before.retain(|_, instant| *instant > oldest_alive);
    }
}

fn later(held: &mut Timestamp, instant: Timestamp) {
    *held = (*held).max(instant);
}
