//! Schedules and the payments they made.

use q_core::{Amount, Did, Timestamp};
use q_db::{DbError, Reader, Row, Tx, Value, params};
use qwallet_api::{PlanId, ScheduleId, TransactionId, WalletId};

use crate::domain::{
    currency::CurrencyId,
    recurrence::Occurrence,
    schedules::{Progress, State},
};

/// A row of `schedules`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleRow {
    /// Its id.
    pub id: ScheduleId,
    /// Who signed.
    pub signer: Did,
    /// Who pays.
    pub payer: WalletId,
    /// Who is paid.
    pub payee: WalletId,
    /// The currency.
    pub currency: CurrencyId,
    /// What is paid each time.
    pub amount: Amount,
    /// What for, sealed.
    pub purpose: Option<Vec<u8>>,
    /// The signed mandate.
    pub input: String,
    /// The signature under it.
    pub signature: String,
    /// The plan it subscribes to, and the version that is paid for.
    pub plan: Option<(PlanId, i64)>,
    /// How far it got.
    pub progress: Progress,
    /// When the mandate was handed in.
    pub created_at: Timestamp,
}

/// A row of `schedule_runs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunRow {
    /// Of which schedule.
    pub schedule: ScheduleId,
    /// When it was due.
    pub occurrence: Occurrence,
    /// When it was paid.
    pub paid_at: Timestamp,
    /// How much.
    pub amount: Amount,
    /// The transaction.
    pub transaction: TransactionId,
}

/// How many columns a schedule has.
const WIDTH: usize = 23;
const COLUMNS: &str = "id, signer, payer, payee, currency, amount, purpose, input, signature, plan, plan_version, state, \
                       next_wall, next_at, due_at, attempts, failure, failed_at, runs, skipped, paid_until, created_at, \
                       ended_at";
/// Those that never change, and those that do.
const LASTING: &str = "id, signer, payer, payee, currency, purpose, input, signature, plan, created_at";
const CHANGING: &str = "amount, plan_version, state, next_wall, next_at, due_at, attempts, failure, failed_at, runs, skipped, \
                        paid_until, ended_at";
const RUN_COLUMNS: &str = "schedule, wall, due_at, paid_at, amount, transaction_id";

/// What changes of a schedule, in the order of [`CHANGING`].
fn changing(schedule: &ScheduleRow) -> [Value; 13] {
    let progress = &schedule.progress;
    [
        schedule.amount.to_bytes().into(),
        schedule.plan.map(|(_, version)| version).into(),
        progress.state.code().into(),
        progress.next.map(|next| next.wall).into(),
        progress.next.map(|next| next.at).into(),
        progress.due_at.into(),
        progress.attempts.into(),
        progress.failure.as_ref().map(|(code, _)| code.as_str()).into(),
        progress.failure.as_ref().map(|(_, at)| *at).into(),
        progress.runs.into(),
        progress.skipped.into(),
        progress.paid_until.into(),
        progress.ended_at.into(),
    ]
}

/// Adds a schedule.
pub fn insert(tx: &mut Tx<'_>, schedule: &ScheduleRow) -> Result<(), DbError> {
    let mut row = params![
        schedule.id.bytes(),
        &schedule.signer,
        schedule.payer.bytes(),
        schedule.payee.bytes(),
        schedule.currency.0,
        schedule.purpose.as_deref(),
        &schedule.input,
        &schedule.signature,
        schedule.plan.map(|(plan, _)| plan.bytes()),
        schedule.created_at,
    ]
    .to_vec();
    row.extend(changing(schedule));
    let places: Vec<String> = (1..=row.len()).map(|place| format!("${place}")).collect();
    let sql = format!("INSERT INTO schedules ({LASTING}, {CHANGING}) VALUES ({})", places.join(", "));
    tx.execute(&sql, &row)?;
    Ok(())
}

/// Writes what changes of a schedule: what is paid, for which version of a plan, and how far it got.
pub fn update(tx: &mut Tx<'_>, schedule: &ScheduleRow) -> Result<(), DbError> {
    let mut row = changing(schedule).to_vec();
    let columns = CHANGING.split(", ").zip(1..).map(|(column, place)| format!("{column} = ${place}"));
    let sql = format!(
        "UPDATE schedules SET {} WHERE id = ${}",
        columns.collect::<Vec<_>>().join(", "),
        row.len() + 1
    );
    row.push(schedule.id.bytes().into());
    tx.execute(&sql, &row)?;
    Ok(())
}

/// The schedule, if it exists.
pub fn find(reader: &mut Reader<'_>, id: ScheduleId) -> Result<Option<ScheduleRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM schedules WHERE id = $1");
    reader.query_opt(&sql, params![id.bytes()])?.as_ref().map(schedule).transpose()
}

/// Locks a schedule against other writers until the commit.
pub fn lock(tx: &mut Tx<'_>, id: ScheduleId) -> Result<(), DbError> {
    tx.query_for_update("SELECT id FROM schedules WHERE id = $1", params![id.bytes()])?;
    Ok(())
}

/// A schedule, or why it cannot be read.
pub type Listed = (ScheduleId, Result<ScheduleRow, DbError>);

/// The schedules of a signer, or the subscriptions among them, made before `before`, newest first; of one that cannot be
/// read, why.
pub fn list(
    reader: &mut Reader<'_>,
    signer: &Did,
    state: Option<State>,
    only_plans: bool,
    before: ScheduleId,
    count: u32,
) -> Result<Vec<Listed>, DbError> {
    let only_plans = if only_plans { "AND plan IS NOT NULL " } else { "" };
    let sql = format!(
        "SELECT {COLUMNS} FROM schedules WHERE signer = $1 AND id < $2 {only_plans}\
         AND (CAST($3 AS BIGINT) = -1 OR state = $3) ORDER BY id DESC LIMIT $4"
    );
    let row = params![signer, before.bytes(), state.map_or(-1, State::code), count];
    let rows = reader.query(&sql, row)?;
    rows.iter().map(|row| Ok((ScheduleId::from_bytes(row.try_get(0)?), schedule(row)))).collect()
}

/// How many schedules of a signer may still pay.
pub fn open_count(reader: &mut Reader<'_>, signer: &Did) -> Result<i64, DbError> {
    // Written out, not as a value: the index of the open ones is found by these words.
    let sql =
        format!("SELECT COUNT(*) FROM schedules WHERE signer = $1 AND state <> {}", State::Ended.code());
    reader.query_one(&sql, params![signer])?.try_get(0)
}

/// Schedules that somebody has to look at, the longest waiting first.
pub fn due(reader: &mut Reader<'_>, now: Timestamp, count: u32) -> Result<Vec<ScheduleRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM schedules WHERE due_at <= $1 ORDER BY due_at LIMIT $2");
    reader.query(&sql, params![now, count])?.iter().map(schedule).collect()
}

/// Adds a payment.
pub fn insert_run(tx: &mut Tx<'_>, run: &RunRow) -> Result<(), DbError> {
    let row = params![
        run.schedule.bytes(),
        run.occurrence.wall,
        run.occurrence.at,
        run.paid_at,
        run.amount.to_bytes(),
        run.transaction.bytes(),
    ];
    tx.execute(&format!("INSERT INTO schedule_runs ({RUN_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6)"), row)?;
    Ok(())
}

/// The last payments of a schedule, newest first.
pub fn last_runs(reader: &mut Reader<'_>, id: ScheduleId, count: u32) -> Result<Vec<RunRow>, DbError> {
    let sql =
        format!("SELECT {RUN_COLUMNS} FROM schedule_runs WHERE schedule = $1 ORDER BY wall DESC LIMIT $2");
    reader.query(&sql, params![id.bytes(), count])?.iter().map(|row| run(row, 0)).collect()
}

/// A payment beside what the books say of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookedRun {
    /// The payment.
    pub row: RunRow,
    /// What its transaction moved from which wallet to which, if there is one.
    pub moved: Option<(Amount, WalletId, WalletId)>,
    /// The order behind its transaction.
    pub order: Option<String>,
}

/// Calls `each` with every schedule once for each payment it made, in order; or once with none.
pub fn for_each(
    reader: &mut Reader<'_>,
    mut each: impl FnMut(ScheduleId, Result<(ScheduleRow, Option<BookedRun>), DbError>) -> Result<(), DbError>,
) -> Result<(), DbError> {
    let of = |table: &str, columns: &str| {
        let columns: Vec<String> =
            columns.split(", ").map(|column| format!("{table}.{}", column.trim())).collect();
        columns.join(", ")
    };
    let sql = format!(
        "SELECT {}, {}, transfers.amount, orders.input, giver.wallet, taker.wallet FROM schedules \
         LEFT JOIN schedule_runs ON schedule_runs.schedule = schedules.id \
         LEFT JOIN transactions ON transactions.id = schedule_runs.transaction_id \
         LEFT JOIN transfers ON transfers.seq = transactions.first_seq \
         LEFT JOIN accounts AS giver ON giver.id = transfers.debit \
         LEFT JOIN accounts AS taker ON taker.id = transfers.credit \
         LEFT JOIN orders ON orders.id = transactions.order_id \
         ORDER BY schedules.id, schedule_runs.wall",
        of("schedules", COLUMNS),
        of("schedule_runs", RUN_COLUMNS),
    );
    reader.for_each(&sql, params![], |row| {
        let booked = || {
            let bytes = |column| row.try_get::<Option<[u8; 16]>>(WIDTH + column);
            let wallets = bytes(8)?.zip(bytes(9)?);
            let moved = bytes(6)?.zip(wallets).map(|(amount, (giver, taker))| {
                (Amount::from_bytes(amount), WalletId::from_bytes(giver), WalletId::from_bytes(taker))
            });
            Ok::<_, DbError>(BookedRun { row: run(&row, WIDTH)?, moved, order: row.try_get(WIDTH + 7)? })
        };
        let has_run = row.try_get::<Option<i64>>(WIDTH + 1)?.is_some();
        let read = || Ok((schedule(&row)?, has_run.then(booked).transpose()?));
        each(ScheduleId::from_bytes(row.try_get(0)?), read())
    })
}

/// Transactions behind whose orders of this kind no payment of a schedule stands.
pub fn without_run(reader: &mut Reader<'_>, order_kind: i64) -> Result<Vec<TransactionId>, DbError> {
    let sql = "SELECT transactions.id FROM orders JOIN transactions ON transactions.order_id = orders.id \
               LEFT JOIN schedule_runs ON schedule_runs.transaction_id = transactions.id \
               WHERE orders.kind = $1 AND schedule_runs.transaction_id IS NULL ORDER BY transactions.id";
    let rows = reader.query(sql, params![order_kind])?;
    rows.iter().map(|row| row.try_get(0).map(TransactionId::from_bytes)).collect()
}

fn schedule(row: &Row) -> Result<ScheduleRow, DbError> {
    let plan = row.try_get::<Option<[u8; 16]>>(9)?.map(PlanId::from_bytes);
    let state = State::from_code(row.try_get(11)?);
    let next = row.try_get::<Option<i64>>(12)?.zip(row.try_get::<Option<Timestamp>>(13)?);
    let progress = Progress {
        state: state.ok_or(DbError::BadRow { column: 11, expected: "a state of a schedule" })?,
        next: next.map(|(wall, at)| Occurrence { wall, at }),
        due_at: row.try_get(14)?,
        attempts: row.try_get(15)?,
        failure: row.try_get::<Option<String>>(16)?.zip(row.try_get::<Option<Timestamp>>(17)?),
        runs: row.try_get(18)?,
        skipped: row.try_get(19)?,
        paid_until: row.try_get(20)?,
        ended_at: row.try_get(22)?,
    };
    Ok(ScheduleRow {
        id: ScheduleId::from_bytes(row.try_get(0)?),
        signer: row.try_get(1)?,
        payer: WalletId::from_bytes(row.try_get(2)?),
        payee: WalletId::from_bytes(row.try_get(3)?),
        currency: CurrencyId(row.try_get(4)?),
        amount: row.try_get(5).map(Amount::from_bytes)?,
        purpose: row.try_get(6)?,
        input: row.try_get(7)?,
        signature: row.try_get(8)?,
        plan: plan.zip(row.try_get::<Option<i64>>(10)?),
        progress,
        created_at: row.try_get(21)?,
    })
}

fn run(row: &Row, from: usize) -> Result<RunRow, DbError> {
    Ok(RunRow {
        schedule: ScheduleId::from_bytes(row.try_get(from)?),
        occurrence: Occurrence { wall: row.try_get(from + 1)?, at: row.try_get(from + 2)? },
        paid_at: row.try_get(from + 3)?,
        amount: row.try_get(from + 4).map(Amount::from_bytes)?,
        transaction: TransactionId::from_bytes(row.try_get(from + 5)?),
    })
}
