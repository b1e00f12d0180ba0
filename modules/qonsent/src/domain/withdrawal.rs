//! Who may take back what: everybody who signed a link of the chain, and so the owner too.

use q_core::Did;
use q_ucan::{Delegation, TokenCid};

/// One action of a live grant with its chain, root first.
#[derive(Debug, Clone)]
pub struct LiveChain {
    /// The action.
    pub permission: String,
    /// The chain.
    pub links: Vec<Delegation>,
}

impl LiveChain {
    /// The delegation to revoke so that this chain ends: the last one, which nobody else's chain goes through
    /// unless the holder shared on. `None` when `caller` signed no link of it.
    pub fn revocable_by(&self, caller: &Did) -> Option<TokenCid> {
        let is_issuer = self.links.iter().any(|link| link.issuer().did == *caller);
        is_issuer.then(|| self.links.last().map(Delegation::cid)).flatten()
    }
}

/// Whether `caller` may revoke `target` by itself: its issuer, or the owner whose authority it hands on.
pub fn may_revoke(target: &Delegation, caller: &Did) -> bool {
    target.issuer().did == *caller || target.subject() == Some(caller)
}
