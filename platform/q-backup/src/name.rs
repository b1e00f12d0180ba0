//! Names of backups, which tell when they were made.

use q_core::{Timestamp, hash};

/// The instant in the name of a backup.
pub fn instant_of(id: &str) -> Option<Timestamp> {
    // 20261121T223600123Z-…
    let text = id.split('-').next()?;
    let part = |from: usize, to: usize| text.get(from..to);
    format!(
        "{}-{}-{}T{}:{}:{}.{}Z",
        part(0, 4)?,
        part(4, 6)?,
        part(6, 8)?,
        part(9, 11)?,
        part(11, 13)?,
        part(13, 15)?,
        part(15, 18)?
    )
    .parse()
    .ok()
}

/// The name of a backup made at `at`.
///
/// Its end begins with a mark of the runs of processes whose shipments follow it, so that a removal knows, without
/// opening anything, which backups reach which instants.
pub(crate) fn id_of(at: Timestamp, generations: &str, random: [u8; 3]) -> String {
    let mark = &hash::sha256(generations.as_bytes())[..2];
    let text: String = at.to_string().chars().take(19).filter(|sign| !matches!(sign, '-' | ':')).collect();
    format!("{text}{:03}Z-{}{}", at.millis().rem_euclid(1_000), hash::hex(mark), hash::hex(&random))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_its_instant() {
        let at: Timestamp = "2026-11-21T22:36:07.5Z".parse().unwrap();
        let id = id_of(at, "", [1, 2, 3]);
        assert_eq!(id, "20261121T223607500Z-e3b0010203");
        assert_eq!(instant_of(&id), Some("2026-11-21T22:36:07.5Z".parse().unwrap()));
        assert_eq!(instant_of("x"), None);
    }
}
