//! How old the projection's proof of being current is, and what it may still allow.

use q_core::{Span, Timestamp};

/// Without proof for this long, only owners and readers are served.
pub const NARROWS_AFTER: Span = Span::seconds(30);
/// Without proof for this long, only owners who read are served.
pub const DENIES_AFTER: Span = Span::seconds(300);

/// What the age of the last proof still allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Everything.
    Current,
    /// No writes and no sensitive actions by others than the owner.
    Narrowed,
    /// Reads by the owner only.
    Stale,
}

impl Freshness {
    /// The freshness at `now` of what was last proved current at `proved_at`.
    pub fn at(now: Timestamp, proved_at: Timestamp) -> Self {
        let age = now.since(proved_at);
        if age <= NARROWS_AFTER {
            Self::Current
        } else if age <= DENIES_AFTER {
            Self::Narrowed
        } else {
            Self::Stale
        }
    }

    /// Whether `action` by the owner, or by somebody else, may still be allowed. Every action but `read` counts
    /// as a write: what is not known to be harmless is not.
    pub fn permits(self, action: &str, is_owner: bool) -> bool {
        match self {
            Self::Current => true,
            Self::Narrowed => is_owner || action == "read",
            Self::Stale => is_owner && action == "read",
        }
    }
}
