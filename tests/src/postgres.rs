//! Databases of a run's own on the PostgreSQL server that tests are given.

use q_core::Env;

/// The modules and the databases the runbook names for them.
const DATABASES: [(&str, &str); 5] = [
    ("SQUID", "squid_db"),
    ("QONSENT", "qonsent_db"),
    ("QLOCK", "qlock_db"),
    ("QERBEROS", "qerberos_db"),
    ("QWALLET", "wallet_db"),
];

/// Settings that give each module a database of this run on the server that `Q_TEST_POSTGRES` names; `None` where it
/// names none. The databases go with the throw-away server.
pub fn databases_of_its_own() -> Option<Vec<(String, String)>> {
    let server = std::env::var("Q_TEST_POSTGRES").ok()?;
    let run = u32::from_be_bytes(Env::system().random());
    let settings = DATABASES.iter().map(|(module, name)| {
        (format!("{module}_DATABASE_URL"), with_database(&server, &format!("{name}_{run}")))
    });
    Some(settings.collect())
}

/// `server` with another database.
pub(crate) fn with_database(server: &str, database: &str) -> String {
    let (head, query) = server.split_once('?').map_or((server, None), |(head, rest)| (head, Some(rest)));
    let head = head.rsplit_once('/').map_or(head, |(head, _)| head);
    query.map_or_else(|| format!("{head}/{database}"), |query| format!("{head}/{database}?{query}"))
}
