//! Who may be whose sub-identity.

use squid_api::IdentityType;

/// The most parents, guardians or owners of one sub-identity.
pub const PARENTS_MAX: usize = 8;

/// What counts of a parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    /// What kind it is.
    pub kind: IdentityType,
    /// Whether it is a sub-identity itself.
    pub is_sub: bool,
}

/// Checks that these parents, the first of whom asks, may have a sub-identity of `kind`; says why not.
///
/// A program's identity has no children: it would raise its own limits by having many.
pub fn check(kind: IdentityType, parents: &[Parent]) -> Result<(), &'static str> {
    use IdentityType::{Aid, Consentida, Dao, Enterprise, Root, Service};
    let Some((first, others)) = parents.split_first() else { return Err("a sub-identity has a parent") };
    if parents.len() > PARENTS_MAX {
        return Err("a sub-identity has at most 8 parents");
    }
    let is_root = |parent: &Parent| parent.kind == Root && !parent.is_sub;
    match (first.kind, first.is_sub) {
        (Root, false) => {}
        (Dao, _) if kind == Enterprise => {}
        (Dao, _) => return Err("a DAO has sub-identities of type ENTERPRISE only"),
        _ => return Err("this identity has no sub-identities"),
    }
    if !others.iter().all(is_root) {
        return Err("guardians and owners are of type ROOT and nobody's sub-identities");
    }
    match kind {
        Root | Dao if others.is_empty() => Ok(()),
        Root | Dao => Err("it has one parent"),
        Enterprise if first.kind == Dao || !others.is_empty() => Ok(()),
        Enterprise => Err("an ENTERPRISE has two owners or more, or a DAO"),
        Consentida => Ok(()),
        Aid => Err("an AID is registered with POST /identity and no login: nobody may know whose it is"),
        Service => Err("the modules of an instance are registered when it is made"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_be_whose() {
        use IdentityType::{Aid, Consentida, Dao, Enterprise, Root, Service};
        let top = Parent { kind: Root, is_sub: false };
        let sub = Parent { kind: Root, is_sub: true };
        let dao = Parent { kind: Dao, is_sub: true };
        let ward = Parent { kind: Consentida, is_sub: true };
        let aid = Parent { kind: Aid, is_sub: false };
        for (kind, parents, is_good) in [
            (Root, &[top][..], true),
            (Root, &[top, top], false),
            (Root, &[sub], false),
            (Root, &[], false),
            (Root, &[ward], false),
            (Root, &[aid], false),
            (Root, &[dao], false),
            (Dao, &[top], true),
            (Dao, &[dao], false),
            (Enterprise, &[top], false),
            (Enterprise, &[top, top], true),
            (Enterprise, &[top, sub], false),
            (Enterprise, &[dao], true),
            (Enterprise, &[dao, top], true),
            (Consentida, &[top], true),
            (Consentida, &[top, top, top], true),
            (Consentida, &[top, aid], false),
            (Consentida, &[top; 9], false),
            (Aid, &[top], false),
            (Service, &[top], false),
        ] {
            assert_eq!(check(kind, parents).is_ok(), is_good, "{kind} below {parents:?}");
        }
    }
}
