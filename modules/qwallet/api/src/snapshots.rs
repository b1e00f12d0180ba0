//! Snapshots: what many held at one past instant, signed once and proved one by one. Governance weighs votes by them.

use q_contract::{Access, codes, endpoint, json_types};
use q_core::{AmountText, Did, PageLimit, Timestamp};

use crate::{
    SnapshotId,
    errors::{CURRENCY_UNSUPPORTED, SNAPSHOT_NOT_FOUND, SNAPSHOT_TOO_OLD},
    wire::wire,
};

/// The most holders of a snapshot.
pub const SNAPSHOT_HOLDERS_MAX: usize = 10_000;
/// The type of the JWS of a snapshot.
pub const SNAPSHOT_TYP: &str = "q-snapshot+jws";

wire! {
    /// Takes a snapshot.
    pub struct CreateSnapshotRequest {
        /// The currency.
        pub currency: String,
        /// The instant, at least ten seconds ago, so that nothing of it is still being written.
        pub as_of: Timestamp,
        /// Whose wallets, each once; at most 10,000. Who has none holds nothing.
        pub holders: Vec<Did>,
        /// Whether the answer proves each entry.
        #[serde(default)]
        pub proofs: bool,
    }

    /// What one holder had.
    pub struct SnapshotEntry {
        /// Whose wallet.
        pub holder: Did,
        /// What was settled; negative only within a credit limit.
        pub balance: AmountText,
        /// Its place among the leaves, from 0: entries stand in the order of the bytes of their DIDs.
        pub index: u64,
        /// The hashes beside the way from its leaf to `merkleRoot`, from the leaf up, where they were asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub path: Option<Vec<String>>,
    }

    /// A snapshot.
    pub struct Snapshot {
        /// Its id.
        pub snapshot_id: SnapshotId,
        /// The currency.
        pub currency: String,
        /// The instant.
        pub as_of: Timestamp,
        /// How many holders.
        pub count: u64,
        /// What they held together.
        pub total: AmountText,
        /// The Merkle root (RFC 9162) over the entries. A leaf's entry is the canonical JSON (RFC 8785) of
        /// `{"balance": …, "holder": …}`.
        pub merkle_root: String,
        /// A compact JWS of type `q-snapshot+jws`, whose payload is a snapshot statement.
        pub jws: String,
        /// When it was taken.
        pub created_at: Timestamp,
        /// The entries, or a page of them.
        pub entries: Vec<SnapshotEntry>,
        /// Where the next page begins; absent on the last.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub next_cursor: Option<String>,
    }

    /// What is signed of a snapshot.
    pub struct SnapshotStatement {
        /// The version of this form, 1.
        pub v: u8,
        /// The DID of the instance.
        pub iss: Did,
        /// Its id.
        pub snapshot_id: SnapshotId,
        /// The currency.
        pub currency: String,
        /// The instant.
        pub as_of: Timestamp,
        /// How many holders.
        pub count: u64,
        /// What they held together.
        pub total: AmountText,
        /// The root over the entries.
        pub merkle_root: String,
        /// When it was taken.
        pub created_at: Timestamp,
    }

    /// What a leaf of a snapshot is made of.
    pub struct SnapshotLeaf {
        /// As it is told.
        pub balance: AmountText,
        /// Whose.
        pub holder: Did,
    }

    /// Asks for a snapshot and a page of its entries.
    pub struct GetSnapshotRequest {
        /// `snapshot_…`
        pub snapshot_id: SnapshotId,
        /// Only this holder, with proof.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub holder: Option<Did>,
        /// Where the last page ended.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub cursor: Option<String>,
        /// How many entries.
        #[serde(default)]
        pub limit: PageLimit,
    }
}

json_types!(Snapshot);

endpoint! {
    /// Takes a snapshot of what many held at a past instant: signed, and every entry provable by itself.
    pub CreateSnapshot = POST "/snapshots" (CreateSnapshotRequest) -> Snapshot;
    status 201;
    access Access::Operator;
    errors [codes::INVALID_REQUEST, codes::IDEMPOTENCY_KEY_REUSED, CURRENCY_UNSUPPORTED, SNAPSHOT_TOO_OLD];
    body_max 2 << 20;
    example {
        "currency": "QToken", "asOf": "2026-11-21T20:00:00Z", "holders": ["did:squid:QmExample"]
    };
}
endpoint! {
    /// Shows a snapshot. Operators see all entries; a holder sees the own one, with its proof.
    pub GetSnapshot = GET "/snapshots/{snapshotId}" (GetSnapshotRequest) -> Snapshot;
    access Access::Identity("wallet:read");
    errors [SNAPSHOT_NOT_FOUND];
}
