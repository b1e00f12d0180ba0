//! The stations that a request passes late because its body says who sends it: a signed order is its own credential.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use q_contract::Problem;
use q_core::{Caller, Env, Principal};

use crate::{mounted::Mounted, pipeline, rate_limit::RateLimiter};

/// Lets an identity in that proved itself by what it sent.
#[derive(Clone, Default)]
pub struct Gate(Option<Counting>);

#[derive(Clone)]
struct Counting {
    env: Env,
    limiter: Arc<RateLimiter>,
    is_informed: Arc<AtomicBool>,
    caller: Caller,
}

impl Gate {
    /// The gate of a request that came over the network from `caller`, as far as its token tells.
    pub(crate) fn of(mounted: &Mounted, caller: &Caller) -> Self {
        Self(Some(Counting {
            env: mounted.env.clone(),
            limiter: mounted.limiter.clone(),
            is_informed: mounted.is_informed.clone(),
            caller: caller.clone(),
        }))
    }

    /// A gate that stands open: for code of this process.
    pub const fn open() -> Self {
        Self(None)
    }

    /// Counts the request against the limit of whom it proved to be from, unless its token did so already. Nobody is
    /// believed before it is known which permissions were revoked.
    pub fn admit(&self, principal: &Principal) -> Result<(), Problem> {
        let Some(gate) = &self.0 else { return Ok(()) };
        if !gate.is_informed.load(Ordering::Relaxed) {
            return Err(pipeline::uninformed());
        }
        if gate.caller.is_service() || gate.caller.did() == Some(&principal.did) {
            return Ok(());
        }
        gate.limiter.identity(principal, gate.env.now()).map(drop)
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Gate" } else { "Gate(open)" })
    }
}
