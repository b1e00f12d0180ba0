//! Receipts: what a stranger needs to be sure that a transaction is in the books of an instance, without asking it.
//!
//! A receipt is a compact JWS (EdDSA) of type [`RECEIPT_TYP`] whose payload is a [`ReceiptContent`]; its `kid` is the DID
//! URL of the key of the instance's wallet service. Whoever holds that service's DID log, or only its public key, checks
//! everything offline (`q receipt verify`):
//!
//! 1. the signature, by the named key, which the service held at `issuedAt`;
//! 2. each leaf: SHA-256 over the bytes given at [`TransferLeaf`] and [`TransactionLeaf`];
//! 3. each path from a leaf to the root of its commit (RFC 9162 section 2.1.3.2; leaves of a commit are its transfers by
//!    place, then the transactions it began by their first transfer);
//! 4. the head of the commit: SHA-256 of `q-ledger-head/1`, the head before it, the root, then `writer`, `number`,
//!    `firstSeq`, `transferCount`, `transactionCount` and `atMicros` as eight big-endian bytes each;
//! 5. where there is an `anchor`: its own JWS, a [`HeadStatement`] of type [`HEAD_TYP`], and the path from this head to
//!    its `headsRoot`. What the instance said there is in the log of its auditor (qerberos), so it cannot say otherwise
//!    to somebody else;
//! 6. where the order is told: its digest, and the payer's own signature over it.
//!
//! All hashes are SHA-256 in lower-case hexadecimal. Numbers in hashed bytes are big-endian; an amount has sixteen
//! bytes, a balance seventeen: 1 and the amount, or 0 and the complement of its size below zero.

use q_contract::{Access, endpoint, json_types};
use q_core::{Did, EventPayload, Timestamp};

use crate::{TransactionId, errors::TRANSACTION_NOT_FOUND, types::TransactionPath, wire::wire};

/// The type of the JWS of a receipt.
pub const RECEIPT_TYP: &str = "q-receipt+jws";
/// The type of the JWS of a signed head.
pub const HEAD_TYP: &str = "q-ledger-head+jws";

wire! {
    /// A signed receipt.
    pub struct Receipt {
        /// What it is of.
        pub transaction_id: TransactionId,
        /// A compact JWS of type `q-receipt+jws`, whose payload tells and proves the transaction.
        pub jws: String,
    }

    /// The payload of a receipt.
    pub struct ReceiptContent {
        /// The version of this form, 1.
        pub v: u8,
        /// The DID of the instance.
        pub iss: Did,
        /// The transaction.
        pub transaction_id: TransactionId,
        /// What it was for, such as `payment`.
        pub r#type: String,
        /// `SIGNED`, `SETTLED`, `CANCELLED` or `EXPIRED`, when the receipt was made.
        pub status: String,
        /// The currency of all amounts.
        pub currency: String,
        /// How many decimals its smallest unit has.
        pub scale: u8,
        /// When the receipt was made.
        pub issued_at: Timestamp,
        /// Whose the accounts are that the transfers name.
        pub accounts: Vec<ReceiptAccount>,
        /// What the leaf of the transaction is made of.
        pub transaction: TransactionLeaf,
        /// What the payer signed; told to whoever may read the payer's wallet, and to the payee of a single payment.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub order: Option<ReceiptOrder>,
        /// The commits that wrote it, each with the leaves it has there.
        pub commits: Vec<ReceiptCommit>,
    }

    /// An account, and whose it is.
    pub struct ReceiptAccount {
        /// Its number in the books.
        pub account: i64,
        /// The wallet's reference, or the name of a house account.
        pub wallet_ref: String,
        /// Whose wallet.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub owner: Option<Did>,
    }

    /// What is hashed of a transaction: a zero byte, `q-transaction/1`, the sixteen bytes of its id, `kind`, `firstSeq`
    /// and `transferCount` in eight bytes each, the order's digest, the sixteen bytes of the intent's id or zeros, then
    /// `clientRef` and `purpose`, each after its length plus one in eight bytes, or after zero where there is none.
    pub struct TransactionLeaf {
        /// The number of its kind.
        pub kind: i64,
        /// The place of its first transfer.
        pub first_seq: i64,
        /// How many transfers it began with.
        pub transfer_count: i64,
        /// The digest of the order behind it; zeros where nobody signed.
        pub order_digest: String,
        /// The bytes of the intent's id, in hexadecimal.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub intent: Option<String>,
        /// The payer's reference.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub client_ref: Option<String>,
        /// The purpose as it is stored, sealed: base64url.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub purpose: Option<String>,
    }

    /// An order: its digest is SHA-256 of `q-order/1`, `kind` in eight bytes, `signer` and `input`, each after its
    /// length in eight bytes, and `signatures`.
    pub struct ReceiptOrder {
        /// The number of its kind.
        pub kind: i64,
        /// The DIDs of those who signed, with spaces between them.
        pub signer: String,
        /// The canonical JSON that was signed.
        pub input: String,
        /// The compact JWS over it, with spaces between them.
        pub signatures: String,
    }

    /// A commit, and what of the transaction is in it.
    pub struct ReceiptCommit {
        /// Whose chain.
        pub writer: i64,
        /// Its number in the chain, from 1.
        pub number: i64,
        /// The place of its first transfer.
        pub first_seq: i64,
        /// How many transfers it has.
        pub transfer_count: i64,
        /// How many transactions it began.
        pub transaction_count: i64,
        /// When, in microseconds since 1970-01-01T00:00:00Z.
        pub at_micros: i64,
        /// The head before it.
        pub before: String,
        /// The Merkle root of its leaves.
        pub root: String,
        /// The head after it.
        pub head: String,
        /// The leaves of the transaction.
        pub leaves: Vec<ReceiptLeaf>,
        /// The first signed head that covers it, once there is one: within about a minute.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub anchor: Option<ReceiptAnchor>,
    }

    /// A leaf with its path.
    pub struct ReceiptLeaf {
        /// Its place among the leaves of the commit, from 0.
        pub index: u64,
        /// The transfer; absent for the leaf of the transaction itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub transfer: Option<TransferLeaf>,
        /// The hashes beside the way to the root, from the leaf up.
        pub path: Vec<String>,
    }

    /// What is hashed of a transfer: a zero byte, `q-transfer/1`, then `seq` in eight bytes, the sixteen bytes of the
    /// transaction's id, `debit` and `credit` in eight each, `units` in sixteen, `purpose`, `phase` and `pendingOf` (0
    /// for none) in eight each, `debitVersion` in eight and `debitBalance` in seventeen, `creditVersion` in eight and
    /// `creditBalance` in seventeen.
    pub struct TransferLeaf {
        /// Its place in the journal.
        pub seq: i64,
        /// The account that gave.
        pub debit: i64,
        /// The account that received.
        pub credit: i64,
        /// How much, in smallest units.
        pub units: String,
        /// The number of its purpose: 0 is what the recipient gets.
        pub purpose: i64,
        /// What it does: 0 moves, 1 holds, 2 moves what was held, 3 frees it.
        pub phase: i64,
        /// The place of the held transfer it ends.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub pending_of: Option<i64>,
        /// The giver's version after it.
        pub debit_version: i64,
        /// The giver's settled balance after it, in smallest units.
        pub debit_balance: String,
        /// The receiver's version after it.
        pub credit_version: i64,
        /// The receiver's settled balance after it, in smallest units.
        pub credit_balance: String,
    }

    /// A signed head above a commit.
    pub struct ReceiptAnchor {
        /// A compact JWS of type `q-ledger-head+jws`, whose payload is a head statement.
        pub jws: String,
        /// The hashes beside the way from this commit's head to `headsRoot`; its place there is its number less `after`
        /// less one.
        pub path: Vec<String>,
    }

    /// What the instance says of a chain, once a minute while it grows.
    pub struct HeadStatement {
        /// The version of this form, 1.
        pub v: u8,
        /// The DID of the instance.
        pub iss: Did,
        /// Whose chain.
        pub writer: i64,
        /// The number of the last commit that the statement before covers; 0 in the first.
        pub after: i64,
        /// The number of the last commit that this one covers.
        pub number: i64,
        /// The head after it.
        pub head: String,
        /// The Merkle root (RFC 9162) over the heads of the commits behind `after` up to `number`, 32 bytes each.
        pub heads_root: String,
        /// When that commit was made, in microseconds since 1970-01-01T00:00:00Z.
        pub at_micros: i64,
        /// When it was signed.
        pub signed_at: Timestamp,
    }

    /// The books were anchored: a head was signed, and told to the auditor.
    pub struct LedgerAnchored {
        /// Whose chain.
        pub writer: i64,
        /// The number of the last commit it covers.
        pub number: i64,
        /// The head after it.
        pub head: String,
        /// The root over the heads since the statement before.
        pub heads_root: String,
        /// The signed statement, a compact JWS.
        pub jws: String,
    }
}

impl EventPayload for LedgerAnchored {
    const TOPIC: &'static str = "q.qwallet.ledger.anchored.v1";
    fn subject(&self) -> String {
        format!("ledger:{}", self.writer)
    }
}

json_types!(Receipt);

endpoint! {
    /// Proves a transaction to a stranger: its rows, their way into the chain of the books, and the instance's signature.
    ///
    /// The answer is checked offline, with nothing but the DID log or public key of the instance's wallet service.
    pub GetReceipt = GET "/tx/{transactionId}/receipt" (TransactionPath) -> Receipt;
    access Access::Identity("wallet:read");
    errors [TRANSACTION_NOT_FOUND];
}
