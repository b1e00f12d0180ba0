//! Who may see a wallet: its owner, and whom the owner allowed to read it.

use q_core::Caller;
use q_db::{
    DbError,
    uses::{self, Allotment},
};
use q_pdp::{Reason, Request};
use q_ucan::TokenCid;
use qwallet_api::Uses;

use super::{Service, directory::WalletEntry};
use crate::{domain::payment::Refusal, error::Error};

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
        // A parent sees what is spent on its limits.
        let is_owner =
            *did == wallet.row.owner || (action == "read" && wallet.parent_owner.as_ref() == Some(did));
        let is_active_owner = is_owner && decision.reason != Reason::IdentityInactive;
        decision.allowed || is_active_owner
    }
}

impl Service {
    /// Like [`Service::may_read`]; where a grant allows a number of times, this is one of them.
    pub(super) async fn may_read_once(&self, caller: &Caller, wallet: &WalletEntry) -> Result<bool, DbError> {
        if self.may_read(caller, wallet) {
            return Ok(true);
        }
        let Some(did) = caller.did() else { return Ok(false) };
        let (resource, now) = (resource(wallet), self.env.now());
        let owner = Some(&wallet.row.owner);
        let request = Request { principal: did, action: "read", resource: &resource, owner, now };
        let counted = self.pdp.decide_counting(&request);
        if !counted.decision.allowed {
            return Ok(false);
        }
        let allotments: Vec<Allotment> =
            counted.uses.iter().map(|one| Allotment { name: one.name(), most: one.max }).collect();
        self.db.write(move |tx| uses::take(tx, &allotments)).await
    }
}

impl Service {
    /// How often a permission was used here.
    pub async fn uses(&self, cid: String) -> Result<Uses, Error> {
        let name = *cid.parse::<TokenCid>().map_err(|_| Refusal::Malformed("cid"))?.digest();
        let used = self.db.read(move |reader| uses::used(reader, &name)).await?;
        Ok(Uses { cid, used })
    }
}

/// The name of a wallet in permissions.
fn resource(wallet: &WalletEntry) -> String {
    format!("qwallet:wallet:{}", wallet.row.id)
}
