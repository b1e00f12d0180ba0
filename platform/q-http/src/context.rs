//! What a handler knows of a request besides its fields.

use std::net::IpAddr;

use http::HeaderMap;
use q_core::{Caller, Did, RequestKey};

use crate::Gate;

/// The circumstances of one request.
#[derive(Debug, Clone)]
pub struct Context {
    /// Who asks.
    pub caller: Caller,
    /// What makes a repetition of this write recognisable.
    pub request_key: Option<RequestKey>,
    /// Finds the request in logs, problems and events.
    pub trace_id: String,
    /// Where it came from, when it came over the network.
    pub peer: Option<IpAddr>,
    /// The headers, for the few endpoints whose standard defines one.
    pub headers: HeaderMap,
    /// What is still to be passed by a request whose sender only its body names.
    pub gate: Gate,
}

impl Context {
    /// The acting identity.
    ///
    /// # Panics
    /// When called behind an endpoint that lets anonymous callers in.
    pub fn did(&self) -> &Did {
        self.caller.did().expect("the endpoint's access rule admits identities only")
    }
}
