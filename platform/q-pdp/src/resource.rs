//! Resources, the actions on them, and the UCAN commands both become.

use std::{collections::BTreeSet, fmt, str::FromStr};

use q_core::Did;
use q_ucan::Command;

/// The longest resource, in bytes.
pub const RESOURCE_BYTES_MAX: usize = 512;
/// The longest action, in bytes.
const ACTION_BYTES_MAX: usize = 32;
/// The actions every resource knows. Modules add typed ones, such as `transfer`.
pub const COMMON_ACTIONS: [&str; 6] = ["admin", "delete", "execute", "read", "share", "write"];
/// The modules whose resources nobody shares on an owner's behalf: the owner signs each delegation.
pub const OWNER_SIGNED_MODULES: [&str; 4] = ["qwallet", "dao", "qlock", "squid"];

/// What is acted on: `module:type:id`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Resource(Box<str>);

/// The text is not a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a resource such as qdrive:file:01J…")]
pub struct NotAResource;

/// The text is not an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an action such as read")]
pub struct NotAnAction;

impl Resource {
    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The module that keeps it.
    pub fn module(&self) -> &str {
        self.part(0)
    }

    /// Its type within the module.
    pub fn kind(&self) -> &str {
        self.part(1)
    }

    /// Its id within the type; may itself hold colons.
    pub fn id(&self) -> &str {
        self.part(2)
    }

    /// The resource that stands for a whole instance: its owner is the instance, `admin` on it makes an operator.
    pub fn instance(did: &Did) -> Self {
        Self(format!("instance:instance:{did}").into())
    }

    /// Whether only the owner's own signature may share it.
    pub fn is_owner_signed(&self) -> bool {
        OWNER_SIGNED_MODULES.contains(&self.module())
    }

    fn part(&self, at: usize) -> &str {
        self.0.splitn(3, ':').nth(at).expect("a resource has three parts")
    }
}

/// The owner that a resource names itself: instances and identities own themselves.
pub fn self_owner(resource: &str) -> Option<&str> {
    resource.strip_prefix("instance:instance:").or_else(|| resource.strip_prefix("squid:identity:"))
}

impl FromStr for Resource {
    type Err = NotAResource;
    fn from_str(text: &str) -> Result<Self, NotAResource> {
        let mut parts = text.splitn(3, ':');
        let is_name = |part: Option<&str>| part.is_some_and(is_name);
        let is_id = |part: Option<&str>| {
            part.is_some_and(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_graphic()))
        };
        let is_resource = text.len() <= RESOURCE_BYTES_MAX
            && is_name(parts.next())
            && is_name(parts.next())
            && is_id(parts.next());
        if is_resource { Ok(Self(text.into())) } else { Err(NotAResource) }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Checks the spelling of an action.
pub fn check_action(action: &str) -> Result<(), NotAnAction> {
    if action.len() <= ACTION_BYTES_MAX && is_name(action) { Ok(()) } else { Err(NotAnAction) }
}

/// The command that `action` on `resource` is: `/<module>/<type>/<action>`.
pub fn command(resource: &Resource, action: &str) -> Result<Command, NotAnAction> {
    check_action(action)?;
    format!("/{}/{}/{action}", resource.module(), resource.kind()).parse().map_err(|_| NotAnAction)
}

/// The actions that `permissions` stand for: `admin` for all common ones, `write` and `share` for `read` too.
///
/// Done when a grant is made, so that each delegation is literal and no verifier needs this rule.
pub fn expand<'a>(permissions: impl IntoIterator<Item = &'a str>) -> Result<BTreeSet<String>, NotAnAction> {
    let mut actions = BTreeSet::new();
    for permission in permissions {
        check_action(permission)?;
        actions.insert(permission.to_owned());
        match permission {
            "admin" => actions.extend(COMMON_ACTIONS.map(str::to_owned)),
            "write" | "share" => drop(actions.insert("read".to_owned())),
            _ => {}
        }
    }
    Ok(actions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_have_three_parts() {
        let resource: Resource = "instance:instance:did:squid:QmA".parse().unwrap();
        assert_eq!(
            (resource.module(), resource.kind(), resource.id()),
            ("instance", "instance", "did:squid:QmA")
        );
        for text in ["", "a", "a:b", "a:b:", ":b:c", "A:b:c", "a:b:c d", "a:b:\u{e9}", "1:b:c", "a/b:c:d"] {
            assert_eq!(text.parse::<Resource>(), Err(NotAResource), "{text}");
        }
    }

    #[test]
    fn permissions_expand_to_literal_actions() {
        let expand = |permissions: &[&str]| {
            expand(permissions.iter().copied()).map(|it| it.into_iter().collect::<Vec<_>>())
        };
        assert_eq!(expand(&["write"]), Ok(vec!["read".into(), "write".into()]));
        assert_eq!(expand(&["admin"]).unwrap(), COMMON_ACTIONS);
        assert_eq!(expand(&["transfer"]), Ok(vec!["transfer".into()]));
        assert_eq!(expand(&["Read"]), Err(NotAnAction));
        assert_eq!(expand(&["read/all"]), Err(NotAnAction));
    }
}
