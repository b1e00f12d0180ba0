//! Who may do what, from the permissions on record.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use q_core::{Span, Timestamp};
use serde::{Deserialize, Serialize};

/// What of a grant a review looks at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// Its name.
    #[serde(rename = "grantId")]
    pub id: String,
    /// On what.
    pub resource: String,
    /// Whose it is.
    pub owner: String,
    /// To whom.
    pub identity: String,
    /// What may be done.
    pub permissions: Vec<String>,
    /// Until when.
    pub expires_at: Timestamp,
    /// `ACTIVE`, `EXPIRED` or `REVOKED`.
    pub state: String,
}

/// A grant that ends within this time is named.
const ENDS_SOON: Span = Span::seconds(30 * 86_400);

/// The report over `grants`, of which `is_complete` says whether all were read; with the names that count now.
pub fn report(
    grants: &[Grant],
    is_complete: bool,
    before: Option<&BTreeSet<String>>,
    now: Timestamp,
) -> (String, String, BTreeSet<String>) {
    let active: Vec<&Grant> = grants.iter().filter(|grant| grant.state == "ACTIVE").collect();
    let is_admin = |grant: &&&Grant| grant.permissions.iter().any(|permission| permission == "admin");
    let of_instance = |grant: &&&Grant| grant.resource.starts_with("instance:");
    let mut page = String::new();
    if !is_complete {
        page.push_str("**Not all grants could be read: this review is not complete.**\n\n");
    }
    page.push_str("## Operators\n\nWho holds `admin` on the instance:\n\n");
    let operators: Vec<_> = active.iter().filter(is_admin).filter(of_instance).collect();
    list(&mut page, &operators);
    page.push_str("\n## Others with admin\n\n");
    let others: Vec<_> = active.iter().filter(is_admin).filter(|grant| !of_instance(grant)).collect();
    list(&mut page, &others);
    page.push_str("\n## All that counts, by kind of resource\n\n");
    let mut kinds: BTreeMap<String, (usize, BTreeSet<&str>)> = BTreeMap::new();
    for grant in &active {
        let kind = grant.resource.rsplit_once(':').map_or(grant.resource.as_str(), |(kind, _)| kind);
        let entry = kinds.entry(format!("{kind} {}", grant.permissions.join("+"))).or_default();
        entry.0 += 1;
        entry.1.insert(&grant.identity);
    }
    if kinds.is_empty() {
        page.push_str("None.\n");
    } else {
        page.push_str("| What | Grants | Identities |\n|---|---|---|\n");
    }
    for (kind, (count, identities)) in &kinds {
        let _ = writeln!(page, "| {kind} | {count} | {} |", identities.len());
    }
    page.push_str("\n## Ends within 30 days\n\n");
    let soon: Vec<_> = active.iter().filter(|grant| grant.expires_at.since(now) < ENDS_SOON).collect();
    list(&mut page, &soon);
    let names: BTreeSet<String> = active.iter().map(|grant| grant.id.clone()).collect();
    page.push_str("\n## Since the last review\n\n");
    match before {
        None => page.push_str("There is no earlier review.\n"),
        Some(before) => {
            let (new, gone) = (names.difference(before).count(), before.difference(&names).count());
            let _ = writeln!(page, "{new} grants are new, {gone} do not count any more.");
        }
    }
    page.push_str("\n## To decide\n\n- [ ] Every operator above still needs to be one.\n- [ ] Every other `admin` is known to the owner.\n");
    let summary = format!("{} operators, {} grants that count", operators.len(), active.len());
    (summary, page, names)
}

fn list(page: &mut String, grants: &[&&Grant]) {
    if grants.is_empty() {
        page.push_str("None.\n");
    }
    for grant in grants {
        let _ = writeln!(
            page,
            "- {} may {} on {} until {}",
            grant.identity,
            grant.permissions.join(", "),
            grant.resource,
            grant.expires_at
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_stand_first_and_revoked_grants_do_not_count() {
        let grant = |id: &str, resource: &str, permission: &str, state: &str| Grant {
            id: id.into(),
            resource: resource.into(),
            owner: "did:example:owner".into(),
            identity: format!("did:example:{id}"),
            permissions: vec![permission.into()],
            expires_at: Timestamp::from_seconds(1_900_000_000),
            state: state.into(),
        };
        let grants = [
            grant("a", "instance:instance:x", "admin", "ACTIVE"),
            grant("b", "instance:instance:x", "admin", "REVOKED"),
            grant("c", "wallet:wallet:1", "read", "ACTIVE"),
        ];
        let before = BTreeSet::from(["b".to_owned(), "c".to_owned()]);
        let (summary, page, _) = report(&grants, true, Some(&before), Timestamp::from_seconds(1_795_251_600));
        assert_eq!(summary, "1 operators, 2 grants that count");
        assert!(page.contains("did:example:a may admin") && !page.contains("did:example:b may"), "{page}");
        assert!(page.contains("1 grants are new, 1 do not count any more"), "{page}");
    }
}
