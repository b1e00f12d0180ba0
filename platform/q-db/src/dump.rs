//! What may be fed to `psql`: SQL text as `pg_dump` writes it for the stores of this house, and nothing that runs a
//! program.
//!
//! `psql` is a shell: a backslash outside quotes begins one of its commands wherever it stands (`\!`, `\copy`, `\o |…`,
//! `\connect`), and a server runs programs too (`COPY … FROM PROGRAM`). A dump is text that somebody may have changed, so
//! it is read here as `psql` reads it before a line of it is passed on. The two agree because whatever would let them
//! disagree is refused: outside the rows of a `COPY` there is no backslash at all (so quotes end where they seem to),
//! nothing beyond ASCII (a dump chooses its `client_encoding`, and in some, as SJIS, `psql` takes a quote for the second
//! half of a character), no `/*`, no variable, no control character, no function body that is not quoted; and rows begin
//! only after a whole statement of exactly the form that `pg_dump` writes, which `psql` answers by reading rows or by
//! ending (`ON_ERROR_STOP`). So the schemas of our stores are ASCII throughout; their rows are not judged.
//!
//! It is no sandbox of the server: a function in a dump may do what the role may do that it is restored as, so that role
//! should not be a superuser. Whose dump it is, its signature says.
//!
//! **Invariant:** text is passed on only after everything before it, and itself, was found harmless.

use std::fmt;

/// The longest statement outside rows, in bytes; ours are a few kilobytes.
const STATEMENT_MAX: usize = 1 << 20;

/// How a statement may begin, in lower case: what is in our dumps.
const STATEMENTS: [&str; 14] = [
    "set ",
    "select pg_catalog.set_config(",
    "select pg_catalog.setval(",
    "create table ",
    "create sequence ",
    "create index ",
    "create unique index ",
    "create function ",
    "create view ",
    "create trigger ",
    "alter table ",
    "alter sequence ",
    // What a server's template brings along.
    "create extension if not exists ",
    "comment on extension ",
];

/// Why a dump is not fed to `psql`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "line {line} of the dump {what}; nothing of it was kept. A dump that pg_dump made of a store has no such line"
)]
pub struct Refused {
    /// The line, from 1.
    pub line: u64,
    /// What is in it.
    pub what: Reason,
}

/// What is in a line that is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// A backslash outside rows.
    Backslash,
    /// A line among rows that begins like their end.
    EndOfRows,
    /// A control character that `psql` and the server read differently.
    Control,
    /// A byte outside rows that `psql` reads as the encoding says which the dump chose.
    BeyondAscii,
    /// Something in a statement that `psql` would read in a way of its own.
    Unusual(&'static str),
    /// A statement that no store of ours needs.
    Statement(String),
    /// A statement that does not end.
    TooLong,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backslash => f.write_str(
                "has a backslash outside the rows of a table, by which psql is told to run a command of its own",
            ),
            Self::EndOfRows => f.write_str("begins like the end of rows and is none"),
            Self::Control => f.write_str("has a control character"),
            Self::BeyondAscii => f.write_str("has a character beyond ASCII outside the rows of a table"),
            Self::Unusual(what) => write!(f, "has {what} outside quotes"),
            Self::Statement(words) => write!(f, "has a statement that is not for restoring a store: {words:?}"),
            Self::TooLong => f.write_str("is within a statement that does not end"),
        }
    }
}

/// Where the reading is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum In {
    /// Between the parts of a statement, or between two.
    Open,
    /// A text, `'…'`.
    Text,
    /// A quoted name, `"…"`.
    Name,
    /// A body between two `$tag$`.
    Body(Vec<u8>),
    /// The rows of a `COPY`.
    Rows,
}

/// Reads a dump piece by piece.
#[derive(Debug)]
pub struct Checker {
    state: In,
    /// The statement so far: all of it but comments.
    statement: Vec<u8>,
    /// How many parentheses are open.
    depth: u32,
    line: u64,
    /// What was given of a line that has not ended.
    rest: Vec<u8>,
}

impl Default for Checker {
    fn default() -> Self {
        Self { state: In::Open, statement: Vec::new(), depth: 0, line: 0, rest: Vec::new() }
    }
}

impl Checker {
    /// Takes the next piece, and gives what may be passed on: whole lines.
    pub fn take(&mut self, piece: &[u8]) -> Result<Vec<u8>, Refused> {
        let mut given = std::mem::take(&mut self.rest);
        // A long row comes in many pieces: only what is new can end it.
        let end = piece.iter().rposition(|byte| *byte == b'\n').map(|at| given.len() + at + 1);
        given.extend_from_slice(piece);
        self.rest = given.split_off(end.unwrap_or_default());
        for line in given.split_inclusive(|byte| *byte == b'\n') {
            self.line(line)?;
        }
        if self.state != In::Rows && self.rest.len() > STATEMENT_MAX {
            self.line += 1;
            return Err(self.refused(Reason::TooLong));
        }
        Ok(given)
    }

    /// Ends: gives the last line, if it has no end.
    pub fn finish(mut self) -> Result<Vec<u8>, Refused> {
        let last = std::mem::take(&mut self.rest);
        if !last.is_empty() {
            self.line(&last)?;
        }
        if self.state == In::Open && self.statement.iter().all(u8::is_ascii_whitespace) {
            return Ok(last);
        }
        // Torn off: psql would run what is left of it.
        Err(self.refused(Reason::Unusual("the end of everything within a statement")))
    }

    fn refused(&self, what: Reason) -> Refused {
        Refused { line: self.line, what }
    }

    fn line(&mut self, line: &[u8]) -> Result<(), Refused> {
        self.line += 1;
        if line.iter().any(|byte| matches!(byte, 0 | b'\r')) {
            return Err(self.refused(Reason::Control));
        }
        if self.state == In::Rows {
            if line == b"\\.\n" {
                self.state = In::Open;
            } else if line.starts_with(b"\\.") {
                return Err(self.refused(Reason::EndOfRows));
            }
            return Ok(());
        }
        if self.is_between() && is_restriction(line) {
            return Ok(());
        }
        if line.contains(&b'\\') {
            return Err(self.refused(Reason::Backslash));
        }
        if !line.is_ascii() {
            return Err(self.refused(Reason::BeyondAscii));
        }
        let mut at = 0;
        while let Some(byte) = line.get(at).filter(|_| self.state != In::Rows) {
            at += self.step(*byte, line, at)?;
        }
        if self.statement.len() > STATEMENT_MAX {
            return Err(self.refused(Reason::TooLong));
        }
        Ok(())
    }

    /// Whether no statement has begun.
    fn is_between(&self) -> bool {
        self.state == In::Open && self.statement.iter().all(u8::is_ascii_whitespace)
    }

    /// Reads from `at` on; gives how many bytes were read.
    fn step(&mut self, byte: u8, line: &[u8], at: usize) -> Result<usize, Refused> {
        let next = line.get(at + 1).copied();
        match &self.state {
            // A doubled quote ends a text and begins one: the same.
            In::Text if byte == b'\'' => self.state = In::Open,
            In::Name if byte == b'"' => self.state = In::Open,
            In::Body(tag) if line[at..].starts_with(tag) => {
                let length = tag.len();
                self.statement.extend_from_slice(&line[at..at + length]);
                self.state = In::Open;
                return Ok(length);
            }
            In::Text | In::Name | In::Body(_) => {}
            In::Rows => unreachable!("rows are read by the line"),
            In::Open => return self.open(byte, next, line, at),
        }
        self.statement.push(byte);
        Ok(1)
    }

    fn open(&mut self, byte: u8, next: Option<u8>, line: &[u8], at: usize) -> Result<usize, Refused> {
        let unusual = |what| Err(Refused { line: self.line, what: Reason::Unusual(what) });
        match byte {
            b'-' if next == Some(b'-') => {
                // A comment says nothing, but parts words.
                self.statement.push(b'\n');
                return Ok(line.len() - at);
            }
            b'/' if next == Some(b'*') => return unusual("a comment (/*)"),
            b'\'' => self.state = In::Text,
            b'"' => self.state = In::Name,
            b'$' => {
                let is_in_name =
                    self.statement.last().is_some_and(|before| is_word(*before) || *before == b'$');
                let tag =
                    line[at + 1..].iter().position(|byte| !is_word(*byte)).map(|end| &line[at..at + end + 2]);
                match tag {
                    Some(tag) if !is_in_name && tag.ends_with(b"$") && !tag[1].is_ascii_digit() => {
                        self.statement.extend_from_slice(tag);
                        self.state = In::Body(tag.to_vec());
                        return Ok(tag.len());
                    }
                    _ => return unusual("a dollar sign"),
                }
            }
            // psql puts its variables in the place of `:name`; `::` is a cast.
            b':' if next == Some(b':') => {
                self.statement.extend_from_slice(b"::");
                return Ok(2);
            }
            b':' => return unusual("a colon"),
            b'(' => self.depth += 1,
            b')' => match self.depth.checked_sub(1) {
                Some(depth) => self.depth = depth,
                None => return unusual("a parenthesis that closes nothing"),
            },
            b';' if self.depth > 0 => return unusual("a semicolon between parentheses"),
            b';' => {
                let statement = std::mem::take(&mut self.statement);
                return self.judge(&statement, &line[at + 1..]).map(|()| 1);
            }
            byte if is_word(byte) => {
                let end = line[at..].iter().position(|byte| !is_word(*byte)).unwrap_or(line.len() - at);
                // A body of SQL without quotes, in which psql ends no statement at a semicolon.
                if line[at..at + end].eq_ignore_ascii_case(b"begin") {
                    return unusual("BEGIN");
                }
                self.statement.extend_from_slice(&line[at..at + end]);
                return Ok(end);
            }
            byte if byte.is_ascii_control() && !matches!(byte, b'\n' | b'\t') => {
                return Err(self.refused(Reason::Control));
            }
            _ => {}
        }
        self.statement.push(byte);
        Ok(1)
    }

    /// Judges a statement that has ended; `after` is what stands behind it.
    fn judge(&mut self, statement: &[u8], after: &[u8]) -> Result<(), Refused> {
        let text = String::from_utf8_lossy(statement);
        let words = text.trim_start().to_ascii_lowercase();
        if let Some(copy) = words.strip_prefix("copy ") {
            // psql goes on with the rest of the line after the rows.
            if !is_copy(copy) || after != b"\n" {
                return Err(self.refused(Reason::Statement(beginning(&words))));
            }
            self.state = In::Rows;
            return Ok(());
        }
        let is_ours = STATEMENTS.iter().any(|known| words.starts_with(known));
        if is_ours { Ok(()) } else { Err(self.refused(Reason::Statement(beginning(&words)))) }
    }
}

/// Whether `line` is what newer `pg_dump`s write first and last, so that `psql` itself takes no other command between:
/// `\restrict TOKEN`, `\unrestrict TOKEN`.
fn is_restriction(line: &[u8]) -> bool {
    let token = line.strip_prefix(b"\\restrict ").or_else(|| line.strip_prefix(b"\\unrestrict "));
    let token = token.and_then(|token| token.strip_suffix(b"\n"));
    token.is_some_and(|token| !token.is_empty() && token.iter().all(u8::is_ascii_alphanumeric))
}

/// Whether a `COPY`, in lower case, goes on as `pg_dump` writes it: `schema.table (column, column) from stdin`, and so
/// without any option, program or file.
fn is_copy(rest: &str) -> bool {
    let Some((table, columns)) = rest.split_once(" (") else { return false };
    let is_name = |name: &str| {
        let inner = name.strip_prefix('"').and_then(|name| name.strip_suffix('"')).unwrap_or(name);
        !inner.is_empty() && inner.bytes().all(is_word)
    };
    let Some(columns) = columns.strip_suffix(") from stdin") else { return false };
    table.split('.').all(is_name) && columns.split(", ").all(is_name)
}

/// Whether the byte can stand in an unquoted name; what is beyond ASCII could, and was refused.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The first words of a statement, to be shown.
fn beginning(words: &str) -> String {
    words.split_whitespace().take(6).collect::<Vec<_>>().join(" ").chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "--\n-- PostgreSQL database dump\n--\n\nSET standard_conforming_strings = on;\n\
                        SELECT pg_catalog.set_config('search_path', '', false);\n";
    const TABLE: &str = "CREATE TABLE public.notes (\n    id bigint NOT NULL,\n    \"order\" text DEFAULT 'it''s; \
                         (fine'::text NOT NULL\n);\n";
    const ROWS: &str =
        "COPY public.notes (id, \"order\") FROM stdin;\n1\t\\\\! touch x\n2\t\\N\n\\\\.\n\\.\n";
    const BODY: &str = "CREATE FUNCTION public.units(bytes bytea) RETURNS numeric\n    LANGUAGE sql\n    AS $$\n  SELECT \
                        1; -- 'BEGIN\n $_$ $$;\nCREATE TRIGGER t BEFORE DELETE ON public.notes FOR EACH ROW EXECUTE \
                        FUNCTION public.f();\n";

    /// What is passed on of `text` given in pieces of `size`, and why it was refused.
    fn read(text: &[u8], size: usize) -> (Vec<u8>, Option<Refused>) {
        let (mut checker, mut passed) = (Checker::default(), Vec::new());
        for piece in text.chunks(size) {
            match checker.take(piece) {
                Ok(lines) => passed.extend(lines),
                Err(refused) => return (passed, Some(refused)),
            }
        }
        match checker.finish() {
            Ok(last) => passed.extend(last),
            Err(refused) => return (passed, Some(refused)),
        }
        (passed, None)
    }

    #[test]
    fn what_pg_dump_writes_is_passed_on_as_it_is() {
        let restricted = format!("\\restrict aZ09\n{HEAD}{TABLE}{ROWS}{BODY}\n\\unrestrict aZ09\n");
        for text in [format!("{HEAD}{TABLE}{ROWS}{BODY}-- end"), restricted, String::new()] {
            for size in [1, 2, 3, 7, 64, 1 << 20] {
                assert_eq!(read(text.as_bytes(), size), (text.clone().into_bytes(), None), "{size}");
            }
        }
    }

    #[test]
    fn nothing_by_which_psql_runs_a_command_is_passed_on() {
        for (evil, reason) in [
            ("\\! touch x\n", "backslash"),
            ("  \\! touch x\n", "backslash"),
            ("SET a = 1; \\! touch x\n", "backslash"),
            ("SET a = 1 \\g |touch x\n", "backslash"),
            ("\\connect other\n", "backslash"),
            ("\\copy public.notes from program 'touch x'\n", "backslash"),
            ("\\.\n\\! touch x\n", "backslash"),
            ("\\restrict a; touch\n", "backslash"),
            ("\\restrict a\\! touch x\n", "backslash"),
            ("SET a =\n\\unrestrict a\n", "backslash"),
            // In quotes it would be harmless, were the quotes where they seem to be.
            ("SET a = E'\\''; \\! touch x --';\n", "backslash"),
            ("SET a = '\n\\! touch x\n';\n", "backslash"),
            // Rows that psql would not take for rows.
            ("SET a = 'x\nCOPY public.notes (id) FROM stdin;\n'; \\! touch x\n\\.\n", "backslash"),
            ("/*\nCOPY public.notes (id) FROM stdin;\n*/ \\! touch x\n\\.\n", "comment"),
            ("CREATE VIEW v AS (SELECT 1;\nCOPY public.notes (id) FROM stdin;\n\\! touch x\n", "parentheses"),
            (
                "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1;\nCOPY public.notes (id) FROM stdin;\n\\! touch x\n",
                "BEGIN",
            ),
            (
                "CREATE FUNCTION f() AS a$$;\nCOPY public.notes (id) FROM stdin;\n\\! touch x\n--$$;\n",
                "dollar",
            ),
            ("CREATE FUNCTION f() AS $$ $a$\n$$ \\! touch x\n", "backslash"),
            ("COPY public.notes (id) FROM stdin; SET a = 1;\n1\n\\.\n", "copy public.notes"),
            ("COPY public.notes (id) FROM stdin;\n1\n\\.\n\\! touch x\n", "backslash"),
            ("COPY public.notes (id) FROM stdin;\n1\n\\.\r\n\\! touch x\n", "control"),
            ("COPY public.notes (id) FROM stdin;\n1\n\\. \n\\! touch x\n", "end of rows"),
            ("SET a = '\0'; \\! touch x\n", "control"),
            ("SET a = :PROMPT1;\n", "colon"),
            // The server's own ways out.
            ("COPY public.notes FROM PROGRAM 'touch x';\n", "copy public.notes"),
            ("COPY public.notes (id) FROM PROGRAM 'touch x';\n", "copy public.notes"),
            ("COPY public.notes (id) FROM '/etc/passwd';\n", "copy public.notes"),
            ("COPY public.notes (id) FROM stdin WITH (FORMAT binary);\n", "copy public.notes"),
            ("DO $$ $$;\n", "do $$"),
            ("COMMIT;\n", "commit"),
            ("ALTER SYSTEM SET a = 1;\n", "alter system"),
            ("SELECT lo_export(1, 'x');\n", "select lo_export"),
            (";\n", "statement"),
            ("SET a = 'torn\n", "within a statement"),
            ("COPY public.notes (id) FROM stdin;\n1\n", "within a statement"),
        ] {
            for size in [1, 5, 1 << 20] {
                let text = format!("{HEAD}{evil}");
                let (passed, refused) = read(text.as_bytes(), size);
                let refused = refused.unwrap_or_else(|| panic!("{evil:?} was passed on"));
                assert!(refused.to_string().contains(reason), "{evil:?}: {refused}");
                let passed = String::from_utf8(passed).unwrap();
                assert!(!passed.contains("touch"), "{evil:?}: {passed}");
                assert!(refused.line > 6, "{evil:?}: {refused}");
            }
        }
    }

    /// psql swallows the quote after the first half of a character, and is within a text where rows seem to begin.
    #[test]
    fn no_encoding_hides_a_quote() {
        let rows = b"COPY public.notes (id) FROM stdin;\n' \\! touch x\n\\.\n";
        for (before, hidden) in [
            ("SET client_encoding = 'SJIS';\n", &b"SET application_name = 'a\x81';\n"[..]),
            ("SELECT pg_catalog.set_config('client_encoding', 'SJIS', false);\n", b"SET a = 'a\x81';\n"),
            ("", b"SET a = \"\x81\";\n"),
            ("", b"CREATE FUNCTION f() AS $$\x81$$;\n"),
            ("", b"CREATE FUNCTION f() AS $\x81$ $\x81$;\n"),
            ("", b"-- \xff\n"),
            ("", "SET a = 'ä';\n".as_bytes()),
        ] {
            let text = [HEAD.as_bytes(), before.as_bytes(), hidden, rows].concat();
            for size in [1, 5, 1 << 20] {
                let (passed, refused) = read(&text, size);
                assert_eq!(refused.unwrap().what, Reason::BeyondAscii, "{hidden:?}");
                assert!(passed.is_ascii());
            }
        }
        // What is in rows is nobody's command.
        let text = [HEAD, "COPY public.notes (id) FROM stdin;\nä 鍵 '\n\\.\n"].concat();
        assert_eq!(read(text.as_bytes(), 5), (text.into_bytes(), None));
    }

    #[test]
    fn a_line_without_end_is_not_kept_for_ever() {
        let (mut checker, half) = (Checker::default(), vec![b' '; STATEMENT_MAX / 2]);
        let refused = (0..4).find_map(|_| checker.take(&half).err());
        assert_eq!(refused.unwrap().what, Reason::TooLong);
    }
}
