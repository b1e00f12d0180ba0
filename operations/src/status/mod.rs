//! What everybody may see.
//!
//! **Invariant:** no internals and no personal data leave this room.

use q_http::ApiBuilder;

use crate::Desk;

/// The endpoints of this room.
pub(crate) fn routes(api: ApiBuilder<Desk>) -> ApiBuilder<Desk> {
    api
}
