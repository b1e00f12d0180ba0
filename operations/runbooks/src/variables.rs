//! What a procedure leaves open: `{url}` on a page is the documented default, in a run where the module really is.

/// Where a module is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its name; empty in a procedure about the whole instance.
    pub module: String,
    /// Its base URL.
    pub url: String,
    /// The base URL of the front door.
    pub front_door: String,
    /// The port it listens on.
    pub port: u16,
    /// The first part of its variables, such as `QWALLET`.
    pub prefix: String,
    /// The database of its rows on PostgreSQL.
    pub database: String,
    /// Its file on the embedded engine.
    pub store: String,
    /// The data folder.
    pub data: String,
    /// The file of settings.
    pub config: String,
}

/// Fills in what is open.
#[derive(Debug, Clone)]
pub struct Variables(Vec<(&'static str, String)>);

impl Variables {
    /// The variables of one place.
    pub fn of(place: &Place) -> Self {
        Self(vec![
            ("{module}", place.module.clone()),
            ("{url}", place.url.clone()),
            ("{front_door}", place.front_door.clone()),
            ("{port}", place.port.to_string()),
            ("{prefix}", place.prefix.clone()),
            ("{database}", place.database.clone()),
            ("{store}", place.store.clone()),
            ("{data}", place.data.clone()),
            ("{config}", place.config.clone()),
        ])
    }

    /// `text` with everything filled in. Braces of a shell or of JSON are left alone.
    pub fn fill(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }
}
