//! Payments beyond a wallet's own limits, which a parent or guardian was asked to approve.

use q_core::{Did, Timestamp};
use q_db::{DbError, Reader, Tx, params};
use qwallet_api::{IntentId, RequestId, WalletId};

use super::intents::IntentRow;
use crate::domain::currency::CurrencyId;

/// Notes that these are asked about an intent; who was before stays.
pub fn ask(tx: &mut Tx<'_>, intent: IntentId, guardians: &[Did]) -> Result<(), DbError> {
    for guardian in guardians {
        let sql = "INSERT INTO asked_guardians (guardian, intent, asked_at) VALUES ($1, $2, $3) \
                   ON CONFLICT (guardian, intent) DO NOTHING";
        let now = tx.now();
        tx.execute(sql, params![guardian, intent.bytes(), now])?;
    }
    Ok(())
}

/// Since when somebody is asked about an intent, if anybody is.
pub fn asked_since(reader: &mut Reader<'_>, intent: IntentId) -> Result<Option<Timestamp>, DbError> {
    let sql = "SELECT MIN(asked_at) FROM asked_guardians WHERE intent = $1";
    reader.query_opt(sql, params![intent.bytes()])?.map_or(Ok(None), |row| row.try_get(0))
}

/// The newest pending intent of the same payment about which somebody was asked, or which fulfils `request`.
pub fn find_same(
    reader: &mut Reader<'_>,
    (wallet, recipient): (WalletId, WalletId),
    (amount, currency): (&str, CurrencyId),
    request: Option<RequestId>,
    now: Timestamp,
) -> Result<Option<IntentRow>, DbError> {
    let same = "wallet = $1 AND recipient_wallet = $2 AND amount = $3 AND currency = $4 AND status = 0 \
                AND expires_at > $5 AND hold_seconds IS NULL";
    let newest = "ORDER BY id DESC LIMIT 1";
    let rows = match request {
        None => {
            let asked = "request IS NULL AND id IN (SELECT intent FROM asked_guardians)";
            let values = params![wallet.bytes(), recipient.bytes(), amount, currency.0, now];
            super::intents::select(reader, &format!("{same} AND {asked} {newest}"), values)?
        }
        Some(id) => {
            let values = params![wallet.bytes(), recipient.bytes(), amount, currency.0, now, id.bytes()];
            super::intents::select(reader, &format!("{same} AND request = $6 {newest}"), values)?
        }
    };
    Ok(rows.into_iter().next())
}
