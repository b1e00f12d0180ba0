//! Notes: what the parties of a transaction write beside it, for ever.

use q_contract::{Access, codes, endpoint, json_types};
use q_core::{Did, Timestamp};

use crate::{
    TransactionId,
    errors::{INVALID_STATE, TRANSACTION_NOT_FOUND},
    wire::wire,
};

/// The longest text of a note, in characters.
pub const NOTE_CHARACTERS_MAX: usize = 2_000;
/// The largest data of a note, in bytes of canonical JSON.
pub const NOTE_DATA_BYTES_MAX: usize = 8 * 1024;
/// The most notes beside one transaction.
pub const NOTES_MAX: i64 = 100;

wire! {
    /// Writes a note beside a transaction.
    pub struct AddNoteRequest {
        /// `tx_…`
        pub transaction_id: TransactionId,
        /// For people, at most 2,000 characters.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub text: Option<String>,
        /// For programs, any JSON of at most 8 KiB.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub data: Option<serde_json::Value>,
    }

    /// A note beside a transaction. It is never changed.
    pub struct Note {
        /// Its number beside its transaction, from 1.
        pub number: i64,
        /// Who wrote it.
        pub author: Did,
        /// When.
        pub at: Timestamp,
        /// For people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub text: Option<String>,
        /// For programs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub data: Option<serde_json::Value>,
    }
}

json_types!(Note);

endpoint! {
    /// Writes a note beside a transaction, for both its parties to read. Notes are never changed or removed.
    pub AddNote = POST "/tx/{transactionId}/notes" (AddNoteRequest) -> Note;
    status 201;
    access Access::Identity("wallet:write");
    errors [codes::INVALID_REQUEST, codes::IDEMPOTENCY_KEY_REUSED, codes::FORBIDDEN, TRANSACTION_NOT_FOUND, INVALID_STATE];
    example { "transactionId": "tx_0193a0c0de007000800000000000002a", "text": "for the roof, second part" };
}
