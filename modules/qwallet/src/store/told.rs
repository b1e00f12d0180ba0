//! What is read to tell others of a commit.

use std::collections::HashMap;

use q_db::{DbError, Reader, Value};
use qwallet_api::{TransactionId, WalletId};

use super::{holds, in_lists};
use crate::domain::{
    account::{AccountId, AccountKind},
    books::HoldEnd,
    currency::CurrencyId,
    told::Party,
};

/// Who stands behind these accounts.
pub fn parties(
    reader: &mut Reader<'_>,
    accounts: &[AccountId],
) -> Result<HashMap<AccountId, Party>, DbError> {
    let keys: Vec<Value> = accounts.iter().map(|id| Value::Integer(id.0)).collect();
    let rows = in_lists(&keys, |places, keys| {
        let sql = format!(
            "SELECT accounts.id, accounts.kind, accounts.currency, accounts.stripe, wallets.id, wallets.reference \
             FROM accounts LEFT JOIN wallets ON wallets.id = accounts.wallet WHERE accounts.id IN ({places})"
        );
        reader.query(&sql, keys)
    })?;
    let parties = rows.iter().map(|row| {
        let wallet = row.try_get::<Option<[u8; 16]>>(4)?.map(WalletId::from_bytes);
        let reference: Option<String> = row.try_get(5)?;
        let kind = AccountKind::from_code(row.try_get(1)?);
        let party = Party {
            kind: kind.ok_or(DbError::BadRow { column: 1, expected: "a kind of account" })?,
            currency: CurrencyId(row.try_get(2)?),
            is_stripe: row.try_get::<i64>(3)? > 0,
            wallet: wallet.zip(reference),
        };
        Ok((AccountId(row.try_get(0)?), party))
    });
    parties.collect()
}

/// How the holds of these transactions ended.
pub fn hold_ends(
    reader: &mut Reader<'_>,
    transactions: &[TransactionId],
) -> Result<HashMap<TransactionId, HoldEnd>, DbError> {
    let keys: Vec<Value> = transactions.iter().map(|id| id.bytes().into()).collect();
    let rows = in_lists(&keys, |places, keys| {
        let sql = format!(
            "SELECT transaction_id, end_kind FROM holds WHERE end_kind IS NOT NULL AND transaction_id IN ({places})"
        );
        reader.query(&sql, keys)
    })?;
    let mut ends = HashMap::new();
    for row in &rows {
        if let Some(end) = holds::read_end(row, 1)? {
            ends.insert(TransactionId::from_bytes(row.try_get(0)?), end);
        }
    }
    Ok(ends)
}
