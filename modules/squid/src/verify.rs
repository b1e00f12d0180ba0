//! `q verify squid`: every log from its first entry, and everything that is derived from it.

use std::collections::BTreeSet;

use q_core::Did;
use q_db::{DbError, Reader};
use q_did::{Document, Log, Policy, entry::Entry};
use q_jose::PublicKey;
use q_runtime::Finding;
use squid_api::{IdentityType, LinkStatement, Status};

use crate::{
    Squid,
    domain::identity::check_place,
    service::{family::is_signed, logs::rule_of, signing_keys::open_seed},
    store::{self, identities::Stored, signing_keys::State},
};

impl Squid {
    /// Everything that is not as it must be.
    pub(crate) async fn findings(&self) -> Result<Vec<Finding>, DbError> {
        let mut findings = self.check_signing_keys().await?;
        let all = self.db.read(store::identities::all).await?;
        for did in all {
            let lookup = did.clone();
            let read = move |reader: &mut Reader<'_>| -> Result<_, DbError> {
                Ok((store::identities::find(reader, &lookup), store::log_entries::text(reader, &lookup)?))
            };
            match self.db.read(read).await {
                Ok((Ok(Some(identity)), text)) => {
                    findings.extend(self.check_identity(identity, &text.unwrap_or_default()));
                }
                Ok((Ok(None), _)) => {}
                Ok((Err(error), _)) => findings.push(finding("row_unreadable", &did, error.to_string())),
                Err(error) => return Err(error),
            }
        }
        findings.extend(self.check_links().await?);
        findings.extend(self.db.read(orphans).await?);
        Ok(findings)
    }

    fn check_identity(&self, identity: Stored, text: &str) -> Vec<Finding> {
        let did = identity.did.clone();
        let mut findings = Vec::new();
        match Log::verify(text, self.env.now(), Policy::House) {
            Err(refused) => {
                let (rule, version) = rule_of(refused);
                let detail = format!("entry {version} breaks the rule {rule}");
                findings.push(finding("log_invalid", &did, detail));
            }
            Ok(log) => {
                if format!("did:squid:{}", log.head().scid) != did.as_str() {
                    findings.push(finding(
                        "log_of_another",
                        &did,
                        format!("the log is of {}", log.head().scid),
                    ));
                }
                if *log.head() != identity.head {
                    let detail = format!("the log ends at {}", log.head().version_id);
                    findings.push(finding("head_mismatch", &did, detail));
                }
                if log.head().deactivated != (identity.status == Status::Deleted) {
                    findings.push(finding(
                        "status_mismatch",
                        &did,
                        format!("the status is {}", identity.status),
                    ));
                }
                if check_place(log.head(), &self.host).is_err() && !log.head().deactivated {
                    findings.push(finding("served_elsewhere", &did, log.head().id.clone()));
                }
            }
        }
        if (identity.kind == IdentityType::Service) != identity.service.is_some() {
            findings.push(finding("service_mismatch", &did, format!("the type is {}", identity.kind)));
        }
        if identity.profile.is_none() != (identity.status == Status::Deleted) {
            findings.push(finding("profile_mismatch", &did, format!("the status is {}", identity.status)));
        }
        if let Err(error) = self.opened(identity, Vec::new()) {
            findings.push(finding("profile_unreadable", &did, error.to_string()));
        }
        findings
    }

    /// Kinship that one side has not signed, or that ties an AID to somebody.
    async fn check_links(&self) -> Result<Vec<Finding>, DbError> {
        let links = self.db.read(store::links::all).await?;
        let mut findings = Vec::new();
        for link in links {
            let (child, parent) = (link.child.clone(), link.parent.clone());
            let read = move |reader: &mut Reader<'_>| -> Result<_, DbError> {
                let kind = store::identities::find(reader, &child)?.map(|identity| identity.kind);
                let log = store::log_entries::text(reader, &child)?.unwrap_or_default();
                Ok((kind, log, store::log_entries::text(reader, &parent)?.unwrap_or_default()))
            };
            let (kind, of_child, of_parent) = self.db.read(read).await?;
            let place = &link.child;
            let Some(kind) = kind else {
                findings.push(finding("link_of_nobody", place, format!("it names {}", link.parent)));
                continue;
            };
            if matches!(kind, IdentityType::Aid | IdentityType::Service) {
                findings.push(finding("link_forbidden", place, format!("the type is {kind}")));
            }
            let (child, parent) = (&link.child, &link.parent);
            let expected = LinkStatement { aud: &self.origin, child, parent, kind, v: 1 }.bytes();
            for (side, who, text, log) in
                [("parent", parent, &link.by_parent, &of_parent), ("child", child, &link.by_child, &of_child)]
            {
                let ever_held = |signer: &Did, key: &PublicKey| signer == who && has_held(log, key);
                if !is_signed(text, &expected, ever_held) {
                    let detail = format!("the {side}'s signature does not hold");
                    findings.push(finding("link_unsigned", place, detail));
                }
            }
        }
        Ok(findings)
    }

    async fn check_signing_keys(&self) -> Result<Vec<Finding>, DbError> {
        let keys = self.db.read(store::signing_keys::all).await?;
        let mut findings = Vec::new();
        for key in &keys {
            let place = format!("signing_keys {}", key.kid);
            match open_seed(&self.sealer, key) {
                Err(error) => findings.push(Finding::new("signing_key_unreadable", place, error.to_string())),
                Ok(secret) if q_jose::thumbprint(&secret.public()) != key.kid => {
                    findings.push(Finding::new(
                        "signing_key_misnamed",
                        place,
                        "the kid is not the thumbprint",
                    ));
                }
                Ok(_) => {}
            }
        }
        for state in [State::Active, State::Next] {
            let count = keys.iter().filter(|key| key.state == state).count();
            if count != 1 {
                let detail = format!("{count} keys are {}", state.as_str());
                findings.push(Finding::new("signing_key_count", "signing_keys", detail));
            }
        }
        Ok(findings)
    }
}

/// Whether any entry of a log gave its identity this key to log in with. The log itself is checked elsewhere.
fn has_held(log: &str, key: &PublicKey) -> bool {
    log.lines().filter_map(|line| Entry::parse(line).ok()).any(|entry| {
        let methods = Document::new(&entry.state).verification_methods();
        methods.iter().any(|method| method.is_authentication && method.key == *key)
    })
}

/// Log lines and sessions of identities that do not exist.
fn orphans(reader: &mut Reader<'_>) -> Result<Vec<Finding>, DbError> {
    let known: BTreeSet<Did> = store::identities::all(reader)?.into_iter().collect();
    let mut findings = Vec::new();
    for table in ["log_entries", "sessions", "second_keys"] {
        for row in reader.query(&format!("SELECT DISTINCT did FROM {table}"), &[])? {
            let did: Did = row.try_get(0)?;
            if !known.contains(&did) {
                findings.push(finding("orphan", &did, format!("rows in {table}")));
            }
        }
    }
    Ok(findings)
}

fn finding(code: &str, did: &Did, detail: impl Into<String>) -> Finding {
    Finding::new(code, did.to_string(), detail)
}
