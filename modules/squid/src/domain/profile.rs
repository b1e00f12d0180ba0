//! What a profile may hold.

use squid_api::Profile;

/// The longest name, in characters.
pub const NAME_CHARS_MAX: usize = 100;
/// The longest description, in characters.
pub const DESCRIPTION_CHARS_MAX: usize = 500;
/// The longest avatar URI, in characters.
pub const AVATAR_CHARS_MAX: usize = 500;
/// The most tags.
pub const TAGS_MAX: usize = 10;
/// The longest tag, in characters.
pub const TAG_CHARS_MAX: usize = 50;
/// The largest metadata, in bytes of JSON.
pub const METADATA_BYTES_MAX: usize = 16 * 1024;

/// Why a profile is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Empty, too long, or with control characters.
    #[error("the name has 1 to {NAME_CHARS_MAX} characters and no control characters")]
    Name,
    /// Too long.
    #[error("the description has at most {DESCRIPTION_CHARS_MAX} characters")]
    Description,
    /// Not an https URI, or too long.
    #[error("the avatar is an https URI of at most {AVATAR_CHARS_MAX} characters")]
    Avatar,
    /// Too many, empty or too long.
    #[error("at most {TAGS_MAX} tags of 1 to {TAG_CHARS_MAX} characters")]
    Tags,
    /// Too large.
    #[error("the metadata has at most {METADATA_BYTES_MAX} bytes as JSON")]
    Metadata,
}

/// Checks a profile, in the order of [`Refusal`].
pub fn check(profile: &Profile) -> Result<(), Refusal> {
    let is_short = |text: &str, chars_max: usize| text.chars().count() <= chars_max;
    let is_name = !profile.name.trim().is_empty()
        && is_short(&profile.name, NAME_CHARS_MAX)
        && !profile.name.chars().any(char::is_control);
    if !is_name {
        return Err(Refusal::Name);
    }
    if profile.description.as_ref().is_some_and(|text| !is_short(text, DESCRIPTION_CHARS_MAX)) {
        return Err(Refusal::Description);
    }
    let is_avatar = |uri: &String| uri.starts_with("https://") && is_short(uri, AVATAR_CHARS_MAX);
    if profile.avatar.as_ref().is_some_and(|uri| !is_avatar(uri)) {
        return Err(Refusal::Avatar);
    }
    let is_tag = |tag: &String| !tag.is_empty() && is_short(tag, TAG_CHARS_MAX);
    if profile.tags.len() > TAGS_MAX || !profile.tags.iter().all(is_tag) {
        return Err(Refusal::Tags);
    }
    let metadata_bytes = serde_json::to_vec(&profile.metadata).map_or(usize::MAX, |json| json.len());
    if metadata_bytes > METADATA_BYTES_MAX { Err(Refusal::Metadata) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Mend = fn(&mut Profile);

    /// Each row mends the fault of the row before, so that the order of refusals shows.
    #[test]
    fn refusals_in_their_order() {
        let mut profile = Profile {
            name: " ".into(),
            description: Some("d".repeat(501)),
            avatar: Some("http://x".into()),
            tags: vec![String::new()],
            metadata: [("k".to_owned(), "v".repeat(METADATA_BYTES_MAX).into())].into_iter().collect(),
        };
        let rows: [(Refusal, Mend); 5] = [
            (Refusal::Name, |profile| profile.name = "é".repeat(100)),
            (Refusal::Description, |profile| profile.description = Some("d".repeat(500))),
            (Refusal::Avatar, |profile| profile.avatar = Some("https://x/a.png".into())),
            (Refusal::Tags, |profile| profile.tags = vec!["t".repeat(50); 10]),
            (Refusal::Metadata, |profile| profile.metadata.clear()),
        ];
        for (refusal, mend) in rows {
            assert_eq!(check(&profile), Err(refusal));
            mend(&mut profile);
        }
        assert_eq!(check(&profile), Ok(()));
        for name in [String::new(), "n".repeat(101), "a\nb".into(), "\u{0}".into()] {
            assert_eq!(check(&Profile { name, ..profile.clone() }), Err(Refusal::Name));
        }
    }
}
