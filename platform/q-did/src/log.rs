//! A whole log: verified from its first entry, looked at in any version, extended by one entry.

use q_core::Timestamp;
use serde_json::Value;

use crate::{
    document::Document,
    entry::{ENTRY_BYTES_MAX, Entry},
    head::{ENTRIES_MAX, Head, Policy},
    rule::{Refused, Rule},
};

/// The longest log kept, in bytes.
pub const LOG_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A log whose every entry was verified.
#[derive(Debug, Clone)]
pub struct Log {
    entries: Vec<Entry>,
    head: Head,
    created_at: Timestamp,
}

impl Log {
    /// Verifies `text`, the content of a `did.jsonl`, from the first entry on.
    pub fn verify(text: &str, now: Timestamp, policy: Policy) -> Result<Self, Refused> {
        if text.len() > LOG_BYTES_MAX {
            return Err(Refused { version: 0, rule: Rule::Size });
        }
        let mut log: Option<Self> = None;
        for (at, line) in (0_u32..).zip(text.lines()) {
            let refused = |rule| Refused { version: at + 1, rule };
            if at >= ENTRIES_MAX {
                return Err(refused(Rule::Size));
            }
            let entry = Entry::parse(line).map_err(refused)?;
            match &mut log {
                Some(log) => log.append(entry, now, policy).map_err(refused)?,
                None => log = Some(Self::start(entry, now, policy).map_err(refused)?),
            }
        }
        log.ok_or(Refused { version: 0, rule: Rule::EmptyLog })
    }

    /// A log of one verified entry.
    pub fn start(entry: Entry, now: Timestamp, policy: Policy) -> Result<Self, Rule> {
        let head = Head::genesis(&entry, now, policy)?;
        let created_at = head.version_time;
        Ok(Self { entries: vec![entry], head, created_at })
    }

    /// Verifies `entry` as the next one and adds it.
    pub fn append(&mut self, entry: Entry, now: Timestamp, policy: Policy) -> Result<(), Rule> {
        self.head = self.head.next(&entry, now, policy)?;
        self.entries.push(entry);
        Ok(())
    }

    /// What the newest entry left behind.
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// When the first entry was made.
    pub const fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// The entries, oldest first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The newest document.
    pub fn document(&self) -> Document<'_> {
        Document::new(self.state())
    }

    /// The entry with this `versionId`.
    pub fn at_version(&self, version_id: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.version_id == version_id)
    }

    /// The entry that was the newest at `time`.
    pub fn at_time(&self, time: Timestamp) -> Option<&Entry> {
        self.entries.iter().rev().find(|entry| entry.time().is_ok_and(|made| made <= time))
    }

    /// The content of `did.jsonl`.
    pub fn to_text(&self) -> String {
        let mut text = String::with_capacity(self.entries.len().min(64) * ENTRY_BYTES_MAX / 16);
        for entry in &self.entries {
            text.push_str(&entry.to_line());
            text.push('\n');
        }
        text
    }

    fn state(&self) -> &Value {
        &self.entries.last().expect("a log begins with an entry").state
    }
}
