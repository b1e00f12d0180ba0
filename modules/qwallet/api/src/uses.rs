//! How often a permission that counts was used here.

use q_contract::{Access, codes, endpoint, json_types};

use crate::wire::wire;

wire! {
    /// Names a delegation.
    pub struct UsesPath {
        /// Its CID, as the grant lists it.
        pub cid: String,
    }

    /// How often a delegation was used for a wallet of this instance.
    pub struct Uses {
        /// Its CID.
        pub cid: String,
        /// How often.
        pub used: i64,
    }
}

json_types!(Uses);

endpoint! {
    /// Tells how often a permission that counts was used here, to whoever knows its CID: its parties.
    pub GetUses = GET "/grants/{cid}/uses" (UsesPath) -> Uses;
    access Access::Identity("wallet:read");
    errors [codes::INVALID_REQUEST];
}
