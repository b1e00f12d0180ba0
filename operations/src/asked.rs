//! Who asks for a change, and under which key.

use q_core::RequestKey;
use q_http::Context;

use crate::incidents::service::name_of;

/// The origin of a change.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// An operator's DID, or `automatic`.
    pub by: String,
    /// What makes a repetition recognisable.
    pub key: Option<RequestKey>,
}

impl From<&Context> for Asked {
    fn from(context: &Context) -> Self {
        Self { by: name_of(&context.caller), key: context.request_key.clone() }
    }
}
