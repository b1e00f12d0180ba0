//! Scopes a login may ask for.

/// The most scopes one token carries; with their length they keep the token below its bound.
pub const SCOPES_MAX: usize = 16;
/// The longest scope name, in bytes.
pub const SCOPE_BYTES_MAX: usize = 40;

/// Reads the `scope` parameter (RFC 6749 section 3.3): distinct names such as `wallet:read`, one space between.
pub fn parse(text: &str) -> Option<Vec<&str>> {
    let names: Vec<&str> = text.split(' ').collect();
    let is_name = |name: &&str| {
        !name.is_empty()
            && name.len() <= SCOPE_BYTES_MAX
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":._-/".contains(&byte))
    };
    let are_distinct = names.iter().enumerate().all(|(at, name)| !names[..at].contains(name));
    (names.len() <= SCOPES_MAX && names.iter().all(is_name) && are_distinct).then_some(names)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn reads_names_and_refuses_what_could_mean_more() {
        assert_eq!(parse("wallet:read wallet:write"), Some(vec!["wallet:read", "wallet:write"]));
        let many = (0..17).map(|number| format!("s{number}")).collect::<Vec<_>>().join(" ");
        for text in ["", " ", "a  b", "a ", "a a", "a\"b", "a\\b", "a\u{e9}", &"s".repeat(41), &many] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
