//! What is said.

use q_core::Timestamp;
use serde_json::{Value, json};

/// The most bytes of text one message carries; more is cut off with a word.
const TEXT_BYTES_MAX: usize = 16 << 10;

/// One message, the same for every channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Unique, and the same for every attempt: letters, digits, `-` and `_`.
    pub id: String,
    /// What earlier messages this belongs to, if it does: mails of one thread show as one.
    pub thread: Option<String>,
    /// When it was decided.
    pub at: Timestamp,
    /// What happened, as a dotted name such as `q.ops.page.tell`.
    pub kind: String,
    /// One line.
    pub subject: String,
    /// The whole, as plain text.
    pub text: String,
    /// The whole, for programs.
    pub data: Value,
}

impl Message {
    /// The body of a webhook, in the shape Standard Webhooks recommends: type, timestamp, data.
    pub(crate) fn body(&self) -> Vec<u8> {
        let body = json!({
            "type": self.kind,
            "timestamp": self.at,
            "data": {"subject": self.subject, "text": self.bounded_text(), "details": self.data},
        });
        serde_json::to_vec(&body).unwrap_or_default()
    }

    pub(crate) fn bounded_text(&self) -> String {
        if self.text.len() <= TEXT_BYTES_MAX {
            return self.text.clone();
        }
        let end = self.text.floor_char_boundary(TEXT_BYTES_MAX);
        format!("{}\n(cut off)", &self.text[..end])
    }

    /// The subject without what would break a header or a line.
    pub(crate) fn line(&self) -> String {
        self.subject.chars().filter(|character| !character.is_control()).take(200).collect()
    }
}
