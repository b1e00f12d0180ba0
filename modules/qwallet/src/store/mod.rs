//! SQL of qwallet: one file per noun, one function per question. Both engines run the same texts.
//!
//! **Invariant:** no decisions. What is right was decided before a row gets here.

pub mod approvals;
pub mod books;
pub mod captures;
pub mod escrows;
pub mod fees;
pub mod guardians;
pub mod heads;
pub mod history;
pub mod holds;
pub mod imports;
pub mod intents;
pub mod ledger;
pub mod merged;
pub mod money_requests;
pub mod movements;
pub mod notes;
pub mod plans;
pub mod rail_corrections;
pub mod rails;
pub mod recent;
pub mod refunds;
pub mod requests;
pub mod schedules;
pub mod snapshots;
pub mod told;
pub mod waiting_withdrawals;
pub mod wallets;
pub mod webhooks;
pub mod writers;

use q_db::{Migrations, Row, Value};

/// The tables of this module.
pub const MIGRATIONS: Migrations = Migrations::new(
    "qwallet",
    &[
        (1, "ledger", include_str!("../../migrations/sqlite/0001_ledger.sql")),
        (2, "sealing keys", qlock_api::sealer::SEALING_KEYS_SQLITE),
        (3, "writers", include_str!("../../migrations/sqlite/0003_writers.sql")),
        (4, "nonces", include_str!("../../migrations/sqlite/0004_nonces.sql")),
        (5, "refunds", include_str!("../../migrations/sqlite/0005_refunds.sql")),
        (6, "proofs", include_str!("../../migrations/sqlite/0006_proofs.sql")),
        (7, "webhooks", include_str!("../../migrations/sqlite/0007_webhooks.sql")),
        (8, "rails", include_str!("../../migrations/sqlite/0008_rails.sql")),
        (9, "recent", include_str!("../../migrations/sqlite/0009_recent.sql")),
        (10, "escrows", include_str!("../../migrations/sqlite/0010_escrows.sql")),
        (11, "money requests", include_str!("../../migrations/sqlite/0011_money_requests.sql")),
        (12, "schedules", include_str!("../../migrations/sqlite/0012_schedules.sql")),
        (13, "approvals", include_str!("../../migrations/sqlite/0013_approvals.sql")),
        (14, "profiles", include_str!("../../migrations/sqlite/0014_profiles.sql")),
        (15, "fees", include_str!("../../migrations/sqlite/0015_fees.sql")),
        (16, "captures", include_str!("../../migrations/sqlite/0016_captures.sql")),
        (17, "guardians", include_str!("../../migrations/sqlite/0017_guardians.sql")),
        (18, "fee settings", include_str!("../../migrations/sqlite/0018_fee_settings.sql")),
        (19, "history by time", include_str!("../../migrations/sqlite/0019_history_by_time.sql")),
        (20, "rail corrections", include_str!("../../migrations/sqlite/0020_rail_corrections.sql")),
        (21, "waiting withdrawals", include_str!("../../migrations/sqlite/0021_waiting_withdrawals.sql")),
        (22, "asked at", include_str!("../../migrations/sqlite/0022_asked_at.sql")),
        (23, "intents for requests", include_str!("../../migrations/sqlite/0023_intents_for_requests.sql")),
        (24, "limit zones", include_str!("../../migrations/sqlite/0024_limit_zones.sql")),
    ],
    &[
        (1, "ledger", include_str!("../../migrations/postgres/0001_ledger.sql")),
        (2, "sealing keys", qlock_api::sealer::SEALING_KEYS_POSTGRES),
        (3, "writers", include_str!("../../migrations/postgres/0003_writers.sql")),
        (4, "nonces", include_str!("../../migrations/postgres/0004_nonces.sql")),
        (5, "refunds", include_str!("../../migrations/postgres/0005_refunds.sql")),
        (6, "proofs", include_str!("../../migrations/postgres/0006_proofs.sql")),
        (7, "webhooks", include_str!("../../migrations/postgres/0007_webhooks.sql")),
        (8, "rails", include_str!("../../migrations/postgres/0008_rails.sql")),
        (9, "recent", include_str!("../../migrations/postgres/0009_recent.sql")),
        (10, "escrows", include_str!("../../migrations/postgres/0010_escrows.sql")),
        (11, "money requests", include_str!("../../migrations/postgres/0011_money_requests.sql")),
        (12, "schedules", include_str!("../../migrations/postgres/0012_schedules.sql")),
        (13, "approvals", include_str!("../../migrations/postgres/0013_approvals.sql")),
        (14, "profiles", include_str!("../../migrations/postgres/0014_profiles.sql")),
        (15, "fees", include_str!("../../migrations/postgres/0015_fees.sql")),
        (16, "captures", include_str!("../../migrations/postgres/0016_captures.sql")),
        (17, "guardians", include_str!("../../migrations/postgres/0017_guardians.sql")),
        (18, "fee settings", include_str!("../../migrations/postgres/0018_fee_settings.sql")),
        (19, "history by time", include_str!("../../migrations/postgres/0019_history_by_time.sql")),
        (20, "rail corrections", include_str!("../../migrations/postgres/0020_rail_corrections.sql")),
        (21, "waiting withdrawals", include_str!("../../migrations/postgres/0021_waiting_withdrawals.sql")),
        (22, "asked at", include_str!("../../migrations/postgres/0022_asked_at.sql")),
        (23, "intents for requests", include_str!("../../migrations/postgres/0023_intents_for_requests.sql")),
        (24, "limit zones", include_str!("../../migrations/postgres/0024_limit_zones.sql")),
    ],
);

/// How many values one `IN` list holds; few lengths, so that few statements are prepared.
const LIST_LENGTHS: [usize; 4] = [1, 8, 64, 512];

/// Asks the same question about many keys: `ask` gets the text `$1, $2, …` and the keys of one list.
pub(crate) fn in_lists<E>(
    keys: &[Value],
    mut ask: impl FnMut(&str, &[Value]) -> Result<Vec<Row>, E>,
) -> Result<Vec<Row>, E> {
    let mut rows = Vec::new();
    let mut rest = keys;
    while let Some(last) = rest.last() {
        let length = LIST_LENGTHS.into_iter().find(|length| *length >= rest.len()).unwrap_or(512);
        let (list, after) = rest.split_at(length.min(rest.len()));
        let mut list = list.to_vec();
        // Asking for the last key again changes nothing and keeps the text the same.
        list.resize(length, last.clone());
        let places: Vec<String> = (1..=length).map(|place| format!("${place}")).collect();
        rows.extend(ask(&places.join(", "), &list)?);
        rest = after;
    }
    Ok(rows)
}
