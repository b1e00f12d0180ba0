//! Which payments others have to approve, and what they decided.

use std::collections::HashMap;

use q_core::{Did, Timestamp};
use q_db::{DbError, Reader, Row, Tx, Value, params};
use qwallet_api::{ApprovalRule, IntentId, WalletId};

use super::{in_lists, intents::IntentRow};
use crate::domain::{
    account::AccountId,
    approvals::{Rule, Rules},
};

/// What an approver decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionRow {
    /// Who.
    pub approver: Did,
    /// Whether in favour.
    pub is_approved: bool,
    /// The signature.
    pub signature: String,
    /// When.
    pub at: Timestamp,
}

/// Locks the rule of a wallet against other writers until the commit; makes an empty one where there is none, so that
/// there is something to lock.
pub fn lock(tx: &mut Tx<'_>, wallet: WalletId) -> Result<(), DbError> {
    begin(tx, wallet)?;
    tx.query_for_update("SELECT version FROM approval_rules WHERE wallet = $1", params![wallet.bytes()])?;
    Ok(())
}

/// Makes an empty rule of a wallet where there is none: what is paid from a marked account is looked up there.
pub fn begin(tx: &mut Tx<'_>, wallet: WalletId) -> Result<(), DbError> {
    let none = serde_json::to_string(&Rule::default().to_wire())?;
    let sql = "INSERT INTO approval_rules (wallet, version, rule, changed_at) VALUES ($1, 0, $2, $3) \
               ON CONFLICT (wallet) DO NOTHING";
    let now = tx.now();
    tx.execute(sql, params![wallet.bytes(), none, now])?;
    Ok(())
}

/// The rules of a wallet of `owner`; empty where there are none.
pub fn rules(reader: &mut Reader<'_>, wallet: WalletId, owner: &Did) -> Result<Rules, DbError> {
    let sql = "SELECT version, rule, pending, pending_from FROM approval_rules WHERE wallet = $1";
    let Some(row) = reader.query_opt(sql, params![wallet.bytes()])? else { return Ok(Rules::default()) };
    read(&row, owner)
}

/// The rules that an account's wallet is under, and the only wallets it may pay, where it keeps a list.
pub fn of_account(
    reader: &mut Reader<'_>,
    account: AccountId,
) -> Result<(Rules, Option<Vec<WalletId>>), DbError> {
    let sql = "SELECT approval_rules.version, rule, pending, pending_from, wallets.owner, wallets.allowed FROM approval_rules \
               JOIN accounts ON accounts.wallet = approval_rules.wallet \
               JOIN wallets ON wallets.id = approval_rules.wallet WHERE accounts.id = $1";
    let Some(row) = reader.query_opt(sql, params![account.0])? else {
        // The flag says that there are some: without them nothing is paid.
        return Err(DbError::BadRow { column: 0, expected: "the rules of a guarded account" });
    };
    let owner = row.try_get(4)?;
    Ok((read(&row, &owner)?, super::wallets::allowed(&row, 5)?))
}

fn read(row: &Row, owner: &Did) -> Result<Rules, DbError> {
    let rule = |column: usize, text: &str| {
        let bad = DbError::BadRow { column, expected: "a rule of approvals" };
        let wire: ApprovalRule = serde_json::from_str(text)?;
        Rule::read(&wire, owner).map_err(|_| bad)
    };
    let present: String = row.try_get(1)?;
    let (pending, from): (Option<String>, Option<Timestamp>) = (row.try_get(2)?, row.try_get(3)?);
    Ok(Rules {
        version: row.try_get(0)?,
        present: rule(1, &present)?,
        pending: match (pending, from) {
            (Some(pending), Some(from)) => Some((rule(2, &pending)?, from)),
            _ => None,
        },
    })
}

/// Replaces the rules of a wallet, which are locked.
pub fn set(tx: &mut Tx<'_>, wallet: WalletId, rules: &Rules, at: Timestamp) -> Result<(), DbError> {
    let present = serde_json::to_string(&rules.present.to_wire())?;
    let pending =
        rules.pending.as_ref().map(|(rule, _)| serde_json::to_string(&rule.to_wire())).transpose()?;
    let from = rules.pending.as_ref().map(|(_, from)| *from);
    let sql = "UPDATE approval_rules SET version = $1, rule = $2, pending = $3, pending_from = $4, changed_at = $5 \
               WHERE wallet = $6";
    tx.execute(sql, params![rules.version, present, pending, from, at, wallet.bytes()])?;
    tx.execute("DELETE FROM approvers WHERE wallet = $1", params![wallet.bytes()])?;
    for approver in rules.everybody() {
        let row = params![approver, wallet.bytes()];
        tx.execute("INSERT INTO approvers (approver, wallet) VALUES ($1, $2)", row)?;
    }
    Ok(())
}

/// What was decided about an intent, in the order of the approvers.
pub fn decisions(reader: &mut Reader<'_>, intent: IntentId) -> Result<Vec<DecisionRow>, DbError> {
    let sql = "SELECT approver, is_approved, signature, decided_at FROM intent_approvals WHERE intent = $1 \
               ORDER BY approver";
    let rows = reader.query(sql, params![intent.bytes()])?;
    rows.iter().map(decision).collect()
}

/// What was decided about these intents, in the order of the approvers.
pub fn decisions_of(
    reader: &mut Reader<'_>,
    intents: &[IntentId],
) -> Result<HashMap<IntentId, Vec<DecisionRow>>, DbError> {
    let keys: Vec<Value> = intents.iter().map(|id| id.bytes().into()).collect();
    let rows = in_lists(&keys, |places, keys| {
        let sql = format!(
            "SELECT approver, is_approved, signature, decided_at, intent FROM intent_approvals \
             WHERE intent IN ({places}) ORDER BY intent, approver"
        );
        reader.query(&sql, keys)
    })?;
    let mut decided: HashMap<IntentId, Vec<DecisionRow>> = HashMap::new();
    for row in &rows {
        decided.entry(IntentId::from_bytes(row.try_get(4)?)).or_default().push(decision(row)?);
    }
    Ok(decided)
}

fn decision(row: &Row) -> Result<DecisionRow, DbError> {
    Ok(DecisionRow {
        approver: row.try_get(0)?,
        is_approved: row.try_get(1)?,
        signature: row.try_get(2)?,
        at: row.try_get(3)?,
    })
}

/// Adds what an approver decided, in place of what the same one decided before.
pub fn decide(tx: &mut Tx<'_>, intent: IntentId, decision: &DecisionRow) -> Result<(), DbError> {
    let row =
        params![intent.bytes(), &decision.approver, decision.is_approved, &decision.signature, decision.at,];
    let sql = "INSERT INTO intent_approvals (intent, approver, is_approved, signature, decided_at) \
               VALUES ($1, $2, $3, $4, $5) ON CONFLICT (intent, approver) DO UPDATE SET \
               is_approved = EXCLUDED.is_approved, signature = EXCLUDED.signature, decided_at = EXCLUDED.decided_at";
    tx.execute(sql, row)?;
    Ok(())
}

/// The pending intents made before `before` of wallets for which somebody approves, or that a parent or guardian was
/// asked about, newest first.
pub fn waiting(
    reader: &mut Reader<'_>,
    approver: &Did,
    before: IntentId,
    count: u32,
) -> Result<Vec<IntentRow>, DbError> {
    let condition = "id IN (SELECT intents.id FROM intents JOIN approvers ON approvers.wallet = intents.wallet \
                     WHERE approver = $1 AND status = 0 UNION SELECT intent FROM asked_guardians WHERE guardian = $1) \
                     AND id < $2 AND status = 0 ORDER BY id DESC LIMIT $3";
    super::intents::select(reader, condition, params![approver, before.bytes(), count])
}

/// Calls `each` with every wallet that has rules or a list of whom it may pay, and whether all its accounts are marked.
pub fn for_each_rule(
    reader: &mut Reader<'_>,
    mut each: impl FnMut(WalletId, Result<Rules, DbError>, bool) -> Result<(), DbError>,
) -> Result<(), DbError> {
    let sql = "SELECT version, rule, pending, pending_from, wallets.owner, wallets.id, \
               (SELECT COUNT(*) FROM accounts WHERE accounts.wallet = wallets.id AND accounts.stripe = 0 AND accounts.is_guarded = 0) \
               FROM approval_rules JOIN wallets ON wallets.id = approval_rules.wallet \
               WHERE version > 0 OR wallets.allowed IS NOT NULL \
               ORDER BY wallets.id";
    reader.for_each(sql, params![], |row| {
        let (wallet, owner): ([u8; 16], Did) = (row.try_get(5)?, row.try_get(4)?);
        let unmarked: i64 = row.try_get(6)?;
        each(WalletId::from_bytes(wallet), read(&row, &owner), unmarked == 0)
    })
}

/// Calls `each` with every decision and the intent it is about, where that is there.
pub fn for_each_decision(
    reader: &mut Reader<'_>,
    mut each: impl FnMut(IntentId, Result<DecisionRow, DbError>) -> Result<(), DbError>,
) -> Result<(), DbError> {
    let sql = "SELECT approver, is_approved, signature, decided_at, intent FROM intent_approvals \
               ORDER BY intent, approver";
    reader.for_each(sql, params![], |row| each(IntentId::from_bytes(row.try_get(4)?), decision(&row)))
}
