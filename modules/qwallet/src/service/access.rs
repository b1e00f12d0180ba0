//! Who may see a wallet: its owner, and whom the owner allowed to read it.

use q_core::Caller;
use q_pdp::{Reason, Request};

use super::{Service, directory::WalletEntry};

impl Service {
    /// Whether `caller` may read the wallet. The answer to no is 404: that a wallet exists is private too.
    pub(super) fn may_read(&self, caller: &Caller, wallet: &WalletEntry) -> bool {
        self.may(caller, wallet, "read")
    }

    /// Whether `caller` may do `action` to the wallet.
    pub(super) fn may(&self, caller: &Caller, wallet: &WalletEntry, action: &str) -> bool {
        let Some(did) = caller.did() else { return false };
        let resource = resource(wallet);
        let request = Request {
            principal: did,
            action,
            resource: &resource,
            owner: Some(&wallet.row.owner),
            now: self.env.now(),
        };
        let decision = self.pdp.decide(&request);
        // An owner needs nobody's grant, so what the permissions last heard may be old; that the owner was
        // suspended still counts.
        let is_active_owner = *did == wallet.row.owner && decision.reason != Reason::IdentityInactive;
        decision.allowed || is_active_owner
    }
}

/// The name of a wallet in permissions.
fn resource(wallet: &WalletEntry) -> String {
    format!("qwallet:wallet:{}", wallet.row.id)
}
