//! The question, the answer, and why.

use q_core::{Did, Timestamp};

use crate::{GrantId, conditions::Use};

/// May `principal` do `action` to `resource` now?
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Who wants to act.
    pub principal: &'a Did,
    /// What they want to do, such as `read`.
    pub action: &'a str,
    /// To what: `module:type:id`.
    pub resource: &'a str,
    /// Whose it is, when the asking module knows from its own data; otherwise the projection's word counts.
    pub owner: Option<&'a Did>,
    /// The present instant.
    pub now: Timestamp,
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Whether they may.
    pub allowed: bool,
    /// Why.
    pub reason: Reason,
    /// The state of permissions it was judged by.
    pub epoch: u64,
    /// The grant that allowed it.
    pub grant: Option<GrantId>,
    /// Until when the grant lasts.
    pub expires_at: Option<Timestamp>,
}

impl Decision {
    /// Whether they may.
    pub const fn is_allowed(&self) -> bool {
        self.allowed
    }
}

/// The answer to somebody who counts uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// The answer, on the condition that every one of `uses` can be taken.
    pub decision: Decision,
    /// What to count in the transaction of the effect; empty where nothing is counted. What cannot be taken is denied.
    pub uses: Vec<Use>,
}

/// Why a request was allowed or denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The principal owns the resource.
    Owner,
    /// A grant covers it.
    Grant,
    /// Nothing covers it.
    NoGrant,
    /// A grant covered it and has ended.
    GrantExpired,
    /// A grant will cover it.
    GrantNotYetValid,
    /// A grant covers it at other times.
    OutsideTimeWindow,
    /// A grant covers it a number of times, and whoever asks does not count.
    UsesUncounted,
    /// Grants exist, but whose the resource is cannot be told, so none of them can be believed.
    OwnerUnknown,
    /// The identity is suspended or ended, or one of those is from whom it has the right.
    IdentityInactive,
    /// The state of permissions is too old to allow this by.
    Stale,
}

impl Reason {
    /// The stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Owner => "OWNER",
            Self::Grant => "GRANT",
            Self::NoGrant => "NO_GRANT",
            Self::GrantExpired => "GRANT_EXPIRED",
            Self::GrantNotYetValid => "GRANT_NOT_YET_VALID",
            Self::OutsideTimeWindow => "OUTSIDE_TIME_WINDOW",
            Self::UsesUncounted => "USES_UNCOUNTED",
            Self::OwnerUnknown => "OWNER_UNKNOWN",
            Self::IdentityInactive => "IDENTITY_INACTIVE",
            Self::Stale => "QONSENT_STALE",
        }
    }

    /// Whether it allows.
    pub const fn allows(self) -> bool {
        matches!(self, Self::Owner | Self::Grant)
    }
}
