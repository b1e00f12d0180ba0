//! Settings: each with a default, a sentence, a place in `q.toml` and a variable of the environment.
//!
//! `instance.origin` is read from `[instance] origin = …` and from `Q_INSTANCE_ORIGIN`; a module's settings
//! from its own section and prefix, such as `[qwallet] database_url` and `QWALLET_DATABASE_URL`.

use std::{collections::BTreeMap, path::Path, str::FromStr};

/// The origin of a value that nobody gave.
const DEFAULT: &str = "default";
/// So many wrong letters make the name of a variable a slip rather than another name.
const SLIP_MAX: usize = 3;

/// One setting that exists.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The name inside its section.
    pub key: &'static str,
    /// What holds when nobody says otherwise; empty for unset.
    pub default: &'static str,
    /// One sentence for `q config`.
    pub about: &'static str,
}

/// A setting as it holds now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// The value.
    pub value: String,
    /// `default`, `q.toml`, or the name of the variable.
    pub origin: String,
    /// The sentence of the declaration.
    pub about: &'static str,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file exists and cannot be read.
    #[error("{0} cannot be read")]
    Unreadable(String, #[source] std::io::Error),
    /// The file is not TOML.
    #[error("{0} is not valid TOML: {1}")]
    NotToml(String, String),
    /// Sections or keys nobody declared, each with its place and the nearest name that exists.
    #[error("{}", .0.join("; "))]
    Unknown(Vec<String>),
    /// The value cannot be what the setting means.
    #[error("{place} is {value:?}, which is not {expected}")]
    BadValue {
        /// Where it was said: a variable, or a key of a file.
        place: String,
        /// What it is.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
}

/// All settings of a process.
#[derive(Debug, Clone)]
pub struct Config {
    sections: BTreeMap<&'static str, BTreeMap<&'static str, Effective>>,
}

/// The settings of one section.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    section: String,
    values: BTreeMap<&'static str, Effective>,
}

impl Config {
    /// Works out the settings in `declared` from their defaults, the file at `path` and the variables.
    pub fn load<S: AsRef<[Setting]>>(
        declared: &[(&'static str, S)],
        path: &Path,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let (config, unknown) = Self::read(declared, path, variable)?;
        if unknown.is_empty() { Ok(config) } else { Err(ConfigError::Unknown(unknown)) }
    }

    /// The same for whoever shows settings instead of using them: with a sentence for each section and key of the file
    /// that nobody declared.
    pub fn read<S: AsRef<[Setting]>>(
        declared: &[(&'static str, S)],
        path: &Path,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<(Self, Vec<String>), ConfigError> {
        let file = read_file(path)?;
        let unknown = unknown(declared, &file, path);
        let mut sections: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for (section, settings) in declared {
            for setting in settings.as_ref() {
                let name = variable_name(section, setting.key);
                let in_file = file.get(*section).and_then(|table| table.get(setting.key)).map(text_of);
                let (value, origin) = match (variable(&name), in_file) {
                    (Some(value), _) => (value, name),
                    (None, Some(value)) => (value, path.display().to_string()),
                    (None, None) => (setting.default.to_owned(), DEFAULT.to_owned()),
                };
                let effective = Effective { value, origin, about: setting.about };
                sections.entry(*section).or_default().insert(setting.key, effective);
            }
        }
        Ok((Self { sections }, unknown))
    }

    /// One section; empty when it was not declared.
    pub fn section(&self, section: &str) -> Settings {
        let values = self.sections.get(section).cloned().unwrap_or_default();
        Settings { section: section.to_owned(), values }
    }

    /// Those of the variables `names` that are nearly the variable of a setting, each with that variable. They set
    /// nothing; other programs may mean them, so it is no error.
    pub fn misspelt(&self, names: impl IntoIterator<Item = String>) -> Vec<(String, String)> {
        let known: Vec<String> = self
            .sections
            .iter()
            .flat_map(|(section, settings)| settings.keys().map(|key| variable_name(section, key)))
            .collect();
        // Any of our prefixes may have the slip in it.
        let is_ours = |name: &String| name.starts_with(['Q', 'S']) && !known.contains(name);
        let nearest = |name: String| {
            let (far, variable) = known.iter().map(|known| (distance(&name, known), known)).min()?;
            (far <= SLIP_MAX).then(|| (name, variable.clone()))
        };
        names.into_iter().filter(is_ours).filter_map(nearest).collect()
    }

    /// Every setting, as `section.key` with its value, for `q config`.
    pub fn all(&self) -> impl Iterator<Item = (String, &Effective)> {
        self.sections.iter().flat_map(|(section, settings)| {
            settings.iter().map(move |(key, effective)| (format!("{section}.{key}"), effective))
        })
    }
}

impl Settings {
    /// The text of `key`, empty when unset.
    ///
    /// # Panics
    /// When `key` is not declared for this section: a mistake in the program, not in the configuration.
    pub fn text(&self, key: &str) -> &str {
        &self.values.get(key).unwrap_or_else(|| panic!("{}.{key} is not declared", self.section)).value
    }

    /// The text of `key`, unless unset.
    pub fn optional(&self, key: &str) -> Option<&str> {
        Some(self.text(key)).filter(|text| !text.is_empty())
    }

    /// The value of `key` as a `T`; `expected` names what that is in the refusal.
    pub fn parse<T: FromStr>(&self, key: &str, expected: &'static str) -> Result<T, ConfigError> {
        self.text(key).parse().map_err(|_| self.bad_value(key, expected))
    }

    /// The refusal of what `key` is set to; `expected` names what it should be.
    pub fn bad_value(&self, key: &str, expected: &'static str) -> ConfigError {
        ConfigError::BadValue { place: self.place(key), value: self.text(key).to_owned(), expected }
    }

    /// Where the value of `key` was said, for a refusal that shows what to change.
    fn place(&self, key: &str) -> String {
        let section = &self.section;
        match self.values.get(key).map(|effective| effective.origin.as_str()) {
            Some(variable) if variable == variable_name(section, key) => format!("the variable {variable}"),
            Some(file) if file != DEFAULT => format!("{key} under [{section}] in {file}"),
            _ => format!("the default of {section}.{key}"),
        }
    }
}

/// The variable for `key` of `section`: modules have their own prefix, everything else begins with `Q_`.
pub fn variable_name(section: &str, key: &str) -> String {
    const PLATFORM_SECTIONS: [&str; 10] =
        ["instance", "front_door", "limits", "stop", "log", "telemetry", "metrics", "bus", "backup", "ops"];
    let prefix = if PLATFORM_SECTIONS.contains(&section) { "Q_" } else { "" };
    format!("{prefix}{section}_{key}").to_uppercase()
}

fn read_file(path: &Path) -> Result<toml::Table, ConfigError> {
    let place = || path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => {
            text.parse().map_err(|error: toml::de::Error| ConfigError::NotToml(place(), error.to_string()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(toml::Table::new()),
        Err(error) => Err(ConfigError::Unreadable(place(), error)),
    }
}

fn unknown<S: AsRef<[Setting]>>(
    declared: &[(&'static str, S)],
    file: &toml::Table,
    path: &Path,
) -> Vec<String> {
    let mut unknown = Vec::new();
    for (section, content) in file {
        let place = format!("[{section}] in {}", path.display());
        let Some((_, settings)) = declared.iter().find(|(name, _)| name == section) else {
            let hint = hint(section, declared.iter().map(|(name, _)| *name));
            unknown.push(format!("{place} is not a setting{hint}"));
            continue;
        };
        for key in content.as_table().into_iter().flat_map(toml::Table::keys) {
            let settings = settings.as_ref();
            if !settings.iter().any(|setting| setting.key == key) {
                let hint = hint(key, settings.iter().map(|setting| setting.key));
                unknown.push(format!("{key} under {place} is not a setting{hint}"));
            }
        }
    }
    unknown
}

fn hint(given: &str, known: impl Iterator<Item = &'static str>) -> String {
    known
        .min_by_key(|name| distance(given, name))
        .map_or_else(String::new, |name| format!("; did you mean {name}?"))
}

/// Levenshtein distance in bytes: names of settings are short and ASCII.
fn distance(left: &str, right: &str) -> usize {
    let right = right.as_bytes();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (at, one) in left.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, other) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(one != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

fn text_of(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const DECLARED: &[(&str, &[Setting])] = &[
        ("instance", &[Setting { key: "origin", default: "http://x", about: "" }]),
        ("qwallet", &[Setting { key: "listen", default: "127.0.0.1:3000", about: "" }]),
    ];

    fn load(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
        static FILES: AtomicU32 = AtomicU32::new(0);
        let file = FILES.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("q-config-{}-{file}", std::process::id()));
        std::fs::write(&folder, text).unwrap();
        let config = Config::load(DECLARED, &folder, variable);
        std::fs::remove_file(&folder).unwrap();
        config
    }

    #[test]
    fn the_variable_wins_over_the_file_and_the_file_over_the_default() {
        let text = "[qwallet]\nlisten = \"127.0.0.1:1\"\n";
        let config = load(text, |_| None).unwrap();
        assert_eq!(config.section("qwallet").text("listen"), "127.0.0.1:1");
        assert_eq!(config.section("instance").text("origin"), "http://x");
        let config = load(text, |name| (name == "QWALLET_LISTEN").then(|| "127.0.0.1:2".into())).unwrap();
        assert_eq!(config.section("qwallet").text("listen"), "127.0.0.1:2");
    }

    #[test]
    fn an_unknown_key_names_the_nearest_one() {
        let refused = load("[qwallet]\nlissten = 1\n", |_| None).unwrap_err().to_string();
        assert!(refused.contains("did you mean listen?"), "{refused}");
        assert!(load("[wallet]\n", |_| None).unwrap_err().to_string().contains("did you mean qwallet?"));
        // All of them at once.
        let refused = load("[wallet]\n[qwallet]\nlissten = 1\n", |_| None).unwrap_err().to_string();
        assert!(refused.contains("mean qwallet?") && refused.contains("mean listen?"), "{refused}");
    }

    #[test]
    fn a_bad_value_says_where_it_was_said() {
        let number = |config: &Config| {
            let read = config.section("qwallet").parse::<u32>("listen", "a number");
            read.unwrap_err().to_string()
        };
        let in_file = number(&load("[qwallet]\nlisten = \"many\"\n", |_| None).unwrap());
        assert!(in_file.starts_with("listen under [qwallet] in /"), "{in_file}");
        assert!(in_file.ends_with("is \"many\", which is not a number"), "{in_file}");
        let variable = number(&load("", |name| (name == "QWALLET_LISTEN").then(|| "few".into())).unwrap());
        assert_eq!(variable, "the variable QWALLET_LISTEN is \"few\", which is not a number");
    }

    #[test]
    fn a_slip_in_a_variable_is_told_from_another_name() {
        let config = load("# nothing\n", |_| None).unwrap();
        let slip = |name: &str| config.misspelt([name.to_owned()]).pop().map(|(_, variable)| variable);
        for (name, meant) in [
            ("QWALLET_LISTN", "QWALLET_LISTEN"),
            ("QWALET_LISTEN", "QWALLET_LISTEN"),
            ("Q_INSTANCE_ORIGN", "Q_INSTANCE_ORIGIN"),
            ("Q_INSTANCES_ORIGINS", "Q_INSTANCE_ORIGIN"),
        ] {
            assert_eq!(slip(name).as_deref(), Some(meant), "{name}");
        }
        let others = ["QWALLET_LISTEN", "Q_DATA", "Q_LOG", "Q_AS", "Q_BIN", "Q_ORACLES", "Q_TEST_POSTGRES"];
        for name in
            others.into_iter().chain(["Q_REQUIRE_ORACLES", "Q_TEST_SEED", "QT_PLUGIN_PATH", "SHELL", "PATH"])
        {
            assert_eq!(slip(name), None, "{name}");
        }
    }
}
