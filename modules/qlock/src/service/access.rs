//! Who may do what with a key: its owner, and whom the owner's signed delegation names.

use q_core::{Did, Timestamp};
use q_pdp::{Pdp, Request};

use crate::store::keys::StoredKey;

/// What is done with a key, as a permission says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Read,
    Rotate,
    Encrypt,
    Decrypt,
    Sign,
}

impl Action {
    const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Rotate => "write",
            Self::Encrypt => "encrypt",
            Self::Decrypt => "decrypt",
            Self::Sign => "sign",
        }
    }
}

/// The one who asks, at the instant of asking.
#[derive(Clone)]
pub(super) struct Asker {
    pub(super) did: Did,
    pub(super) pdp: Pdp,
    pub(super) now: Timestamp,
}

impl Asker {
    /// Whether they may. An owner needs no permission, and so no fresh state of permissions either: a
    /// module can open its own data keys while qonsent is still starting.
    pub(super) fn may(&self, action: Action, key: &StoredKey) -> bool {
        if self.did == key.owner {
            return true;
        }
        let resource = format!("qlock:key:{}", key.key_id);
        let request = Request {
            principal: &self.did,
            action: action.name(),
            resource: &resource,
            owner: Some(&key.owner),
            now: self.now,
        };
        self.pdp.decide(&request).allowed
    }
}
