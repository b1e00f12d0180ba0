//! The decision library of qonsent: may this principal do this action to this resource now, and why?
//!
//! Every module links it and keeps a projection of the grants in memory, fed by qonsent's events, so that the
//! answer needs no call. What was granted is believed only with its proof: each grant comes with a chain of signed
//! delegations that begins at the owner of the resource, and is checked here again.
//!
//! A delegation may count at certain times only, or a number of times ([`Conditions`]). Times are judged here; uses are
//! counted by the module that executes, in the transaction of the effect, because a projection cannot know what other
//! replicas have used up: [`Pdp::decide`] denies by such a grant, [`Pdp::decide_counting`] says what to count.
//!
//! Decision order: identity active → owner → grant with a valid chain of active identities → deny. Cedar's `forbid` and `permit` and
//! presented proofs will take their places before the owner and after the grants.
//!
//! **Invariant:** deciding takes no lock, makes no call and reads no clock; what cannot be proved is denied.

pub mod conditions;
mod decision;
pub mod event;
mod evidence;
mod freshness;
mod projection;
mod react;
pub mod resource;

pub use conditions::{Conditions, NotConditions, Use};
pub use decision::{Counted, Decision, Reason, Request};
pub use event::{Change, DelegationRegistered, Digest, GrantId, GrantIssued, GrantRevoked, RevocationHead};
pub use evidence::{Proven, prove};
pub use freshness::Freshness;
pub use projection::{Applied, Pdp};
pub use react::{KeySource, KeysUnavailable, NotYet, Projector, ResolvedKeys, resolve_keys};
pub use resource::{Resource, command, expand};
