//! `$1` → `?1`. SQLite reads `$1` as a *named* parameter and numbers those by first appearance, so
//! `… $2 … $1 …` would bind the wrong values.

/// `sql` with SQLite's numbered parameters. Texts in quotes and comments stay as they are.
pub(crate) fn translate(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len());
    let mut rest = sql;
    while let Some(at) = rest.find(['$', '\'', '"', '-', '/']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let taken = match rest.as_bytes() {
            [b'$', digit, ..] if digit.is_ascii_digit() => {
                out.push('?');
                rest = &rest[1..];
                continue;
            }
            [quote @ (b'\'' | b'"'), ..] => {
                rest[1..].find(char::from(*quote)).map_or(rest.len(), |end| end + 2)
            }
            [b'-', b'-', ..] => rest.find('\n').unwrap_or(rest.len()),
            [b'/', b'*', ..] => rest.find("*/").map_or(rest.len(), |end| end + 2),
            _ => 1,
        };
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::translate;

    #[test]
    fn numbers_parameters_and_leaves_texts_alone() {
        for (common, expected) in [
            ("SELECT $2, $1", "SELECT ?2, ?1"),
            ("SELECT '$1', \"$2\", $3", "SELECT '$1', \"$2\", ?3"),
            ("SELECT 'it''s $1', $1", "SELECT 'it''s $1', ?1"),
            ("SELECT $1 -- $2\n, $3", "SELECT ?1 -- $2\n, ?3"),
            ("SELECT $1 /* $2 */ - $3 / $4", "SELECT ?1 /* $2 */ - ?3 / ?4"),
            ("SELECT '$1", "SELECT '$1"),
        ] {
            assert_eq!(translate(common), expected);
        }
    }
}
