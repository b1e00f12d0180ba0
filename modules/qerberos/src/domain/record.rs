//! The sealed record beside a leaf: what the commitment opens to, for as long as it may be known.

use q_core::{
    Env,
    audit::AuditId,
    hash::{Sha256, sha256_of},
};
use q_seal::{Place, Sealer};

use super::{
    commitment::{Commitment, Nonce, Salted, Section, commit},
    event::NewEvent,
};

/// The version of the stored form.
const VERSION: u8 = 1;
/// A section that can be read.
const KEPT: u8 = 1;
/// A section of which only the hash is left.
const ERASED: u8 = 0;

/// Why a record cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The bytes are not a record.
    #[error("the stored record is damaged")]
    Damaged,
    /// A section does not open with the keys at hand.
    #[error("section {section} does not open")]
    DoesNotOpen {
        /// Its number.
        section: usize,
        /// Why.
        #[source]
        source: q_seal::OpenError,
    },
    /// A section opens to something other than what was committed to.
    #[error("section {section} is not what was committed to")]
    NotCommitted {
        /// Its number.
        section: usize,
    },
}

/// A stored section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordSection {
    /// What stands for it in the commitment.
    pub hash: Sha256,
    /// Nonce and content, sealed; gone when erased.
    pub sealed: Option<Vec<u8>>,
}

/// The sections of one event as they are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// In the order of the commitment.
    pub sections: Vec<RecordSection>,
}

/// A section that was opened.
#[derive(Debug, Clone, PartialEq)]
pub struct Opened {
    /// What stands for it in the commitment.
    pub hash: Sha256,
    /// Its salt and bytes; gone when erased.
    pub salted: Option<Salted>,
}

impl Opened {
    /// The section, unless it was erased.
    pub fn section(&self) -> Option<Section> {
        self.salted.as_ref().and_then(|salted| serde_json::from_slice(&salted.content).ok())
    }
}

impl Record {
    /// Salts and seals the sections of `event`.
    pub fn seal(event: &NewEvent, sealer: &Sealer, env: &Env) -> Self {
        let row = event.id.to_string();
        let seal = |(number, section): (usize, &Section)| {
            let salted = Salted::new(section, env);
            let mut plaintext = Vec::with_capacity(salted.nonce.len() + salted.content.len());
            plaintext.extend_from_slice(&salted.nonce);
            plaintext.extend_from_slice(&salted.content);
            let sealed = sealer.seal(place(COLUMNS[number], &row), &plaintext, env);
            RecordSection { hash: salted.hash(), sealed: Some(sealed) }
        };
        Self { sections: event.sections().iter().enumerate().map(seal).collect() }
    }

    /// The commitment in the leaf.
    pub fn commitment(&self) -> Commitment {
        commit(self.sections.iter().map(|section| &section.hash))
    }

    /// Opens every section that was not erased and checks it against its hash.
    pub fn open(&self, id: AuditId, sealer: &Sealer) -> Result<Vec<Opened>, RecordError> {
        let row = id.to_string();
        let open = |(number, section): (usize, &RecordSection)| {
            let Some(sealed) = &section.sealed else {
                return Ok(Opened { hash: section.hash, salted: None });
            };
            let plaintext = sealer
                .open(place(COLUMNS[number], &row), sealed)
                .map_err(|source| RecordError::DoesNotOpen { section: number, source })?;
            let (nonce, content) = plaintext
                .split_first_chunk::<{ size_of::<Nonce>() }>()
                .ok_or(RecordError::NotCommitted { section: number })?;
            if sha256_of(&[nonce, content]) != section.hash {
                return Err(RecordError::NotCommitted { section: number });
            }
            let salted = Salted { nonce: *nonce, content: content.to_vec() };
            Ok(Opened { hash: section.hash, salted: Some(salted) })
        };
        self.sections.iter().enumerate().map(open).collect()
    }

    /// The stored bytes: version, count, then per section its state, hash, length and sealed bytes.
    pub fn encode(&self) -> Vec<u8> {
        let length: usize =
            self.sections.iter().map(|one| 37 + one.sealed.as_ref().map_or(0, Vec::len)).sum();
        let mut bytes = Vec::with_capacity(2 + length);
        bytes.push(VERSION);
        bytes.push(u8::try_from(self.sections.len()).expect("an event has at most 19 sections"));
        for section in &self.sections {
            match &section.sealed {
                None => {
                    bytes.push(ERASED);
                    bytes.extend_from_slice(&section.hash);
                }
                Some(sealed) => {
                    bytes.push(KEPT);
                    bytes.extend_from_slice(&section.hash);
                    let length = u32::try_from(sealed.len()).expect("sections are bounded");
                    bytes.extend_from_slice(&length.to_be_bytes());
                    bytes.extend_from_slice(sealed);
                }
            }
        }
        bytes
    }

    /// Reads what [`Record::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let (&[version, count], mut rest) = bytes.split_first_chunk::<2>().ok_or(RecordError::Damaged)?;
        if version != VERSION || usize::from(count) > COLUMNS.len() {
            return Err(RecordError::Damaged);
        }
        let mut sections = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            let (&state, after) = rest.split_first().ok_or(RecordError::Damaged)?;
            let (hash, after) = after.split_first_chunk::<32>().ok_or(RecordError::Damaged)?;
            let (sealed, after) = match state {
                ERASED => (None, after),
                KEPT => {
                    let (length, after) = after.split_first_chunk::<4>().ok_or(RecordError::Damaged)?;
                    let length =
                        usize::try_from(u32::from_be_bytes(*length)).map_err(|_| RecordError::Damaged)?;
                    let (sealed, after) = after.split_at_checked(length).ok_or(RecordError::Damaged)?;
                    (Some(sealed.to_vec()), after)
                }
                _ => return Err(RecordError::Damaged),
            };
            sections.push(RecordSection { hash: *hash, sealed });
            rest = after;
        }
        if rest.is_empty() { Ok(Self { sections }) } else { Err(RecordError::Damaged) }
    }
}

/// The names under which sections are sealed: core, actor, up to 16 targets, network.
const COLUMNS: [&str; 19] = [
    "section-0",
    "section-1",
    "section-2",
    "section-3",
    "section-4",
    "section-5",
    "section-6",
    "section-7",
    "section-8",
    "section-9",
    "section-10",
    "section-11",
    "section-12",
    "section-13",
    "section-14",
    "section-15",
    "section-16",
    "section-17",
    "section-18",
];

fn place<'a>(column: &'a str, row: &'a str) -> Place<'a> {
    Place { module: "qerberos", table: "events", column, row }
}

#[cfg(test)]
mod tests {
    use q_core::{AuditEntry, Timestamp};
    use q_seal::{DataKey, DataKeyId};

    use super::*;

    fn sealer() -> Sealer {
        Sealer::new(DataKey::new(DataKeyId([1; 16]), &[2; 32]), vec![])
    }

    fn event() -> NewEvent {
        let actor = "did:squid:QmAda".parse().unwrap();
        let entry = AuditEntry::change("identity.update", Some(&actor), "did:squid:QmBob");
        NewEvent::from_entry(AuditId::from_bytes([3; 16]), "squid", Timestamp::from_seconds(5), entry)
    }

    #[test]
    fn a_record_opens_to_what_was_committed() {
        let record = Record::seal(&event(), &sealer(), &Env::system());
        let read = Record::decode(&record.encode()).unwrap();
        assert_eq!(read, record);
        let opened = read.open(event().id, &sealer()).unwrap();
        let sections: Vec<Section> = opened.iter().filter_map(Opened::section).collect();
        assert_eq!(sections, event().sections());
        let again = Record::seal(&event(), &sealer(), &Env::system());
        assert_ne!(again.commitment(), record.commitment(), "salted: equal events have unequal commitments");
    }

    #[test]
    fn an_erased_section_is_gone_and_the_commitment_stays() {
        let mut record = Record::seal(&event(), &sealer(), &Env::system());
        let commitment = record.commitment();
        record.sections[1].sealed = None;
        let read = Record::decode(&record.encode()).unwrap();
        assert_eq!(read.commitment(), commitment);
        let opened = read.open(event().id, &sealer()).unwrap();
        assert!(opened[1].section().is_none() && opened[0].section().is_some());
        assert!(!String::from_utf8_lossy(&read.encode()).contains("QmAda"));
    }

    #[test]
    fn no_changed_byte_goes_unnoticed() {
        let record = Record::seal(&event(), &sealer(), &Env::system());
        let bytes = record.encode();
        for at in 0..bytes.len() {
            let mut bent = bytes.clone();
            bent[at] ^= 1;
            let is_noticed = Record::decode(&bent).is_err()
                || Record::decode(&bent).is_ok_and(|bent| {
                    bent.commitment() != record.commitment() || bent.open(event().id, &sealer()).is_err()
                });
            assert!(is_noticed, "byte {at}");
        }
        let stolen = record.open(AuditId::from_bytes([4; 16]), &sealer());
        assert!(matches!(stolen, Err(RecordError::DoesNotOpen { section: 0, .. })), "moved to another row");
    }
}
