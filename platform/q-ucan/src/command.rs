//! Commands: `/`-led paths where a shorter one covers the longer ones below it.

use std::{fmt, str::FromStr};

/// The longest command, in bytes.
const COMMAND_BYTES_MAX: usize = 256;

/// A UCAN command such as `/qwallet/wallet/read` (`ucan-wg/spec`, "Command").
///
/// Never normalised: what is not already in the one allowed spelling is refused, so no two spellings mean the same.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Command(Box<str>);

/// The text is not a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a lower-case command such as /qwallet/wallet/read")]
pub struct NotACommand;

impl Command {
    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The segments, from the top; none for `/`.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|segment| !segment.is_empty())
    }

    /// Whether a delegation of this command covers `other`: equal, or `other` lies below it by whole segments.
    ///
    /// `/crypto` covers `/crypto/sign` and not `/cryptocurrency`; a comparison by text would.
    pub fn covers(&self, other: &Self) -> bool {
        if &*self.0 == "/" {
            return true;
        }
        match other.0.strip_prefix(&*self.0) {
            Some(rest) => rest.is_empty() || rest.starts_with('/'),
            None => false,
        }
    }
}

impl FromStr for Command {
    type Err = NotACommand;
    fn from_str(text: &str) -> Result<Self, NotACommand> {
        // Percent signs and everything outside printable ASCII are refused: both are ways to write one command twice.
        let is_spelled = text.len() <= COMMAND_BYTES_MAX
            && text.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase() && byte != b'%');
        let has_segments = text == "/"
            || text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(|segment| !segment.is_empty()));
        if is_spelled && has_segments { Ok(Self(text.into())) } else { Err(NotACommand) }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(text: &str) -> Command {
        text.parse().unwrap()
    }

    #[test]
    fn covers_by_whole_segments() {
        for (upper, lower, expected) in [
            ("/", "/crypto", true),
            ("/crypto", "/crypto", true),
            ("/crypto", "/crypto/sign", true),
            ("/crypto", "/cryptocurrency", false),
            ("/crypto/sign", "/crypto", false),
            ("/a/b", "/a", false),
            ("/a", "/", false),
        ] {
            assert_eq!(command(upper).covers(&command(lower)), expected, "{upper} covers {lower}");
        }
    }

    #[test]
    fn refuses_second_spellings() {
        for text in [
            "",
            "a",
            "/a/",
            "//",
            "/a//b",
            "/A",
            "/a b",
            "/a%2fb",
            "/сrypto",
            "/ａ",
            "/a\u{200b}",
            "/a\n",
            "/é",
        ] {
            assert_eq!(text.parse::<Command>(), Err(NotACommand), "{text:?}");
        }
    }
}
