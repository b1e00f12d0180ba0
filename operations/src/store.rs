//! How the desk's store gets its shape; each room keeps its own tables.

use q_db::Migrations;

/// How the store gets its shape.
pub const MIGRATIONS: Migrations = Migrations::new(
    "ops",
    &[
        (1, "watch", include_str!("../migrations/sqlite/0001_watch.sql")),
        (2, "incidents", include_str!("../migrations/sqlite/0002_incidents.sql")),
        (3, "maintenance", include_str!("../migrations/sqlite/0003_maintenance.sql")),
    ],
    &[
        (1, "watch", include_str!("../migrations/postgres/0001_watch.sql")),
        (2, "incidents", include_str!("../migrations/postgres/0002_incidents.sql")),
        (3, "maintenance", include_str!("../migrations/postgres/0003_maintenance.sql")),
    ],
);
