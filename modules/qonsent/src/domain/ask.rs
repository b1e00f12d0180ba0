//! Reading what a caller asks for.

use q_core::{Did, Span, Timestamp};
use q_pdp::{Resource, expand};

use crate::Error;

/// The most permissions one request names.
pub const PERMISSIONS_MAX: usize = 32;
/// How long a grant lasts when nobody says.
pub const TTL_DEFAULT: Span = Span::seconds(90 * 86_400);
/// The longest a grant lasts.
pub const TTL_MAX: Span = Span::seconds(366 * 86_400);
/// The longest a grant on an instance itself lasts: its operators must not lapse unnoticed.
pub const TTL_INSTANCE_MAX: Span = Span::seconds(10 * 366 * 86_400);
/// The most grants of one owner on one resource.
pub const GRANTS_PER_RESOURCE_MAX: i64 = 10_000;
/// The most grants of one owner.
pub const GRANTS_PER_OWNER_MAX: i64 = 100_000;
/// The longest reason of a revocation, in bytes.
const REASON_BYTES_MAX: usize = 64;

/// Reads a resource.
pub fn resource(text: &str) -> Result<Resource, Error> {
    text.parse().map_err(|_| Error::Resource)
}

/// Reads an identity.
pub fn identity(text: &str) -> Result<Did, Error> {
    text.parse().map_err(|_| Error::Identity)
}

/// Reads permissions and expands them to literal actions, sorted.
pub fn permissions(named: &[String]) -> Result<Vec<String>, Error> {
    if named.is_empty() || named.len() > PERMISSIONS_MAX {
        return Err(Error::Permissions);
    }
    let actions = expand(named.iter().map(String::as_str)).map_err(|_| Error::Permissions)?;
    Ok(actions.into_iter().collect())
}

/// The end of a grant made now, before the delegations have their say.
pub fn end(wanted: Option<Timestamp>, resource: &Resource, now: Timestamp) -> Result<Timestamp, Error> {
    let latest = now + ttl_max(resource);
    match wanted {
        None => Ok(now + TTL_DEFAULT),
        Some(end) if end <= now => Err(Error::Validation("expiresAt lies in the future")),
        Some(end) if end > latest => Err(Error::Validation("expiresAt lies at most a year ahead")),
        Some(end) => Ok(end),
    }
}

/// How long a grant on `resource` may last.
pub fn ttl_max(resource: &Resource) -> Span {
    if resource.module() == "instance" { TTL_INSTANCE_MAX } else { TTL_MAX }
}

/// Reads the reason of a revocation: a word for machines, because every module hears it.
pub fn reason(text: Option<&str>) -> Result<String, Error> {
    let text = text.unwrap_or("withdrawn");
    let is_word = !text.is_empty()
        && text.len() <= REASON_BYTES_MAX
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if is_word {
        Ok(text.to_owned())
    } else {
        Err(Error::Validation("reason is one lower-case word, such as left-team"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    #[test]
    fn a_grant_ends_within_its_bounds() {
        let file: Resource = "qdrive:file:a".parse().unwrap();
        assert_eq!(end(None, &file, NOW).unwrap(), NOW + TTL_DEFAULT);
        assert_eq!(end(Some(NOW + TTL_MAX), &file, NOW).unwrap(), NOW + TTL_MAX);
        assert!(end(Some(NOW), &file, NOW).is_err());
        assert!(end(Some(NOW + TTL_MAX + Span::seconds(1)), &file, NOW).is_err());
        let instance: Resource = "instance:instance:did:squid:Qm".parse().unwrap();
        assert!(end(Some(NOW + TTL_INSTANCE_MAX), &instance, NOW).is_ok());
    }

    #[test]
    fn permissions_and_reasons_are_words() {
        let named = |names: &[&str]| permissions(&names.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(named(&["write"]).unwrap(), ["read", "write"]);
        assert!(named(&[]).is_err());
        assert!(named(&["READ"]).is_err());
        assert!(named(&["a"; 33]).is_err());
        assert!(reason(Some("left-team")).is_ok());
        assert!(reason(Some("because Bob left")).is_err());
        assert!(reason(Some("")).is_err());
    }
}
