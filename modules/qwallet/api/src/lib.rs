//! What other modules and clients may see of qwallet: ids, wire types, endpoints, codes, events, and the
//! exact bytes that are signed.
//!
//! **Invariant:** promises only. No rule of the ledger is decided here.

pub mod books;
pub mod endpoints;
pub mod errors;
pub mod events;
pub mod ids;
pub mod rails;
pub mod refunds;
pub mod signing;
pub mod statements;
pub mod types;
mod wire;

pub use books::*;
pub use endpoints::*;
pub use ids::{BatchId, ImportId, IntentId, TransactionId, WalletId};
pub use rails::*;
pub use refunds::*;
pub use statements::*;
pub use types::*;
