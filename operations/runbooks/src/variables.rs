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

    /// A command line for a shell with everything filled in: each value stays the words, and the part of a quoted text,
    /// that it is in the template, whatever blanks, quotes or signs of the shell a path or a setting holds.
    pub fn fill_command(&self, template: &str) -> String {
        let (mut filled, mut quoted, mut rest) = (String::new(), Quoted::Not, template);
        while let Some(letter) = rest.chars().next() {
            if let Some((name, value)) = self.0.iter().find(|(name, _)| rest.starts_with(name)) {
                quoted.add(&mut filled, value);
                rest = &rest[name.len()..];
                continue;
            }
            let mut length = letter.len_utf8();
            quoted = match (quoted, letter) {
                (Quoted::Not, '\'') => Quoted::Singly,
                (Quoted::Not, '"') => Quoted::Doubly,
                (Quoted::Singly, '\'') | (Quoted::Doubly, '"') => Quoted::Not,
                (Quoted::Not | Quoted::Doubly, '\\') => {
                    length += rest[length..].chars().next().map_or(0, char::len_utf8);
                    quoted
                }
                _ => quoted,
            };
            filled.push_str(&rest[..length]);
            rest = &rest[length..];
        }
        filled
    }

    /// `text` with everything filled in. Braces of a shell or of JSON are left alone.
    pub fn fill(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }
}

/// Where in a command line a value stands (POSIX.1-2024, XCU section 2.2).
#[derive(Clone, Copy)]
enum Quoted {
    Not,
    Singly,
    Doubly,
}

impl Quoted {
    fn add(self, line: &mut String, value: &str) {
        let is_plain =
            |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '/' | '.' | '_' | '-' | ':');
        if value.chars().all(is_plain) {
            return line.push_str(value);
        }
        match self {
            Self::Not => {
                line.push('\'');
                Self::Singly.add(line, value);
                line.push('\'');
            }
            Self::Singly => line.push_str(&value.replace('\'', r"'\''")),
            Self::Doubly => {
                for letter in value.chars() {
                    if matches!(letter, '$' | '`' | '"' | '\\') {
                        line.push('\\');
                    }
                    line.push(letter);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn said(template: &str, data: &str) -> String {
        let line = Variables(vec![("{data}", data.to_owned())]).fill_command(template);
        let output = Command::new("sh").arg("-c").arg(&line).output().unwrap();
        assert!(output.status.success(), "{line}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn a_value_is_itself_in_every_kind_of_quotes() {
        for data in
            ["/srv/q", "/srv/my data", "/srv/it's", "$(echo no)", "a\"; echo no; \"b", "`echo no`\\", "*'"]
        {
            assert_eq!(said(r"printf '<%s>' {data}.evidence", data), format!("<{data}.evidence>"));
            assert_eq!(said(r"printf '<%s>' '{data}.sql'", data), format!("<{data}.sql>"));
            assert_eq!(said("printf '<%s>' \"{data} \\\" x\"", data), format!("<{data} \" x>"));
        }
    }

    #[test]
    fn what_needs_no_quotes_reads_as_it_is_printed() {
        let variables = Variables(vec![("{url}", "http://localhost:3000".to_owned())]);
        let template = r"curl -w '%{http_code}' {url}/health | tr ',' '\n'";
        assert_eq!(variables.fill_command(template), variables.fill(template));
    }
}
