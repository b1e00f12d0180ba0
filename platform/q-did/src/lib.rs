//! The identity log: did:webvh 1.0 as this house writes and verifies it.
//!
//! An identity is a log of signed entries, one JSON object a line. Its self-certifying id (SCID) is the
//! hash of the first entry, so nobody hands out names; each entry names its predecessor by hash, and
//! each commits to the hashes of the keys that may sign the next one, so a stolen current key cannot
//! take an identity over. The same identity has three names: `did:squid:<SCID>` (ours, free of any
//! location), `did:webvh:<SCID>:<host>:id:<SCID>` (where the log is served; changes when it moves) and
//! the did:web of that place.
//!
//! **Key ids.** A verification method's fragment is always the Multikey text of the key, so
//! `<any name of the identity>#z6Mk…` means the same key under every name and after every move. The
//! canonical form, used in tokens and signatures, is `did:squid:<SCID>#z6Mk…`.
//!
//! Source: <https://identity.foundation/didwebvh/v1.0/>, W3C Data Integrity EdDSA Cryptosuites v1.0
//! section 3.3 (eddsa-jcs-2022), RFC 8785 (JCS).
//!
//! **Invariant:** pure; no network, no clock, no storage. A log is either wholly verified from its first
//! entry or it is refused with the [`Rule`] it breaks.

pub mod author;
pub mod document;
pub mod entry;
pub mod head;
pub mod json;
pub mod keyring;
pub mod log;
pub mod name;
pub mod rule;

pub use author::{Author, Genesis, Rotation};
pub use document::{Document, VerificationMethod};
pub use head::{Head, Policy};
pub use keyring::{Keyring, RecoveryPhrase};
pub use log::Log;
pub use name::{WebName, key_id, multikey_of, scid_of};
pub use rule::{Refused, Rule};
