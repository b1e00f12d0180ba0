//! The nouns every module shares: instants, entropy, typed ids, identities, callers, pages, hashes.
//!
//! Everything here is pure: time and randomness come in as arguments ([`Env`]), so tests freeze the
//! one and seed the other.
//!
//! **Invariant:** no tokio, no SQL, no HTTP, and no knowledge of any module.

pub mod amount;
pub mod audit;
pub mod caller;
pub mod did;
pub mod env;
pub mod event;
pub mod hash;
pub mod id;
pub mod identity;
pub mod network;
pub mod page;
pub mod request_key;
pub mod time;

pub use amount::{Amount, AmountError, AmountText, Scale, SignedAmount, Total};
pub use audit::{AuditEntry, Verdict};
pub use caller::{Caller, Principal};
pub use did::Did;
pub use env::{Clock, Entropy, Env, SystemClock, SystemEntropy};
pub use event::{Event, EventPayload};
pub use identity::{IdentityKind, IdentityStatus};
pub use network::network_of;
pub use page::{Page, PageLimit};
pub use request_key::RequestKey;
pub use time::{Span, Timestamp};
