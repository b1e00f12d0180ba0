//! Whether a receipt proves what it tells: the same steps that a stranger takes, with nothing but the receipt and a key.
//!
//! Used by the instance before it hands a receipt out, and by `q receipt verify`, which knows no instance.
//!
//! **Invariant:** nothing is believed because the receipt says it: every hash is computed anew, and who signed is for
//! the caller to know.

use std::str::FromStr;

use q_core::{
    Amount, Did, SignedAmount, Timestamp,
    hash::{Sha256, hex},
};
use q_jose::{PublicKey, base64url, jws};
use qwallet_api::{
    HEAD_TYP, HeadStatement, RECEIPT_TYP, ReceiptAnchor, ReceiptCommit, ReceiptContent, ReceiptOrder,
    TransactionId, TransferLeaf,
};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    account::AccountId,
    chain::{self, Commit, TransactionLeaf},
    invocation::{Presented, key_id},
    order::Unverified,
    transfer::{Leg, Phase, Purpose, Transfer},
};

/// The largest receipt that is read, in bytes.
pub const RECEIPT_BYTES_MAX: usize = 4 << 20;

/// Why a receipt proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not a compact JWS.
    #[error("{0} is not a compact EdDSA JWS: {1}")]
    Jws(&'static str, jws::JwsError),
    /// A JWS of something else.
    #[error("{0} is signed as {1:?}, which is something else")]
    OtherType(&'static str, String),
    /// The key is not one that the caller knows to be the signer's.
    #[error("{0} is signed with {1}, which is not a key of whom you trust")]
    KeyUnknown(&'static str, String),
    /// The signature is by another key, or the text was changed.
    #[error("the signature of {0} does not hold")]
    Signature(&'static str),
    /// The payload is no statement of version 1.
    #[error("{0} is not of a form that is known here")]
    Form(&'static str),
    /// A number or digest cannot be read.
    #[error("{0} cannot be read")]
    Unreadable(&'static str),
    /// The leaf of a transfer leads elsewhere.
    #[error("transfer {0} is not under the root of its commit")]
    Transfer(i64),
    /// The leaf of the transaction leads elsewhere, or is not there.
    #[error("the transaction is not under the root of its commit")]
    Transaction,
    /// The head does not follow.
    #[error("the head of commit {0} does not follow from the commit and the head before it")]
    Head(i64),
    /// The signed head says nothing of this commit.
    #[error("the signed head does not cover commit {0}")]
    Anchor(i64),
    /// The order is not the one under the transaction's leaf.
    #[error("the order is not the one behind the transaction")]
    Order,
}

/// What a receipt proves.
#[derive(Debug, Clone, PartialEq)]
pub struct Proven {
    /// What it tells.
    pub content: ReceiptContent,
    /// The DID URL of the key that signed it.
    pub kid: String,
    /// The signed heads above its commits.
    pub heads: Vec<HeadStatement>,
    /// The keys that signed the order, where it is told: DID URLs. That they are the signer's, the signer's log says.
    pub order_keys: Vec<String>,
    /// Who signed it in the payer's place.
    pub delegated: Option<InPlace>,
}

/// Somebody who ordered in the place of the payer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InPlace {
    /// Who, and with which key: a DID URL.
    pub by: String,
    /// Whose wallet paid.
    pub payer: Did,
    /// The delegations that let them, the payer's own first.
    pub delegations: Vec<Link>,
}

/// A delegation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Link {
    /// What it is known by.
    pub cid: String,
    /// The key that signed it: a DID URL.
    pub key: String,
}

impl InPlace {
    /// Who invokes in the place of whom; nothing where the payer does.
    pub fn of(presented: &Presented) -> Option<Self> {
        let delegations: Vec<Link> = presented
            .delegations()
            .map(|link| Link { cid: link.cid().to_string(), key: key_id(link.issuer()) })
            .collect();
        let by = presented.key_ids().swap_remove(0);
        (!delegations.is_empty()).then(|| Self { by, payer: presented.payer().clone(), delegations })
    }
}

/// Checks a receipt. `key` answers the key of this DID URL if it was held by whom the caller trusts at the instant.
pub fn verify(text: &str, key: impl Fn(&str, Timestamp) -> Option<PublicKey>) -> Result<Proven, Fault> {
    const WHAT: &str = "the receipt";
    let (content, kid) = open::<ReceiptContent>(WHAT, RECEIPT_TYP, text, |content| content.issued_at, &key)?;
    if content.v != 1 {
        return Err(Fault::Form(WHAT));
    }
    let signed = content.order.as_ref().map(|order| order_of(&content, order)).transpose()?;
    let (order_keys, delegated) = signed.unwrap_or_default();
    let transaction = transaction_leaf(&content)?;
    let (mut heads, mut has_transaction) = (Vec::new(), false);
    for commit in &content.commits {
        has_transaction |= commit_of(&content, commit, &transaction)?;
        if let Some(anchor) = &commit.anchor {
            heads.push(anchor_of(&content, commit, anchor, &key)?);
        }
    }
    if !has_transaction {
        return Err(Fault::Transaction);
    }
    Ok(Proven { content, kid, heads, order_keys, delegated })
}

/// Reads a statement of ours and checks who signed it.
pub fn open<T: DeserializeOwned>(
    what: &'static str,
    typ: &str,
    text: &str,
    at: impl Fn(&T) -> Timestamp,
    key: impl Fn(&str, Timestamp) -> Option<PublicKey>,
) -> Result<(T, String), Fault> {
    let parsed =
        jws::Parsed::parse(text.trim(), RECEIPT_BYTES_MAX).map_err(|error| Fault::Jws(what, error))?;
    if parsed.header.typ.as_deref() != Some(typ) {
        return Err(Fault::OtherType(what, parsed.header.typ.unwrap_or_default()));
    }
    let kid = parsed.header.kid.clone().unwrap_or_default();
    // Only to find the key: nothing of it is believed before the signature holds.
    let told: T = parsed.unverified_claims().map_err(|_| Fault::Form(what))?;
    let key = key(&kid, at(&told)).ok_or_else(|| Fault::KeyUnknown(what, kid.clone()))?;
    parsed.verify(&key).map_err(|_| Fault::Signature(what))?;
    Ok((told, kid))
}

/// A commit as a receipt tells it, its own head, and the head before.
fn read_commit(told: &ReceiptCommit) -> Result<(Commit, Sha256), Fault> {
    let commit = Commit {
        writer: told.writer,
        number: told.number,
        first_seq: told.first_seq,
        transfer_count: told.transfer_count,
        transaction_count: told.transaction_count,
        at: Timestamp::from_micros(told.at_micros),
        root: digest(&told.root)?,
    };
    Ok((commit, digest(&told.before)?))
}

/// Checks a commit and the leaves in it; answers whether the transaction's own is among them.
fn commit_of(content: &ReceiptContent, told: &ReceiptCommit, transaction: &Sha256) -> Result<bool, Fault> {
    let (commit, before) = read_commit(told)?;
    if commit.head(&before) != digest(&told.head)? {
        return Err(Fault::Head(told.number));
    }
    let sum = commit.transfer_count.checked_add(commit.transaction_count);
    let size = sum.and_then(|sum| u64::try_from(sum).ok()).ok_or(Fault::Unreadable("a count"))?;
    let mut has_transaction = false;
    for leaf in &told.leaves {
        let (hash, fault) = if let Some(transfer) = &leaf.transfer {
            let hash = chain::transfer_leaf(&read_transfer(content.transaction_id, transfer)?);
            (hash, Fault::Transfer(transfer.seq))
        } else {
            has_transaction = true;
            (*transaction, Fault::Transaction)
        };
        q_tlog::verify_inclusion(&hash, leaf.index, size, &digests(&leaf.path)?, &commit.root)
            .map_err(|_| fault)?;
    }
    Ok(has_transaction)
}

/// Checks a signed head, and that it covers the commit.
fn anchor_of(
    content: &ReceiptContent,
    told: &ReceiptCommit,
    anchor: &ReceiptAnchor,
    key: impl Fn(&str, Timestamp) -> Option<PublicKey>,
) -> Result<HeadStatement, Fault> {
    let (head, _) =
        open::<HeadStatement>("the signed head", HEAD_TYP, &anchor.jws, |head| head.signed_at, key)?;
    let fault = || Fault::Anchor(told.number);
    if head.v != 1 || head.iss != content.iss || head.writer != told.writer {
        return Err(fault());
    }
    let (index, size) = place_below(&head, told.number).ok_or_else(fault)?;
    let leaf = q_tlog::leaf_hash(&digest(&told.head)?);
    let root = digest(&head.heads_root)?;
    q_tlog::verify_inclusion(&leaf, index, size, &digests(&anchor.path)?, &root).map_err(|_| fault())?;
    Ok(head)
}

/// The place of a commit among the heads that a statement covers, and how many these are.
fn place_below(head: &HeadStatement, number: i64) -> Option<(u64, u64)> {
    let size = u64::try_from(head.number.checked_sub(head.after)?).ok()?;
    let index = u64::try_from(number.checked_sub(head.after)?.checked_sub(1)?).ok()?;
    (index < size).then_some((index, size))
}

fn transaction_leaf(content: &ReceiptContent) -> Result<Sha256, Fault> {
    let told = &content.transaction;
    let intent = told.intent.as_deref().map(|text| hex_bytes(text, "the intent")).transpose()?;
    let purpose = told.purpose.as_deref().map(base64url::decode).transpose();
    let purpose = purpose.map_err(|_| Fault::Unreadable("the purpose"))?;
    let leaf = TransactionLeaf {
        kind: told.kind,
        first_seq: told.first_seq,
        transfer_count: told.transfer_count,
        order_digest: &digest(&told.order_digest)?,
        intent,
        client_ref: told.client_ref.as_deref(),
        purpose: purpose.as_deref(),
    };
    Ok(leaf.hash(content.transaction_id.bytes()))
}

/// Checks that the order is the one behind the transaction, and each signature under it by the key it names.
fn order_of(content: &ReceiptContent, order: &ReceiptOrder) -> Result<(Vec<String>, Option<InPlace>), Fault> {
    let digest = chain::order_digest(order.kind, &order.signer, &order.input, &order.signatures);
    if hex(&digest) != content.transaction.order_digest {
        return Err(Fault::Order);
    }
    let (mut keys, mut delegated) = (Vec::new(), None);
    for signature in order.signatures.split_whitespace().filter(|text| Presented::is_meant(text)) {
        let read = Presented::read(signature, order.input.as_bytes()).map_err(|_| Fault::Order)?;
        if read.invoker().as_str() != order.signer {
            return Err(Fault::Order);
        }
        // As of when it was carried out: in the commit that began the transaction.
        let began =
            content.commits.iter().find(|commit| commit.leaves.iter().any(|leaf| leaf.transfer.is_none()));
        let at = Timestamp::from_micros(began.ok_or(Fault::Transaction)?.at_micros);
        read.check_as_stranger(&content.iss, at).map_err(|_| Fault::Order)?;
        keys.extend(read.key_ids());
        delegated = InPlace::of(&read);
    }
    for signature in order.signatures.split_whitespace().filter(|text| !Presented::is_meant(text)) {
        let header = signature.split('.').next().and_then(|header| base64url::decode(header).ok());
        let header: Option<serde_json::Value> =
            header.and_then(|header| serde_json::from_slice(&header).ok());
        let typ = header.as_ref().and_then(|header| header["typ"].as_str()).unwrap_or_default();
        let read = Unverified::read(signature, typ, order.input.as_bytes()).map_err(|_| Fault::Order)?;
        let key = key_named(&read.kid).ok_or(Fault::Order)?;
        read.verify(&key).map_err(|_| Fault::Order)?;
        keys.push(read.kid);
    }
    Ok((keys, delegated))
}

/// The key that a DID URL of this house holds in its fragment.
pub fn key_named(kid: &str) -> Option<PublicKey> {
    PublicKey::from_multikey(kid.split_once('#')?.1).ok()
}

fn read_transfer(transaction: TransactionId, told: &TransferLeaf) -> Result<Transfer, Fault> {
    Ok(Transfer {
        seq: told.seq,
        transaction,
        leg: Leg {
            debit: AccountId(told.debit),
            credit: AccountId(told.credit),
            amount: Amount::from_units(units(&told.units)?),
            purpose: Purpose::from_code(told.purpose).ok_or(Fault::Unreadable("a purpose"))?,
        },
        phase: Phase::from_code(told.phase).ok_or(Fault::Unreadable("a phase"))?,
        pending_of: told.pending_of,
        debit_version: told.debit_version,
        debit_balance: signed_units(&told.debit_balance)?,
        credit_version: told.credit_version,
        credit_balance: signed_units(&told.credit_balance)?,
    })
}

/// A transfer as a receipt tells it.
pub fn told(transfer: &Transfer) -> TransferLeaf {
    let signed = |balance: SignedAmount| {
        let sign = if balance.is_negative() { "-" } else { "" };
        format!("{sign}{}", balance.magnitude().units())
    };
    TransferLeaf {
        seq: transfer.seq,
        debit: transfer.leg.debit.0,
        credit: transfer.leg.credit.0,
        units: transfer.leg.amount.units().to_string(),
        purpose: transfer.leg.purpose.code(),
        phase: transfer.phase.code(),
        pending_of: transfer.pending_of,
        debit_version: transfer.debit_version,
        debit_balance: signed(transfer.debit_balance),
        credit_version: transfer.credit_version,
        credit_balance: signed(transfer.credit_balance),
    }
}

fn units(text: &str) -> Result<u128, Fault> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let units = is_plain.then(|| u128::from_str(text).ok()).flatten();
    units.ok_or(Fault::Unreadable("an amount"))
}

fn signed_units(text: &str) -> Result<SignedAmount, Fault> {
    match text.strip_prefix('-') {
        Some(size) => Ok(SignedAmount::minus(Amount::from_units(units(size)?))),
        None => Ok(SignedAmount::plus(Amount::from_units(units(text)?))),
    }
}

fn digest(text: &str) -> Result<Sha256, Fault> {
    hex_bytes(text, "a digest")
}

fn digests(texts: &[String]) -> Result<Vec<Sha256>, Fault> {
    texts.iter().map(|text| digest(text)).collect()
}

fn hex_bytes<const N: usize>(text: &str, what: &'static str) -> Result<[u8; N], Fault> {
    let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).map_err(|_| Fault::Unreadable(what))?;
    bytes.try_into().map_err(|_| Fault::Unreadable(what))
}
