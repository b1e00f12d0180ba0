//! What other modules and clients may see of qwallet: ids, wire types, endpoints, codes, events, and the
//! exact bytes that are signed.
//!
//! **Invariant:** promises only. No rule of the ledger is decided here.

pub mod approvals;
pub mod books;
pub mod endpoints;
pub mod errors;
pub mod escrows;
pub mod events;
pub mod fees;
pub mod holds;
pub mod ids;
pub mod notes;
pub mod plans;
pub mod quotes;
pub mod rails;
pub mod receipts;
pub mod refunds;
pub mod requests;
pub mod schedules;
pub mod signing;
pub mod snapshots;
pub mod statements;
pub mod types;
pub mod uses;
pub mod wallets;
pub mod webhooks;
mod wire;

pub use approvals::*;
pub use books::*;
pub use endpoints::*;
pub use escrows::*;
pub use fees::{FeeRate, FeeVersion, FeeVersions, GetFees, GetFeesRequest, SetFees, SetFeesRequest};
pub use holds::*;
pub use ids::{
    BatchId, CaptureId, EscrowId, ImportId, IntentId, PlanId, RequestId, ScheduleId, SnapshotId,
    TransactionId, WalletId,
};
pub use notes::*;
pub use plans::*;
pub use quotes::*;
pub use rails::*;
pub use receipts::*;
pub use refunds::*;
pub use requests::*;
pub use schedules::*;
pub use snapshots::*;
pub use statements::*;
pub use types::*;
pub use uses::*;
pub use wallets::*;
pub use webhooks::*;
