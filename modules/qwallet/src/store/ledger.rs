//! Accounts, the journal, transactions, orders, holds and commits.

use std::{collections::HashMap, sync::Arc};

use q_core::{Amount, SignedAmount, Timestamp, Total, hash::Sha256};
use q_db::{Column, DbError, Reader, Row, Tx, Value, params};
use qwallet_api::{IntentId, TransactionId, WalletId};

use super::in_lists;
use crate::domain::{
    account::{Account, AccountId, AccountKind, Changed},
    calendar::Zone,
    chain::{self, Commit, TransactionLeaf},
    currency::CurrencyId,
    limits::{OwnLimits, Spent},
    transfer::{Leg, Phase, Purpose, Transfer},
};

/// How far apart the journals of two writers begin: each has its own places and commits.
pub const WRITER_SPAN: i64 = 1 << 44;

/// What a transaction was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionKind {
    /// One wallet paid another.
    Payment,
    /// Money was issued or withdrawn under two signatures.
    Issuance,
    /// The faucet of a demonstration gave test money.
    Faucet,
    /// What stripes received was moved to the account they belong to.
    Sweep,
    /// A payee gave back.
    Refund,
    /// A payer let the house hold money for a payee.
    Escrow,
    /// The house gave what it held.
    Release,
    /// A module of this instance or a schedule took what was agreed.
    Charge,
    /// Money came over a rail.
    Deposit,
    /// Money left over a rail.
    Withdrawal,
    /// Somebody moved money between wallets of their own.
    Transfer,
    /// Two operators set right what the books of a rail said.
    Correction,
}

impl TransactionKind {
    /// The number in the store.
    pub const fn code(self) -> i64 {
        match self {
            Self::Payment => 0,
            Self::Issuance => 1,
            Self::Faucet => 2,
            Self::Sweep => 3,
            Self::Refund => 4,
            Self::Escrow => 5,
            Self::Release => 6,
            Self::Charge => 7,
            Self::Deposit => 8,
            Self::Withdrawal => 9,
            Self::Transfer => 10,
            Self::Correction => 11,
        }
    }

    /// The kind with this number.
    pub const fn from_code(code: i64) -> Option<Self> {
        match code {
            0 => Some(Self::Payment),
            1 => Some(Self::Issuance),
            2 => Some(Self::Faucet),
            3 => Some(Self::Sweep),
            4 => Some(Self::Refund),
            5 => Some(Self::Escrow),
            6 => Some(Self::Release),
            7 => Some(Self::Charge),
            8 => Some(Self::Deposit),
            9 => Some(Self::Withdrawal),
            10 => Some(Self::Transfer),
            11 => Some(Self::Correction),
            _ => None,
        }
    }

    /// The kind with this name on the wire.
    pub fn find(name: &str) -> Option<Self> {
        (0..).map_while(Self::from_code).find(|kind| kind.name() == name)
    }

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Payment => "payment",
            Self::Issuance => "issuance",
            Self::Faucet => "faucet",
            Self::Sweep => "sweep",
            Self::Refund => "refund",
            Self::Escrow => "escrow",
            Self::Release => "release",
            Self::Charge => "charge",
            Self::Deposit => "deposit",
            Self::Withdrawal => "withdrawal",
            Self::Transfer => "transfer",
            Self::Correction => "correction",
        }
    }
}

/// A row of `transactions`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionRow {
    /// Its id.
    pub id: TransactionId,
    /// What it was for.
    pub kind: TransactionKind,
    /// Its first transfer; the others follow.
    pub first_seq: i64,
    /// How many transfers it began with.
    pub transfer_count: i64,
    /// The order behind it; 0 where nobody signed (the faucet).
    pub order: i64,
    /// The intent it fulfils.
    pub intent: Option<IntentId>,
    /// The payer's reference.
    pub client_ref: Option<String>,
    /// What it is for, sealed.
    pub purpose: Option<Vec<u8>>,
    /// The commit that wrote it.
    pub commit: i64,
}

impl TransactionRow {
    /// The leaf hash under its commit's root; it covers the digest of the order behind it.
    pub fn leaf(&self, order_digest: &Sha256) -> Sha256 {
        let leaf = TransactionLeaf {
            kind: self.kind.code(),
            first_seq: self.first_seq,
            transfer_count: self.transfer_count,
            order_digest,
            intent: self.intent.map(IntentId::bytes),
            client_ref: self.client_ref.as_deref(),
            purpose: self.purpose.as_deref(),
        };
        leaf.hash(self.id.bytes())
    }
}

/// A row of `orders`: the permission behind transactions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderRow {
    /// Its number; 0 until it is given one.
    pub id: i64,
    /// `payment`, `batch`, `import` or `issuance`, as a number.
    pub kind: i64,
    /// Who signed; several are separated by spaces.
    pub signer: String,
    /// The signing input.
    pub input: String,
    /// The compact JWS, several separated by spaces.
    pub signatures: String,
}

impl OrderRow {
    /// The hash that a transaction's leaf covers.
    pub fn digest(&self) -> Sha256 {
        chain::order_digest(self.kind, &self.signer, &self.input, &self.signatures)
    }
}

/// The digest that stands for "nobody signed".
pub const NO_ORDER: Sha256 = [0; 32];

/// The end of a writer's chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainEnd {
    /// The number of its last commit; 0 before the first.
    pub number: i64,
    /// The place of the next transfer.
    pub next_seq: i64,
    /// The number of its last order.
    pub last_order: i64,
    /// Its head.
    pub head: Sha256,
    /// When.
    pub at: Timestamp,
}

impl ChainEnd {
    /// The end of a chain without commits, whose places begin after `base`.
    const fn start(base: i64) -> Self {
        let head = crate::domain::chain::GENESIS;
        Self { number: 0, next_seq: base + 1, last_order: base, head, at: Timestamp::from_micros(0) }
    }
}

const ACCOUNT_COLUMNS: &str = "id, currency, kind, is_frozen, credits_posted, debits_posted, credits_pending, \
     debits_pending, credit_limit, version, stripe, changed_at, changed_by, limits, spent, is_guarded, \
     parent, timezone, timezone_since";

const TRANSFER_COLUMNS: &str = "seq, transaction_id, debit, credit, amount, purpose, phase, pending_of, \
     debit_version, debit_balance, credit_version, credit_balance";

const TRANSACTION_COLUMNS: &str =
    "id, kind, first_seq, transfer_count, order_id, intent, client_ref, purpose, commit_id";

const fn bad(column: usize, expected: &'static str) -> DbError {
    DbError::BadRow { column, expected }
}

fn total(row: &Row, column: usize) -> Result<Total, DbError> {
    Ok(Total::from_bytes(row.try_get(column)?))
}

fn account(row: &Row) -> Result<Account, DbError> {
    Ok(Account {
        id: AccountId(row.try_get(0)?),
        currency: CurrencyId(row.try_get(1)?),
        kind: AccountKind::from_code(row.try_get(2)?).ok_or(bad(2, "a kind of account"))?,
        is_frozen: row.try_get(3)?,
        credits_posted: total(row, 4)?,
        debits_posted: total(row, 5)?,
        credits_pending: total(row, 6)?,
        debits_pending: total(row, 7)?,
        credit_limit: Amount::from_bytes(row.try_get(8)?),
        version: row.try_get(9)?,
        stripe: row.try_get(10)?,
        changed: Changed { at: row.try_get(11)?, by: row.try_get(12)? },
        limits: row
            .try_get::<Option<Vec<u8>>>(13)?
            .map(|bytes| OwnLimits::from_bytes(&bytes).map(Box::new).ok_or(bad(13, "limits on spending")))
            .transpose()?,
        spent: match row.try_get::<Option<Vec<u8>>>(14)? {
            Some(bytes) => Spent::from_bytes(&bytes).ok_or(bad(14, "what was spent"))?,
            None => Spent::default(),
        },
        is_guarded: row.try_get(15)?,
        parent: row.try_get::<Option<i64>>(16)?.map(AccountId),
        zone: match row.try_get::<Option<String>>(17)? {
            Some(name) => Some(Arc::new(Zone::chosen(name, row.try_get(18)?))),
            None => None,
        },
    })
}

fn transfer(row: &Row) -> Result<Transfer, DbError> {
    let balance = |column| {
        let bytes: Vec<u8> = row.try_get(column)?;
        SignedAmount::from_bytes(&bytes).ok_or(bad(column, "a balance"))
    };
    Ok(Transfer {
        seq: row.try_get(0)?,
        transaction: TransactionId::from_bytes(row.try_get(1)?),
        leg: Leg {
            debit: AccountId(row.try_get(2)?),
            credit: AccountId(row.try_get(3)?),
            amount: Amount::from_bytes(row.try_get(4)?),
            purpose: Purpose::from_code(row.try_get(5)?).ok_or(bad(5, "a purpose"))?,
        },
        phase: Phase::from_code(row.try_get(6)?).ok_or(bad(6, "a phase"))?,
        pending_of: row.try_get(7)?,
        debit_version: row.try_get(8)?,
        debit_balance: balance(9)?,
        credit_version: row.try_get(10)?,
        credit_balance: balance(11)?,
    })
}

fn transaction(row: &Row) -> Result<TransactionRow, DbError> {
    Ok(TransactionRow {
        id: TransactionId::from_bytes(row.try_get(0)?),
        kind: TransactionKind::from_code(row.try_get(1)?).ok_or(bad(1, "a kind of transaction"))?,
        first_seq: row.try_get(2)?,
        transfer_count: row.try_get(3)?,
        order: row.try_get(4)?,
        intent: row.try_get::<Option<[u8; 16]>>(5)?.map(IntentId::from_bytes),
        client_ref: row.try_get(6)?,
        purpose: row.try_get(7)?,
        commit: row.try_get(8)?,
    })
}

/// Adds an account.
pub fn insert_account(tx: &mut Tx<'_>, account: &Account, wallet: Option<WalletId>) -> Result<(), DbError> {
    let row = params![
        account.id.0,
        account.currency.0,
        account.kind.code(),
        account.is_frozen,
        account.credits_posted.to_bytes(),
        account.debits_posted.to_bytes(),
        account.credits_pending.to_bytes(),
        account.debits_pending.to_bytes(),
        account.credit_limit.to_bytes(),
        account.version,
        account.stripe,
        account.changed.at,
        account.changed.by,
        account.limits.as_ref().map(|limits| limits.to_bytes()),
        account.spent.to_bytes(),
        account.is_guarded,
        account.parent.map(|parent| parent.0),
        account.zone.as_ref().map(|zone| zone.name()),
        account.zone.as_ref().map(|zone| zone.since),
        wallet.map(WalletId::bytes),
    ];
    let sql = format!(
        "INSERT INTO accounts ({ACCOUNT_COLUMNS}, wallet) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)"
    );
    tx.execute(&sql, row)?;
    Ok(())
}

/// The largest account number in use.
pub fn last_account(reader: &mut Reader<'_>) -> Result<i64, DbError> {
    reader.query_one("SELECT COALESCE(MAX(id), 0) FROM accounts", params![])?.try_get(0)
}

/// The accounts with these numbers, locked against other writers until the commit.
pub fn lock_accounts(tx: &mut Tx<'_>, ids: &[AccountId]) -> Result<Vec<Account>, DbError> {
    let keys: Vec<Value> = ids.iter().map(|id| Value::Integer(id.0)).collect();
    let rows = in_lists(&keys, |places, keys| {
        let sql = format!("SELECT {ACCOUNT_COLUMNS} FROM accounts WHERE id IN ({places}) ORDER BY id");
        tx.query_for_update(&sql, keys)
    })?;
    rows.iter().map(account).collect()
}

/// The accounts of a wallet, by number.
pub fn accounts_of(reader: &mut Reader<'_>, wallet: WalletId) -> Result<Vec<Account>, DbError> {
    let sql = format!("SELECT {ACCOUNT_COLUMNS} FROM accounts WHERE wallet = $1 ORDER BY id");
    reader.query(&sql, params![wallet.bytes()])?.iter().map(account).collect()
}

/// The account with this number.
pub fn find_account(reader: &mut Reader<'_>, id: AccountId) -> Result<Option<Account>, DbError> {
    let sql = format!("SELECT {ACCOUNT_COLUMNS} FROM accounts WHERE id = $1");
    reader.query_opt(&sql, params![id.0])?.as_ref().map(account).transpose()
}

/// The numbers of a wallet's accounts and stripes, with their currencies: all that the index of wallets holds.
pub fn account_numbers_of(
    reader: &mut Reader<'_>,
    wallet: WalletId,
) -> Result<Vec<(AccountId, CurrencyId)>, DbError> {
    let rows =
        reader.query("SELECT id, currency FROM accounts WHERE wallet = $1", params![wallet.bytes()])?;
    rows.iter().map(|row| Ok((AccountId(row.try_get(0)?), CurrencyId(row.try_get(1)?)))).collect()
}

/// The accounts that are not a wallet's, by number.
pub fn house_accounts(reader: &mut Reader<'_>) -> Result<Vec<Account>, DbError> {
    let sql = format!("SELECT {ACCOUNT_COLUMNS} FROM accounts WHERE wallet IS NULL ORDER BY id");
    reader.query(&sql, params![])?.iter().map(account).collect()
}

/// Calls `each` with every account and its wallet, by number.
pub fn for_each_account(
    reader: &mut Reader<'_>,
    mut each: impl FnMut(Result<(Account, Option<WalletId>), DbError>) -> Result<(), DbError>,
) -> Result<(), DbError> {
    let sql = format!("SELECT {ACCOUNT_COLUMNS}, wallet FROM accounts ORDER BY id");
    reader.for_each(&sql, params![], |row| {
        let wallet = row.try_get::<Option<[u8; 16]>>(19);
        each(account(&row).and_then(|account| Ok((account, wallet?.map(WalletId::from_bytes)))))
    })
}

/// The accounts after a number with their wallets, at most `count`, by number.
pub fn accounts_after(
    reader: &mut Reader<'_>,
    after: i64,
    count: u32,
) -> Result<Vec<(Account, Option<WalletId>)>, DbError> {
    let sql = format!("SELECT {ACCOUNT_COLUMNS}, wallet FROM accounts WHERE id > $1 ORDER BY id LIMIT $2");
    let rows = reader.query(&sql, params![after, count])?;
    let whole = |row: &Row| {
        let wallet = row.try_get::<Option<[u8; 16]>>(19)?;
        Ok((account(row)?, wallet.map(WalletId::from_bytes)))
    };
    rows.iter().map(whole).collect()
}

/// Writes the sums of changed accounts, each once, and whose commit changed them.
pub fn update_accounts(tx: &mut Tx<'_>, accounts: &[&Account], changed: Changed) -> Result<(), DbError> {
    const KEYS: [Column; 1] = [Column::integer("id")];
    const SETS: [Column; 8] = [
        Column::bytes("credits_posted"),
        Column::bytes("debits_posted"),
        Column::bytes("credits_pending"),
        Column::bytes("debits_pending"),
        Column::integer("version"),
        Column::integer("changed_at"),
        Column::integer("changed_by"),
        Column::bytes("spent"),
    ];
    let rows: Vec<[Value; 9]> = accounts
        .iter()
        .map(|account| {
            [
                account.id.0.into(),
                account.credits_posted.to_bytes().into(),
                account.debits_posted.to_bytes().into(),
                account.credits_pending.to_bytes().into(),
                account.debits_pending.to_bytes().into(),
                account.version.into(),
                changed.at.into(),
                changed.by.into(),
                account.spent.to_bytes().into(),
            ]
        })
        .collect();
    tx.update_many("accounts", &KEYS, &SETS, &rows)?;
    Ok(())
}

/// Replaces the limits of an account.
pub fn set_limits(tx: &mut Tx<'_>, id: AccountId, limits: &OwnLimits) -> Result<(), DbError> {
    tx.execute("UPDATE accounts SET limits = $1 WHERE id = $2", params![limits.to_bytes(), id.0])?;
    Ok(())
}

/// Sets the time zone in whose days and months is counted what an account spends.
pub fn set_zone(tx: &mut Tx<'_>, id: AccountId, zone: &Zone) -> Result<(), DbError> {
    let sql = "UPDATE accounts SET timezone = $1, timezone_since = $2 WHERE id = $3";
    tx.execute(sql, params![zone.name(), zone.since, id.0])?;
    Ok(())
}

/// Marks an account as one from which others have to approve payments.
pub fn guard(tx: &mut Tx<'_>, id: AccountId) -> Result<(), DbError> {
    tx.execute("UPDATE accounts SET is_guarded = 1 WHERE id = $1", params![id.0])?;
    Ok(())
}

/// Each account that has stripes, with one of them, and whether it is the house's.
pub fn stripes(reader: &mut Reader<'_>) -> Result<Vec<(AccountId, AccountId, bool)>, DbError> {
    let sql = "SELECT main.id, stripe.id, CAST(0 AS BIGINT) FROM accounts AS stripe JOIN accounts AS main \
               ON main.wallet = stripe.wallet AND main.currency = stripe.currency AND main.stripe = 0 \
               WHERE stripe.stripe > 0 AND stripe.wallet IS NOT NULL \
               UNION ALL SELECT main.id, stripe.id, CAST(1 AS BIGINT) FROM accounts AS stripe JOIN accounts AS main \
               ON main.kind = stripe.kind AND main.currency = stripe.currency AND main.stripe = 0 \
               AND main.wallet IS NULL WHERE stripe.stripe > 0 AND stripe.wallet IS NULL AND stripe.kind IN ($1, $2) \
               ORDER BY 2";
    let fees = params![AccountKind::PlatformFees.code(), AccountKind::NetworkFees.code()];
    let read = |row: &Row| {
        let is_house = row.try_get::<i64>(2)? == 1;
        Ok((AccountId(row.try_get(0)?), AccountId(row.try_get(1)?), is_house))
    };
    reader.query(sql, fees)?.iter().map(read).collect()
}

/// Appends transfers with their leaf hashes.
pub fn insert_transfers(
    tx: &mut Tx<'_>,
    transfers: &[Transfer],
    leaves: &[Sha256],
    commit: i64,
) -> Result<(), DbError> {
    const COLUMNS: [Column; 14] = [
        Column::integer("seq"),
        Column::bytes("transaction_id"),
        Column::integer("debit"),
        Column::integer("credit"),
        Column::bytes("amount"),
        Column::integer("purpose"),
        Column::integer("phase"),
        Column::integer("pending_of"),
        Column::integer("debit_version"),
        Column::bytes("debit_balance"),
        Column::integer("credit_version"),
        Column::bytes("credit_balance"),
        Column::integer("commit_id"),
        Column::bytes("leaf"),
    ];
    let rows: Vec<[Value; 14]> = transfers
        .iter()
        .zip(leaves)
        .map(|(transfer, leaf)| {
            [
                transfer.seq.into(),
                transfer.transaction.bytes().into(),
                transfer.leg.debit.0.into(),
                transfer.leg.credit.0.into(),
                transfer.leg.amount.to_bytes().into(),
                transfer.leg.purpose.code().into(),
                transfer.phase.code().into(),
                transfer.pending_of.into(),
                transfer.debit_version.into(),
                transfer.debit_balance.to_bytes().into(),
                transfer.credit_version.into(),
                transfer.credit_balance.to_bytes().into(),
                commit.into(),
                leaf.into(),
            ]
        })
        .collect();
    tx.insert_many("transfers", &COLUMNS, &rows)?;
    Ok(())
}

/// The leaf hashes of the transfers from `first` on.
pub fn leaves_from(reader: &mut Reader<'_>, first: i64, count: i64) -> Result<Vec<Sha256>, DbError> {
    let sql = "SELECT leaf FROM transfers WHERE seq >= $1 AND seq < $2 ORDER BY seq";
    let rows = reader.query(sql, params![first, first.saturating_add(count)])?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

/// The transfers from `first` up to and without `end`, each with its commit and stored leaf hash.
///
/// A row that cannot be read is handed over as its place and the error.
#[expect(clippy::type_complexity, reason = "a row or what is wrong with it, beside its place")]
pub fn stored_transfers(
    reader: &mut Reader<'_>,
    first: i64,
    end: i64,
) -> Result<Vec<(i64, Result<(Transfer, i64, Sha256), DbError>)>, DbError> {
    let sql = format!(
        "SELECT {TRANSFER_COLUMNS}, commit_id, leaf FROM transfers WHERE seq >= $1 AND seq < $2 ORDER BY seq"
    );
    let rows = reader.query(&sql, params![first, end])?;
    rows.iter()
        .map(|row| {
            let whole = transfer(row).and_then(|transfer| Ok((transfer, row.try_get(12)?, row.try_get(13)?)));
            Ok((row.try_get(0)?, whole))
        })
        .collect()
}

/// How many transfers a writer has after `seq`, which is of its span.
pub fn transfer_count(reader: &mut Reader<'_>, seq: i64) -> Result<i64, DbError> {
    let sql = "SELECT COUNT(*) FROM transfers WHERE seq > $1 AND seq <= $2";
    reader.query_one(sql, params![seq, end_of_span(seq)])?.try_get(0)
}

/// Appends transactions with their leaf hashes.
pub fn insert_transactions(
    tx: &mut Tx<'_>,
    transactions: &[TransactionRow],
    leaves: &[Sha256],
) -> Result<(), DbError> {
    const COLUMNS: [Column; 10] = [
        Column::bytes("id"),
        Column::integer("kind"),
        Column::integer("first_seq"),
        Column::integer("transfer_count"),
        Column::integer("order_id"),
        Column::bytes("intent"),
        Column::text("client_ref"),
        Column::bytes("purpose"),
        Column::integer("commit_id"),
        Column::bytes("leaf"),
    ];
    let rows: Vec<[Value; 10]> = transactions
        .iter()
        .zip(leaves)
        .map(|(row, leaf)| {
            [
                row.id.bytes().into(),
                row.kind.code().into(),
                row.first_seq.into(),
                row.transfer_count.into(),
                row.order.into(),
                row.intent.map(IntentId::bytes).into(),
                row.client_ref.as_deref().into(),
                row.purpose.as_deref().into(),
                row.commit.into(),
                leaf.into(),
            ]
        })
        .collect();
    tx.insert_many("transactions", &COLUMNS, &rows)?;
    Ok(())
}

/// The transaction, if it exists.
pub fn find_transaction(
    reader: &mut Reader<'_>,
    id: TransactionId,
) -> Result<Option<TransactionRow>, DbError> {
    let sql = format!("SELECT {TRANSACTION_COLUMNS} FROM transactions WHERE id = $1");
    reader.query_opt(&sql, params![id.bytes()])?.as_ref().map(transaction).transpose()
}

/// The transactions with these ids and their stored leaf hashes, in no particular order.
pub fn transactions(
    reader: &mut Reader<'_>,
    ids: &[TransactionId],
) -> Result<Vec<(TransactionRow, Sha256)>, DbError> {
    let keys: Vec<Value> = ids.iter().map(|id| id.bytes().into()).collect();
    let rows = in_lists(&keys, |places, keys| {
        let sql = format!("SELECT {TRANSACTION_COLUMNS}, leaf FROM transactions WHERE id IN ({places})");
        reader.query(&sql, keys)
    })?;
    rows.iter().map(|row| Ok((transaction(row)?, row.try_get(9)?))).collect()
}

/// How many transactions there are.
pub fn transaction_count(reader: &mut Reader<'_>) -> Result<i64, DbError> {
    reader.query_one("SELECT COUNT(*) FROM transactions", params![])?.try_get(0)
}

/// Appends an order.
pub fn insert_orders(tx: &mut Tx<'_>, orders: &[OrderRow]) -> Result<(), DbError> {
    const COLUMNS: [Column; 6] = [
        Column::integer("id"),
        Column::integer("kind"),
        Column::text("signer"),
        Column::text("input"),
        Column::text("signatures"),
        Column::bytes("digest"),
    ];
    let rows: Vec<[Value; 6]> = orders
        .iter()
        .map(|order| {
            [
                order.id.into(),
                order.kind.into(),
                order.signer.as_str().into(),
                order.input.as_str().into(),
                order.signatures.as_str().into(),
                order.digest().into(),
            ]
        })
        .collect();
    tx.insert_many("orders", &COLUMNS, &rows)?;
    Ok(())
}

/// The stored digests of these orders.
pub fn order_digests(reader: &mut Reader<'_>, ids: &[i64]) -> Result<Vec<(i64, Sha256)>, DbError> {
    let keys: Vec<Value> = ids.iter().map(|id| Value::Integer(*id)).collect();
    let rows = in_lists(&keys, |places, keys| {
        reader.query(&format!("SELECT id, digest FROM orders WHERE id IN ({places})"), keys)
    })?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// The order with this number.
pub fn find_order(reader: &mut Reader<'_>, id: i64) -> Result<Option<OrderRow>, DbError> {
    let sql = "SELECT id, kind, signer, input, signatures FROM orders WHERE id = $1";
    reader.query_opt(sql, params![id])?.as_ref().map(order).transpose()
}

/// The orders of a kind of which there are few.
pub fn orders_of_kind(reader: &mut Reader<'_>, kind: i64) -> Result<Vec<OrderRow>, DbError> {
    let sql = "SELECT id, kind, signer, input, signatures FROM orders WHERE kind = $1 ORDER BY id";
    reader.query(sql, params![kind])?.iter().map(order).collect()
}

fn order(row: &Row) -> Result<OrderRow, DbError> {
    Ok(OrderRow {
        id: row.try_get(0)?,
        kind: row.try_get(1)?,
        signer: row.try_get(2)?,
        input: row.try_get(3)?,
        signatures: row.try_get(4)?,
    })
}

/// Calls `each` with the number of every order of a writer after `id`, and the order and its stored digest or why they
/// cannot be read.
pub fn for_each_order(
    reader: &mut Reader<'_>,
    id: i64,
    mut each: impl FnMut(i64, Result<(OrderRow, Sha256), DbError>) -> Result<(), DbError>,
) -> Result<(), DbError> {
    let sql = "SELECT id, kind, signer, input, signatures, digest FROM orders WHERE id > $1 AND id <= $2 ORDER BY id";
    reader.for_each(sql, params![id, end_of_span(id)], |row| {
        let id = row.try_get(0)?;
        let whole = || {
            let order = OrderRow {
                id,
                kind: row.try_get(1)?,
                signer: row.try_get(2)?,
                input: row.try_get(3)?,
                signatures: row.try_get(4)?,
            };
            Ok((order, row.try_get(5)?))
        };
        each(id, whole())
    })
}

/// The end of the writer's chain.
pub fn chain_end(reader: &mut Reader<'_>, writer: i64) -> Result<ChainEnd, DbError> {
    let base = (writer - 1) * WRITER_SPAN;
    let sql = "SELECT number, first_seq + transfer_count, last_order, head, at FROM commits \
               WHERE id > $1 AND id <= $2 ORDER BY id DESC LIMIT 1";
    let row = reader.query_opt(sql, params![base, base + WRITER_SPAN])?;
    row.as_ref().map_or_else(|| Ok(ChainEnd::start(base)), read_chain_end)
}

fn read_chain_end(row: &Row) -> Result<ChainEnd, DbError> {
    Ok(ChainEnd {
        number: row.try_get(0)?,
        next_seq: row.try_get(1)?,
        last_order: row.try_get(2)?,
        head: row.try_get(3)?,
        at: row.try_get(4)?,
    })
}

/// The end that the writer's chain had at an instant.
pub fn chain_end_at(reader: &mut Reader<'_>, writer: i64, at: Timestamp) -> Result<ChainEnd, DbError> {
    let base = (writer - 1) * WRITER_SPAN;
    let last = commit_id(writer, chain_end(reader, writer)?.number);
    // Along a chain time does not go back, so the commit is found by halves.
    let (mut low, mut high) = (base, last + 1);
    while high - low > 1 {
        let middle = i64::midpoint(low, high);
        let row = reader.query_opt("SELECT at FROM commits WHERE id = $1", params![middle])?;
        let is_by_then = match row {
            Some(row) => row.try_get::<Timestamp>(0)? <= at,
            // A missing commit is named when the chain is read.
            None => false,
        };
        if is_by_then { low = middle } else { high = middle }
    }
    let sql = "SELECT number, first_seq + transfer_count, last_order, head, at FROM commits WHERE id = $1";
    let row = reader.query_opt(sql, params![low])?;
    row.as_ref().map_or_else(|| Ok(ChainEnd::start(base)), read_chain_end)
}

/// The last place and the last commit number of the writer that `after` is of, or that begins there.
pub const fn end_of_span(after: i64) -> i64 {
    (after.div_euclid(WRITER_SPAN) + 1) * WRITER_SPAN
}

/// The end of every writer's chain, with the writer.
pub fn chain_ends(reader: &mut Reader<'_>) -> Result<Vec<(i64, ChainEnd)>, DbError> {
    let writers = writers(reader)?;
    writers.into_iter().map(|writer| Ok((writer, chain_end(reader, writer)?))).collect()
}

/// Whoever wrote to this store, by number.
pub fn writers(reader: &mut Reader<'_>) -> Result<Vec<i64>, DbError> {
    let mut writers = Vec::new();
    let mut after = 0;
    // One search per writer instead of a walk over all commits.
    loop {
        let next = reader.query_one("SELECT MIN(id) FROM commits WHERE id > $1", params![after])?;
        let Some(id) = next.try_get::<Option<i64>>(0)? else { return Ok(writers) };
        writers.push((id - 1).div_euclid(WRITER_SPAN) + 1);
        after = end_of_span(id - 1);
    }
}

/// The head that is stored for a commit.
pub fn head_of(reader: &mut Reader<'_>, commit: i64) -> Result<Option<Sha256>, DbError> {
    let row = reader.query_opt("SELECT head FROM commits WHERE id = $1", params![commit])?;
    row.map(|row| row.try_get(0)).transpose()
}

/// The number under which a writer's commit is stored.
pub const fn commit_id(writer: i64, number: i64) -> i64 {
    (writer - 1) * WRITER_SPAN + number
}

/// The writer of the commit that is stored under a number, and its number in that writer's chain.
pub const fn commit_place(id: i64) -> (i64, i64) {
    ((id - 1).div_euclid(WRITER_SPAN) + 1, (id - 1).rem_euclid(WRITER_SPAN) + 1)
}

/// Appends a commit.
pub fn insert_commit(
    tx: &mut Tx<'_>,
    commit: &Commit,
    last_order: i64,
    head: &Sha256,
) -> Result<(), DbError> {
    let row = params![
        commit_id(commit.writer, commit.number),
        commit.writer,
        commit.number,
        commit.first_seq,
        commit.transfer_count,
        commit.transaction_count,
        last_order,
        commit.at,
        commit.root,
        head,
    ];
    tx.execute(
        "INSERT INTO commits (id, writer, number, first_seq, transfer_count, transaction_count, last_order, at, \
         root, head) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        row,
    )?;
    Ok(())
}

/// A commit and its stored head, or why they cannot be read.
pub type StoredCommit = Result<(Commit, Sha256), DbError>;

/// The commits of one writer after `id`, at most `count`, in the order of its chain, each with its number in the store.
pub fn commits_after(
    reader: &mut Reader<'_>,
    id: i64,
    count: u32,
) -> Result<Vec<(i64, StoredCommit)>, DbError> {
    let sql = "SELECT id, writer, number, first_seq, transfer_count, transaction_count, at, root, head \
               FROM commits WHERE id > $1 AND id <= $2 ORDER BY id LIMIT $3";
    let rows = reader.query(sql, params![id, end_of_span(id), count])?;
    let whole = |row: &Row| {
        let commit = Commit {
            writer: row.try_get(1)?,
            number: row.try_get(2)?,
            first_seq: row.try_get(3)?,
            transfer_count: row.try_get(4)?,
            transaction_count: row.try_get(5)?,
            at: row.try_get(6)?,
            root: row.try_get(7)?,
        };
        Ok((commit, row.try_get(8)?))
    };
    rows.iter().map(|row| Ok((row.try_get(0)?, whole(row)))).collect()
}

/// The instants of these commits.
pub fn commit_times(reader: &mut Reader<'_>, ids: &[i64]) -> Result<Vec<(i64, Timestamp)>, DbError> {
    let keys: Vec<Value> = ids.iter().map(|id| Value::Integer(*id)).collect();
    let rows = in_lists(&keys, |places, keys| {
        reader.query(&format!("SELECT id, at FROM commits WHERE id IN ({places})"), keys)
    })?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// The newest commit of any writer, and its instant.
pub fn last_commit(reader: &mut Reader<'_>) -> Result<(i64, Timestamp), DbError> {
    let sql = "SELECT id, at FROM commits ORDER BY at DESC, id DESC LIMIT 1";
    let row = reader.query_opt(sql, params![])?;
    row.map_or(Ok((0, Timestamp::default())), |row| Ok((row.try_get(0)?, row.try_get(1)?)))
}

/// The currency of an account.
pub fn currency_of(reader: &mut Reader<'_>, account: AccountId) -> Result<CurrencyId, DbError> {
    let row = reader.query_one("SELECT currency FROM accounts WHERE id = $1", params![account.0])?;
    Ok(CurrencyId(row.try_get(0)?))
}

/// The newest commit not after `at`, and its instant.
pub fn last_commit_at(reader: &mut Reader<'_>, at: Timestamp) -> Result<(i64, Timestamp), DbError> {
    let sql = "SELECT id, at FROM commits WHERE at <= $1 ORDER BY at DESC, id DESC LIMIT 1";
    let row = reader.query_opt(sql, params![at])?;
    row.map_or(Ok((0, Timestamp::default())), |row| Ok((row.try_get(0)?, row.try_get(1)?)))
}

/// The legs of the transfers at these places.
pub(super) fn legs_at(reader: &mut Reader<'_>, seqs: &[i64]) -> Result<HashMap<i64, Leg>, DbError> {
    let keys: Vec<Value> = seqs.iter().map(|seq| Value::Integer(*seq)).collect();
    let rows = in_lists(&keys, |places, keys| {
        reader.query(&format!("SELECT {TRANSFER_COLUMNS} FROM transfers WHERE seq IN ({places})"), keys)
    })?;
    rows.iter().map(|row| transfer(row).map(|transfer| (transfer.seq, transfer.leg))).collect()
}

/// A transfer with its commit, that commit's instant, and its leaf hash.
pub type Journalled = (Transfer, i64, Timestamp, Sha256);

/// The transfers at these places.
pub fn transfers_at(reader: &mut Reader<'_>, seqs: &[i64]) -> Result<HashMap<i64, Journalled>, DbError> {
    let keys: Vec<Value> = seqs.iter().map(|seq| Value::Integer(*seq)).collect();
    let rows = in_lists(&keys, |places, keys| {
        let sql = format!("{} WHERE transfers.seq IN ({places})", journalled());
        reader.query(&sql, keys)
    })?;
    rows.iter().map(|row| Ok((row.try_get(0)?, read_journalled(row)?))).collect()
}

/// The transfers of one writer after `seq`, at most `count`, in order.
pub fn transfers_after(reader: &mut Reader<'_>, seq: i64, count: u32) -> Result<Vec<Journalled>, DbError> {
    let sql = format!(
        "{} WHERE transfers.seq > $1 AND transfers.seq <= $2 ORDER BY transfers.seq LIMIT $3",
        journalled()
    );
    reader.query(&sql, params![seq, end_of_span(seq), count])?.iter().map(read_journalled).collect()
}

fn journalled() -> String {
    let columns: Vec<String> =
        TRANSFER_COLUMNS.split(", ").map(|column| format!("transfers.{column}")).collect();
    format!(
        "SELECT {}, transfers.commit_id, commits.at, transfers.leaf FROM transfers \
         JOIN commits ON commits.id = transfers.commit_id",
        columns.join(", ")
    )
}

fn read_journalled(row: &Row) -> Result<Journalled, DbError> {
    Ok((transfer(row)?, row.try_get(12)?, row.try_get(13)?, row.try_get(14)?))
}
