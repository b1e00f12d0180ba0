//! What an entry does to the keys of an identity.

use q_did::{Document, VerificationMethod};
use serde_json::Value;

/// Keys that came and went between two documents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyChange {
    /// Ids of keys that are new.
    pub added: Vec<String>,
    /// Ids of keys that are gone.
    pub removed: Vec<String>,
    /// Whether a key that could log in no longer can: sessions it made must end.
    pub ends_sessions: bool,
}

/// Compares two states of one identity.
pub fn between(old: &Value, new: &Value) -> KeyChange {
    let (old, new) = (Document::new(old).verification_methods(), Document::new(new).verification_methods());
    let ids_not_in = |these: &[VerificationMethod], those: &[VerificationMethod]| {
        let is_missing = |method: &&VerificationMethod| !those.iter().any(|other| other.id == method.id);
        these.iter().filter(is_missing).map(|method| method.id.clone()).collect()
    };
    let still_logs_in = |method: &VerificationMethod| {
        new.iter().any(|other| other.id == method.id && other.is_authentication)
    };
    KeyChange {
        added: ids_not_in(&new, &old),
        removed: ids_not_in(&old, &new),
        ends_sessions: old.iter().any(|method| method.is_authentication && !still_logs_in(method)),
    }
}

#[cfg(test)]
mod tests {
    use q_core::Env;
    use q_did::{Keyring, Policy};

    use super::*;

    #[test]
    fn a_rotation_replaces_the_key_and_the_end_takes_it() {
        let env = Env::system();
        let (keyring, mut log, _) = Keyring::create("qnode.localhost:8080", &env).unwrap();
        let (rotated, entry) = keyring.rotate(&log, None, &env).unwrap();
        let (old, new) = (log.document().value().clone(), entry.state.clone());
        let change = between(&old, &new);
        assert_eq!(change.added, [rotated.key_id()]);
        assert_eq!(change.removed, [keyring.key_id()]);
        assert!(change.ends_sessions);
        log.append(entry, env.now() + q_core::Span::seconds(1), Policy::House).unwrap();
        let last = rotated.deactivate(&log, &env).unwrap();
        let end = between(&new, &last.state);
        assert_eq!((end.added.len(), end.removed, end.ends_sessions), (0, vec![rotated.key_id()], true));
        assert_eq!(between(&old, &old), KeyChange::default());
    }
}
