//! Where a module's rows live.

use std::{fmt, path::PathBuf, str::FromStr};

use crate::OpenError;

/// Which engine holds a module's rows, and where.
#[derive(Clone, PartialEq, Eq)]
pub enum DbConfig {
    /// One file of our own; made when it does not exist.
    Sqlite {
        /// The file.
        path: PathBuf,
    },
    /// A database on a PostgreSQL server (14 or later); made when it does not exist and the role may.
    Postgres {
        /// `postgres://user@host/database`, or with `?host=/run/postgresql` for a socket.
        url: String,
    },
}

impl DbConfig {
    /// The SQLite file at `path`.
    pub fn sqlite(path: impl Into<PathBuf>) -> Self {
        Self::Sqlite { path: path.into() }
    }

    /// `sqlite` or `postgres`.
    pub const fn engine(&self) -> &'static str {
        match self {
            Self::Sqlite { .. } => "sqlite",
            Self::Postgres { .. } => "postgres",
        }
    }
}

impl FromStr for DbConfig {
    type Err = OpenError;

    /// Reads `postgres://…`, `postgresql://…`, `sqlite:path`, `sqlite://path` or a plain path.
    fn from_str(text: &str) -> Result<Self, OpenError> {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Self::Postgres { url: text.to_owned() });
        }
        let path = text.strip_prefix("sqlite://").or_else(|| text.strip_prefix("sqlite:")).unwrap_or(text);
        if path.is_empty() || path == ":memory:" || path.contains("://") {
            return Err(OpenError::BadConfig(
                "expected a file such as ./q-data/qwallet.sqlite or postgres://user@host/wallet_db".into(),
            ));
        }
        Ok(Self::Sqlite { path: path.into() })
    }
}

impl fmt::Display for DbConfig {
    /// Without the password, so that it can be logged.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite { path } => write!(f, "{}", path.display()),
            Self::Postgres { url } => {
                let (scheme, rest) = url.split_once("://").unwrap_or(("postgres", url));
                let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
                let shown = match authority.rsplit_once('@') {
                    Some((user, host)) => format!("{}@{host}", user.split(':').next().unwrap_or_default()),
                    None => authority.to_owned(),
                };
                // A password can also stand among the options.
                let path = path.split('?').next().unwrap_or_default();
                write!(f, "{scheme}://{shown}/{path}")
            }
        }
    }
}

impl fmt::Debug for DbConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DbConfig({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_paths_and_urls_and_hides_passwords() {
        let sqlite: DbConfig = "./q-data/qwallet.sqlite".parse().unwrap();
        assert_eq!(sqlite, DbConfig::sqlite("./q-data/qwallet.sqlite"));
        assert_eq!("sqlite:x.sqlite".parse::<DbConfig>().unwrap(), DbConfig::sqlite("x.sqlite"));
        let server: DbConfig = "postgres://q:secret@db:5432/wallet_db?password=other".parse().unwrap();
        assert_eq!(format!("{server:?}"), "DbConfig(postgres://q@db:5432/wallet_db)");
        for wrong in ["", ":memory:", "mysql://x/y"] {
            assert!(wrong.parse::<DbConfig>().is_err(), "{wrong}");
        }
    }
}
