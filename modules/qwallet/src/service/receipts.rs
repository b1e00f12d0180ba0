//! Receipts: what the books hold of a transaction, with its way to a head that the instance signs.

use std::collections::BTreeMap;

use q_core::{
    Caller,
    hash::{Sha256, hex},
};
use q_db::{DbError, Reader};
use q_jose::base64url;
use qwallet_api::{
    RECEIPT_TYP, Receipt, ReceiptAccount, ReceiptAnchor, ReceiptCommit, ReceiptContent, ReceiptLeaf,
    ReceiptOrder, TransactionId, TransactionLeaf,
};

use super::{Service, answers::Stored, holds::HOLD_ORDER, payments::PAYMENT_ORDER, schedules::MANDATE_ORDER};
use crate::{
    domain::{account::AccountId, chain, currency::Currency, receipt},
    error::Error,
    store::{
        self,
        ledger::{NO_ORDER, OrderRow, commit_id},
    },
};

/// What the books hold of a transaction, besides its own rows.
struct Found {
    order: Option<OrderRow>,
    order_digest: Sha256,
    commits: Vec<ReceiptCommit>,
}

impl Service {
    /// The receipt of a transaction of a wallet the caller may read.
    pub async fn receipt(&self, caller: &Caller, id: TransactionId) -> Result<Receipt, Error> {
        let stored = self.stored_transaction(id).await?.ok_or(Error::TransactionNotFound)?;
        let accounts: Vec<AccountId> = stored
            .transfers
            .iter()
            .flat_map(|(transfer, _)| [transfer.leg.debit, transfer.leg.credit])
            .collect();
        let wallets = self.directory.of_accounts(&accounts).await?;
        if !wallets.values().any(|wallet| self.may_read(caller, wallet)) {
            return Err(Error::TransactionNotFound);
        }
        let currency = Currency::by_id(stored.currency).ok_or(Error::Inconsistent("a currency"))?;
        let giver = stored.transfers.first().map(|(transfer, _)| transfer.leg.debit);
        let is_givers =
            giver.and_then(|giver| wallets.get(&giver)).is_some_and(|wallet| self.may_read(caller, wallet));
        let mut named: Vec<AccountId> = accounts;
        named.sort_unstable();
        named.dedup();
        let accounts = named.into_iter().map(|account| {
            let wallet = wallets.get(&account).map(|entry| &**entry);
            ReceiptAccount {
                account: account.0,
                wallet_ref: self.directory.account_name(account, wallet),
                owner: wallet.map(|wallet| wallet.row.owner.clone()),
            }
        });
        let transaction = self.transaction_of(&stored, false).await?;
        let (row, seqs) = (stored.row.clone(), seqs_of(&stored, id));
        let found = self.db.read(move |reader| find(reader, id, row.order, row.commit, &seqs)).await?;
        let found = found.ok_or(Error::Inconsistent("a commit"))?;
        let row = &stored.row;
        // A batch tells how many others were paid and how much it could cost: that is its payer's to show.
        let is_theirs = |order: &OrderRow| [PAYMENT_ORDER, HOLD_ORDER, MANDATE_ORDER].contains(&order.kind);
        let order = found.order.filter(|order| is_givers || is_theirs(order));
        let content = ReceiptContent {
            v: 1,
            iss: self.instance.did.clone(),
            transaction_id: id,
            r#type: row.kind.name().to_owned(),
            status: transaction.status,
            currency: currency.code.to_owned(),
            scale: currency.scale.decimals(),
            issued_at: self.env.now(),
            accounts: accounts.collect(),
            transaction: TransactionLeaf {
                kind: row.kind.code(),
                first_seq: row.first_seq,
                transfer_count: row.transfer_count,
                order_digest: hex(&found.order_digest),
                intent: row.intent.map(|intent| hex(&intent.bytes())),
                client_ref: row.client_ref.clone(),
                purpose: row.purpose.as_ref().map(base64url::encode),
            },
            order: order.map(|order| ReceiptOrder {
                kind: order.kind,
                signer: order.signer,
                input: order.input,
                signatures: order.signatures,
            }),
            commits: found.commits,
        };
        let payload = serde_json::to_vec(&content).map_err(|_| Error::Inconsistent("a receipt"))?;
        let jws = self.signer.sign(RECEIPT_TYP, &payload);
        // Nothing is signed away that a stranger would refuse: damage in the store shows here.
        if let Err(fault) = receipt::verify(&jws, |kid, _| receipt::key_named(kid)) {
            tracing::error!(transaction = %id, %fault, "the books do not prove a transaction");
            return Err(Error::Inconsistent("the proof of a transaction"));
        }
        Ok(Receipt { transaction_id: id, jws })
    }
}

/// The places of a transaction's transfers.
fn seqs_of(stored: &Stored, id: TransactionId) -> Vec<i64> {
    let own = stored.transfers.iter().filter(|(transfer, _)| transfer.transaction == id);
    own.map(|(transfer, _)| transfer.seq).collect()
}

/// Reads the commits of a transaction, what is under their roots, and the signed heads above them.
fn find(
    reader: &mut Reader<'_>,
    id: TransactionId,
    order: i64,
    began_in: i64,
    seqs: &[i64],
) -> Result<Option<Found>, DbError> {
    let mut of_commit: BTreeMap<i64, Vec<i64>> = BTreeMap::from([(began_in, Vec::new())]);
    for (seq, (_, commit, _, _)) in store::ledger::transfers_at(reader, seqs)? {
        of_commit.entry(commit).or_default().push(seq);
    }
    let mut commits = Vec::with_capacity(of_commit.len());
    for (commit, mut seqs) in of_commit {
        seqs.sort_unstable();
        match commit_of(reader, id, commit, &seqs)? {
            Some(commit) => commits.push(commit),
            None => return Ok(None),
        }
    }
    let order = if order == 0 { None } else { store::heads::order(reader, order)? };
    let order_digest = order.as_ref().map_or(NO_ORDER, OrderRow::digest);
    Ok(Some(Found { order, order_digest, commits }))
}

fn commit_of(
    reader: &mut Reader<'_>,
    id: TransactionId,
    number: i64,
    seqs: &[i64],
) -> Result<Option<ReceiptCommit>, DbError> {
    let Some((commit, before, head)) = store::heads::commit(reader, number)? else { return Ok(None) };
    let under = store::heads::leaves(reader, &commit)?;
    let paths = chain::Paths::of(&under.hashes);
    let leaf = |index: usize, transfer| ReceiptLeaf {
        index: u64::try_from(index).unwrap_or(u64::MAX),
        transfer,
        path: paths.path(index).iter().map(|hash| hex(hash)).collect(),
    };
    let own = under.transfers.iter().enumerate().filter(|(_, transfer)| seqs.contains(&transfer.seq));
    let mut leaves: Vec<ReceiptLeaf> =
        own.map(|(index, transfer)| leaf(index, Some(receipt::told(transfer)))).collect();
    if let Some(place) = under.begun.iter().position(|begun| *begun == id) {
        leaves.push(leaf(under.transfers.len() + place, None));
    }
    Ok(Some(ReceiptCommit {
        writer: commit.writer,
        number: commit.number,
        first_seq: commit.first_seq,
        transfer_count: commit.transfer_count,
        transaction_count: commit.transaction_count,
        at_micros: commit.at.micros(),
        before: hex(&before),
        root: hex(&commit.root),
        head: hex(&head),
        leaves,
        anchor: anchor_of(reader, commit.writer, commit.number)?,
    }))
}

/// The first signed head that covers a commit, with the way to it.
fn anchor_of(reader: &mut Reader<'_>, writer: i64, number: i64) -> Result<Option<ReceiptAnchor>, DbError> {
    let Some(signed) = store::heads::covering(reader, writer, number)? else { return Ok(None) };
    debug_assert!(
        commit_id(writer, number) > commit_id(writer, signed.after),
        "statements follow one another"
    );
    let heads = store::heads::heads_between(reader, writer, signed.after, signed.number)?;
    let leaves: Vec<Sha256> = heads.iter().map(|head| q_tlog::leaf_hash(head)).collect();
    let index = usize::try_from(number - signed.after - 1).unwrap_or(usize::MAX);
    let path = chain::Paths::of(&leaves).path(index).iter().map(|hash| hex(hash)).collect();
    Ok(Some(ReceiptAnchor { jws: signed.jws, path }))
}
