//! From a heap of delegations to one proving chain per permission.

use std::sync::Arc;

use q_core::Did;
use q_ucan::{Chain, Delegation, Ipld, Refusal, policy::args};

use crate::resource::{Resource, command};

/// A permission and the chain that proves it.
#[derive(Debug, Clone, PartialEq)]
pub struct Proven {
    /// The action, literally.
    pub permission: String,
    /// From the owner to the holder.
    pub chain: Chain,
}

/// Finds in `pool` a chain from `owner` to `holder` for each of `permissions` on `resource`.
///
/// Judges everything but signatures, times and withdrawals.
pub fn prove(
    pool: &[Arc<Delegation>],
    owner: &Did,
    holder: &Did,
    resource: &Resource,
    permissions: &[String],
) -> Result<Vec<Proven>, Refusal> {
    permissions
        .iter()
        .map(|permission| {
            let command = command(resource, permission)
                .map_err(|_| Refusal::InvalidClaim("a permission is a lower-case action"))?;
            let chain = Chain::find(pool, holder, owner, &command, &arguments(resource, permission))?;
            Ok(Proven { permission: permission.clone(), chain })
        })
        .collect()
}

/// What policies are judged on: the executor's own words, never the requester's.
pub fn arguments(resource: &Resource, action: &str) -> Ipld {
    args([
        ("resource", Ipld::String(resource.as_str().to_owned())),
        ("action", Ipld::String(action.to_owned())),
    ])
}
