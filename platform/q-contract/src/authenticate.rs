//! The seam between the server and whoever checks credentials.

use http::request::Parts;
use q_core::Caller;

use crate::Problem;

/// Where a request was sent, as the server is known from outside: never taken from its `Host` header.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The origins (with path prefix, without trailing slash) under which this module is reachable.
    pub bases: &'a [String],
    /// The method.
    pub method: &'a str,
    /// The path below the base, without query.
    pub path: &'a str,
    /// The name of the module that answers.
    pub module: &'a str,
}

/// Tells who is asking from the credentials in a request's head.
pub trait Authenticate: Send + Sync + 'static {
    /// The caller, [`Caller::Anonymous`] when the request carries no credential at all.
    ///
    /// # Errors
    /// A credential that is there but does not hold.
    fn authenticate(&self, head: &Parts, target: Target<'_>) -> Result<Caller, Problem>;
}

/// A caller vouched for by code of the same process; as an extension of a request it cannot come from the wire.
#[derive(Debug, Clone)]
pub struct TrustedCaller(pub Caller);
