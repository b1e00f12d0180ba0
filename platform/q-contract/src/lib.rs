//! An endpoint is declared once; everything that must agree about it reads that declaration.
//!
//! From one [`endpoint!`] come the router entry (q-http), the typed call ([`Client`]), OpenAPI 3.1
//! ([`openapi`]), the MCP tool, and the walk that tries every endpoint without rights (q-testkit).
//!
//! **Invariant:** nothing here knows a module, a store or a web framework.

pub mod authenticate;
pub mod body;
pub mod client;
pub mod codes;
pub mod endpoint;
pub mod openapi;
pub mod problem;
mod replicas;
pub mod transport;
pub mod wire;

pub use authenticate::{Authenticate, Target, TrustedCaller};
pub use body::{Blob, Document, PAGE, Readable, Reply, Text};
pub use client::{CallError, Client, Credential};
pub use endpoint::{Access, Declaration, Endpoint, Method};
pub use problem::{ErrorCode, Problem, step_up_required};
pub use replicas::Replicas;
pub use transport::{HttpTransport, InProcess, LocalHandler, Transport, Unreachable};

#[doc(hidden)]
pub mod macro_support {
    pub use schemars;
    pub use serde_json;
}
