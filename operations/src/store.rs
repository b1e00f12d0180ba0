//! How the desk's store gets its shape; each room keeps its own tables.

use q_db::Migrations;

/// How the store gets its shape.
pub const MIGRATIONS: Migrations = Migrations::new("ops", &[], &[]);
