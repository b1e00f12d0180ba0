//! What a delegation is a grant of, by itself: the one resource its policy pins and the one action it names.

use std::collections::BTreeMap;

use q_core::Did;
use q_pdp::{Resource, command, resource::check_action};
use q_ucan::{Delegation, Ipld, policy::Statement};

/// The resource and action of a delegation that names both exactly.
///
/// `None` for wider delegations: those prove others, and are no grant.
pub fn pinned(delegation: &Delegation) -> Option<(Resource, String)> {
    let resource = delegation.policy().statements().iter().find_map(|statement| match statement {
        Statement::Equal(selector, Ipld::String(text)) if selector.as_str() == ".resource" => {
            text.parse().ok()
        }
        _ => None,
    });
    let resource: Resource = resource?;
    let action = delegation.command().segments().last()?;
    check_action(action).ok()?;
    let is_exact = command(&resource, action).is_ok_and(|command| command == *delegation.command());
    is_exact.then(|| (resource, action.to_owned()))
}

/// What delegations of one container are grants of: actions by holder and resource.
pub fn grants_of<'a>(
    delegations: impl IntoIterator<Item = &'a Delegation>,
) -> BTreeMap<(Did, String), Vec<String>> {
    let mut grants: BTreeMap<(Did, String), Vec<String>> = BTreeMap::new();
    for delegation in delegations {
        if let Some((resource, action)) = pinned(delegation) {
            let actions = grants.entry((delegation.audience().clone(), resource.to_string())).or_default();
            if !actions.contains(&action) {
                actions.push(action);
            }
        }
    }
    for actions in grants.values_mut() {
        actions.sort();
    }
    grants
}
