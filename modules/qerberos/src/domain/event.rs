//! An event before it has a place in the log.

use q_core::{AuditEntry, Did, Timestamp, Verdict, audit::AuditId};
use qerberos_api::{Details, Network, RecordEventRequest, Severity, Subject};

use super::commitment::{Core, Section};

/// The longest `type`, `subtype` and `layer`, in characters.
pub const NAME_CHARS_MAX: usize = 100;
/// The longest `ref` and `cid`, in characters.
pub const REFERENCE_CHARS_MAX: usize = 500;
/// The longest `userAgent`, `ip`, `subId` and `daoId`, in characters.
pub const LABEL_CHARS_MAX: usize = 500;
/// The most targets.
pub const TARGETS_MAX: usize = 16;
/// The largest `details`, in bytes of JSON.
pub const DETAILS_BYTES_MAX: usize = 64 * 1024;

/// Why an event is not recordable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A text is empty or too long.
    #[error("{field} must have {min} to {max} characters")]
    TextLength {
        /// The field.
        field: &'static str,
        /// The fewest characters.
        min: usize,
        /// The most characters.
        max: usize,
    },
    /// A NUL character in a text that is searched for.
    #[error("{field} holds a NUL character")]
    HoldsNul {
        /// The field.
        field: &'static str,
    },
    /// Too many targets.
    #[error("an event has at most {TARGETS_MAX} targets")]
    TooManyTargets,
    /// Details larger than [`DETAILS_BYTES_MAX`].
    #[error(
        "details must not exceed {DETAILS_BYTES_MAX} bytes; keep larger evidence elsewhere and record its hash"
    )]
    DetailsTooLarge,
    /// A member of the details is named like a secret.
    #[error("details hold a member named {0}: secrets do not belong into the trail")]
    HoldsSecret(String),
}

/// What happened, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// Made by the producer.
    pub id: AuditId,
    /// When, by the producer's clock.
    pub happened_at: Timestamp,
    /// The family.
    pub family: String,
    /// The action.
    pub action: String,
    /// How much attention it asks for.
    pub severity: Severity,
    /// The module.
    pub layer: String,
    /// How it ended.
    pub verdict: Verdict,
    /// What it was done to.
    pub reference: Option<String>,
    /// Who did it.
    pub actor: Option<Subject>,
    /// Whom it was done to.
    pub targets: Vec<Subject>,
    /// Where the request came from.
    pub network: Option<Network>,
    /// Further facts.
    pub details: Details,
    /// A content identifier.
    pub cid: Option<String>,
}

impl NewEvent {
    /// Checks an event that was sent to `POST /audit`.
    pub fn from_request(request: RecordEventRequest, now: Timestamp) -> Result<Self, Refusal> {
        let event = Self {
            id: request.id,
            happened_at: request.timestamp.unwrap_or(now),
            family: request.family,
            action: request.action,
            severity: request.severity,
            layer: request.layer,
            verdict: request.verdict,
            reference: request.reference,
            actor: request.actor,
            targets: request.targets,
            network: request.network,
            details: request.details,
            cid: request.cid,
        };
        event.check()?;
        Ok(event)
    }

    /// Takes an entry a module wrote with its own rows. It happened, so nothing is refused: what is too long is cut
    /// and marked.
    pub fn from_entry(id: AuditId, module: &str, happened_at: Timestamp, entry: AuditEntry) -> Self {
        // A target that names an identity is about a person: it gets a section that can be erased.
        let target: Option<Did> = entry.target.parse().ok();
        let reference = if target.is_some() { None } else { Some(entry.target) };
        let subject = |squid_id| Subject { squid_id, sub_id: None, dao_id: None };
        Self {
            id,
            happened_at,
            family: cut(entry.family, NAME_CHARS_MAX),
            action: cut(entry.action, NAME_CHARS_MAX),
            severity: severity_of(entry.verdict),
            layer: module.to_owned(),
            verdict: entry.verdict,
            reference: reference.map(|reference| cut(reference, REFERENCE_CHARS_MAX)),
            actor: entry.actor.map(subject),
            targets: target.map(subject).into_iter().collect(),
            network: None,
            details: bounded(entry.details),
            cid: None,
        }
    }

    /// The parts of the commitment, in their order.
    pub fn sections(&self) -> Vec<Section> {
        let core = Core {
            id: self.id,
            timestamp: self.happened_at,
            family: self.family.clone(),
            action: self.action.clone(),
            severity: self.severity,
            layer: self.layer.clone(),
            verdict: self.verdict,
            reference: self.reference.clone(),
            details: self.details.clone(),
            cid: self.cid.clone(),
        };
        let mut sections = vec![Section::Core(Box::new(core))];
        sections.extend(self.actor.clone().map(Section::Actor));
        sections.extend(self.targets.iter().cloned().map(Section::Target));
        sections.extend(self.network.clone().map(Section::Network));
        sections
    }

    fn check(&self) -> Result<(), Refusal> {
        for (field, text) in [("type", &self.family), ("subtype", &self.action), ("layer", &self.layer)] {
            check_text(field, text, 1, NAME_CHARS_MAX)?;
            if text.contains('\0') {
                return Err(Refusal::HoldsNul { field }); // PostgreSQL keeps no such text
            }
        }
        for (field, text) in [("ref", &self.reference), ("cid", &self.cid)] {
            check_text(field, text.as_deref().unwrap_or_default(), 0, REFERENCE_CHARS_MAX)?;
        }
        if self.targets.len() > TARGETS_MAX {
            return Err(Refusal::TooManyTargets);
        }
        for subject in self.actor.iter().chain(&self.targets) {
            check_text("subId", subject.sub_id.as_deref().unwrap_or_default(), 0, LABEL_CHARS_MAX)?;
            check_text("daoId", subject.dao_id.as_deref().unwrap_or_default(), 0, LABEL_CHARS_MAX)?;
        }
        if let Some(network) = &self.network {
            check_text("ip", network.ip.as_deref().unwrap_or_default(), 0, LABEL_CHARS_MAX)?;
            check_text("userAgent", network.user_agent.as_deref().unwrap_or_default(), 0, LABEL_CHARS_MAX)?;
        }
        if let Some(name) = secret_member(&self.details.0) {
            return Err(Refusal::HoldsSecret(name.to_owned()));
        }
        if json_bytes(&self.details.0) > DETAILS_BYTES_MAX { Err(Refusal::DetailsTooLarge) } else { Ok(()) }
    }
}

/// How much attention an outcome asks for when nobody said.
fn severity_of(verdict: Verdict) -> Severity {
    match verdict {
        Verdict::Allow => Severity::Info,
        Verdict::Deny | Verdict::Warn => Severity::Warning,
    }
}

fn check_text(field: &'static str, text: &str, min: usize, max: usize) -> Result<(), Refusal> {
    let count = text.chars().take(max + 1).count();
    if (min..=max).contains(&count) { Ok(()) } else { Err(Refusal::TextLength { field, min, max }) }
}

fn cut(text: String, chars_max: usize) -> String {
    let text = if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text };
    match text.char_indices().nth(chars_max) {
        None => text,
        Some(_) => text.chars().take(chars_max - 1).chain(['…']).collect(),
    }
}

/// The details of a module's own entry; a larger value is replaced by its size and hash.
fn bounded(details: serde_json::Value) -> Details {
    if json_bytes(&details) <= DETAILS_BYTES_MAX {
        return Details(details);
    }
    let text = details.to_string();
    let hash = q_core::hash::hex(&q_core::hash::sha256(text.as_bytes()));
    Details(serde_json::json!({"omitted": {"bytes": text.len(), "sha256": hash}}))
}

fn json_bytes(value: &serde_json::Value) -> usize {
    if value.is_null() { 0 } else { value.to_string().len() }
}

/// The first member whose name says that its value is a secret.
fn secret_member(value: &serde_json::Value) -> Option<&str> {
    const SECRET_NAMES: [&str; 8] =
        ["password", "passwd", "secret", "token", "privatekey", "apikey", "mnemonic", "authorization"];
    match value {
        serde_json::Value::Object(members) => members.iter().find_map(|(name, value)| {
            let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
            let is_secret = SECRET_NAMES.contains(&plain.to_ascii_lowercase().as_str()) && value.is_string();
            if is_secret { Some(name.as_str()) } else { secret_member(value) }
        }),
        serde_json::Value::Array(items) => items.iter().find_map(secret_member),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use q_core::Env;
    use serde_json::json;

    use super::*;

    fn request() -> RecordEventRequest {
        serde_json::from_value(json!({
            "id": AuditId::new(&Env::system()), "type": "data_access", "subtype": "file.read", "layer": "qdrive",
            "verdict": "ALLOW"
        }))
        .unwrap()
    }

    fn refusal(change: impl FnOnce(&mut RecordEventRequest)) -> Option<Refusal> {
        let mut request = request();
        change(&mut request);
        NewEvent::from_request(request, Timestamp::default()).err()
    }

    #[test]
    fn refuses_in_the_documented_order() {
        let length = |field, min, max| Some(Refusal::TextLength { field, min, max });
        assert_eq!(refusal(|_| ()), None);
        assert_eq!(refusal(|event| event.family.clear()), length("type", 1, 100));
        assert_eq!(refusal(|event| event.action = "x".repeat(101)), length("subtype", 1, 100));
        assert_eq!(refusal(|event| event.action = "é".repeat(100)), None);
        assert_eq!(refusal(|event| event.layer.clear()), length("layer", 1, 100));
        assert_eq!(refusal(|event| event.layer.push('\0')), Some(Refusal::HoldsNul { field: "layer" }));
        assert_eq!(refusal(|event| event.reference = Some("x".repeat(501))), length("ref", 0, 500));
        assert_eq!(refusal(|event| event.cid = Some("x".repeat(501))), length("cid", 0, 500));
        let subject = Subject { squid_id: "did:squid:Qm1".parse().unwrap(), sub_id: None, dao_id: None };
        assert_eq!(refusal(|event| event.targets = vec![subject.clone(); 17]), Some(Refusal::TooManyTargets));
        let long = Subject { sub_id: Some("x".repeat(501)), ..subject };
        assert_eq!(refusal(|event| event.actor = Some(long)), length("subId", 0, 500));
        let agent = Network { ip: None, user_agent: Some("x".repeat(501)) };
        assert_eq!(refusal(|event| event.network = Some(agent)), length("userAgent", 0, 500));
        let secret = json!({"request": [{"Api-Key": "abc"}]});
        assert_eq!(
            refusal(|event| event.details = Details(secret)),
            Some(Refusal::HoldsSecret("Api-Key".into()))
        );
        let large = json!("x".repeat(DETAILS_BYTES_MAX));
        assert_eq!(refusal(|event| event.details = Details(large)), Some(Refusal::DetailsTooLarge));
    }

    #[test]
    fn what_a_module_wrote_is_cut_and_never_refused() {
        let entry = AuditEntry {
            family: "f".repeat(300),
            action: String::new(),
            actor: None,
            target: "did:squid:QmVictim".into(),
            verdict: Verdict::Deny,
            details: json!({"text": "x".repeat(70_000)}),
        };
        let event = NewEvent::from_entry(AuditId::from_bytes([1; 16]), "squid", Timestamp::default(), entry);
        assert_eq!(event.family.chars().count(), 100);
        assert_eq!(event.severity, Severity::Warning);
        assert_eq!(event.reference, None, "an identity is no reference");
        assert_eq!(event.targets[0].squid_id.as_str(), "did:squid:QmVictim");
        assert_eq!(event.details.0["omitted"]["bytes"], 70_011);
    }
}
