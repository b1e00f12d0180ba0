//! Webhooks: which events one is told, when it is tried again, and what of an event concerns a wallet.

use q_core::{Event, Span};

/// The most patterns of one webhook.
const PATTERNS_MAX: usize = 32;

/// The pauses after the first, second, … failed attempt, in seconds: 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h and
/// 24 h, the schedule Standard Webhooks suggests.
const PAUSES: [i64; 9] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];

/// How deliveries are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// HMAC-SHA256 with a secret that both sides share.
    Shared,
    /// Ed25519: the receiver holds a public key.
    Paired,
}

impl Scheme {
    /// The number in the store.
    pub const fn code(self) -> i64 {
        match self {
            Self::Shared => 0,
            Self::Paired => 1,
        }
    }

    /// The scheme with this number.
    pub const fn from_code(code: i64) -> Option<Self> {
        match code {
            0 => Some(Self::Shared),
            1 => Some(Self::Paired),
            _ => None,
        }
    }

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shared => "v1",
            Self::Paired => "v1a",
        }
    }

    /// The scheme with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Shared, Self::Paired].into_iter().find(|scheme| scheme.name() == name)
    }
}

/// Whether a webhook is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It is.
    Active,
    /// Not for now, says its owner.
    Paused,
    /// No more: the receiver answered that it is gone.
    Disabled,
}

impl Status {
    /// The number in the store.
    pub const fn code(self) -> i64 {
        match self {
            Self::Active => 0,
            Self::Paused => 1,
            Self::Disabled => 2,
        }
    }

    /// The status with this number.
    pub const fn from_code(code: i64) -> Option<Self> {
        match code {
            0 => Some(Self::Active),
            1 => Some(Self::Paused),
            2 => Some(Self::Disabled),
            _ => None,
        }
    }

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Paused => "PAUSED",
            Self::Disabled => "DISABLED",
        }
    }
}

/// Where a delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// An attempt is due, now or later.
    Waiting,
    /// The receiver has it.
    Delivered,
    /// Given up.
    Failed,
}

impl Progress {
    const ALL: [Self; 3] = [Self::Waiting, Self::Delivered, Self::Failed];

    /// The number in the store.
    pub const fn code(self) -> i64 {
        match self {
            Self::Waiting => 0,
            Self::Delivered => 1,
            Self::Failed => 2,
        }
    }

    /// The progress with this number.
    pub fn from_code(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|progress| progress.code() == code)
    }

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "WAITING",
            Self::Delivered => "DELIVERED",
            Self::Failed => "FAILED",
        }
    }

    /// The progress with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|progress| progress.name() == name)
    }
}

/// What became of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// The receiver answered with this status.
    Answered(u16),
    /// No answer came.
    Unanswered {
        /// Why.
        why: String,
        /// Whether it would be the same again.
        is_final: bool,
    },
}

/// What follows from an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It arrived.
    Delivered,
    /// Another attempt after this pause.
    Again(Span),
    /// That was the last one.
    GivenUp,
    /// The receiver says that it is gone for good: nothing more is sent to it.
    Gone,
}

impl Attempt {
    /// What follows from the attempt number `attempts`, counted from 1.
    pub fn next(&self, attempts: u32) -> Next {
        let is_hopeless = matches!(self, Self::Unanswered { is_final: true, .. });
        match self {
            Self::Answered(200..=299) => Next::Delivered,
            // RFC 9110 section 15.5.11.
            Self::Answered(410) => Next::Gone,
            _ if is_hopeless => Next::GivenUp,
            _ => {
                let index = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
                PAUSES.get(index).map_or(Next::GivenUp, |seconds| Next::Again(Span::seconds(*seconds)))
            }
        }
    }

    /// The answer's status, where there was one.
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Answered(status) => Some(*status),
            Self::Unanswered { .. } => None,
        }
    }

    /// What to tell the owner of a failed one.
    pub fn error(&self) -> Option<String> {
        match self {
            Self::Answered(200..=299) => None,
            Self::Answered(status @ 300..=399) => {
                Some(format!("answered {status}; redirects are not followed"))
            }
            Self::Answered(status) => Some(format!("answered {status}")),
            Self::Unanswered { why, .. } => Some(why.clone()),
        }
    }
}

/// Which events a webhook is told: topics, beginnings of topics that end in `.*`, or `*` for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patterns(Vec<String>);

impl Patterns {
    /// The patterns, if each has one of the forms.
    pub fn read(patterns: &[String]) -> Option<Self> {
        let is_count = (1..=PATTERNS_MAX).contains(&patterns.len());
        let read = Self(patterns.to_vec());
        (is_count && patterns.iter().all(|pattern| is_pattern(pattern))).then_some(read)
    }

    /// The patterns as they were written into one text.
    pub fn from_text(text: &str) -> Self {
        Self(text.split(' ').map(str::to_owned).collect())
    }

    /// All in one text.
    pub fn text(&self) -> String {
        self.0.join(" ")
    }

    /// Them.
    pub fn list(&self) -> &[String] {
        &self.0
    }

    /// What the wanted topics begin with.
    pub fn prefixes(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|pattern| prefix(pattern).unwrap_or(pattern).to_owned())
    }

    /// Whether events of this topic are wanted.
    pub fn want(&self, topic: &str) -> bool {
        self.0.iter().any(|pattern| match prefix(pattern) {
            Some(prefix) => topic.starts_with(prefix),
            None => topic == pattern,
        })
    }
}

/// What topics begin with that an open pattern wants; none of a pattern that is a topic.
fn prefix(pattern: &str) -> Option<&str> {
    if pattern == "*" { Some("q.qwallet.") } else { pattern.strip_suffix('*') }
}

fn is_pattern(pattern: &str) -> bool {
    let is_word = |word: &str| {
        !word.is_empty() && word.len() <= 40 && word.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let Some(rest) = pattern.strip_prefix("q.qwallet.") else { return pattern == "*" };
    let words: Vec<&str> = rest.split('.').collect();
    match words.as_slice() {
        ["*"] => true,
        [noun, "*"] => is_word(noun),
        [noun, happened, version] => {
            is_word(noun)
                && is_word(happened)
                && version.strip_prefix('v').is_some_and(|number| number.parse::<u8>().is_ok())
        }
        _ => false,
    }
}

/// The wallets an event is about, by id or reference: its subject, and the parties its data names. Nobody else is told.
pub fn concerned(event: &Event) -> Vec<&str> {
    const PARTIES: [&str; 6] = ["walletId", "walletRef", "from", "to", "payer", "payee"];
    let named = PARTIES.iter().filter_map(|party| event.data.get(party)?.as_str());
    let mut wallets: Vec<&str> = std::iter::once(event.subject.as_str()).chain(named).collect();
    wallets.sort_unstable();
    wallets.dedup();
    wallets
}

/// The body that is sent: type, timestamp and data, as Standard Webhooks recommends.
pub fn body(event: &Event) -> String {
    serde_json::json!({"type": event.topic, "timestamp": event.time, "data": event.data}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_read_or_refused() {
        let read = |pattern: &str| Patterns::read(&[pattern.to_owned()]);
        for fine in
            ["*", "q.qwallet.*", "q.qwallet.tx.*", "q.qwallet.tx.settled.v1", "q.qwallet.tx.settled.v12"]
        {
            assert!(read(fine).is_some(), "{fine}");
        }
        for wrong in [
            "",
            "q.*",
            "q.squid.*",
            "q.qwallet",
            "q.qwallet.tx",
            "q.qwallet.tx.settled",
            "q.qwallet.tx.settled.1",
            "q.qwallet.t*",
        ] {
            assert!(read(wrong).is_none(), "{wrong}");
        }
        assert!(Patterns::read(&[]).is_none());
        assert!(Patterns::read(&vec!["*".to_owned(); 33]).is_none());
    }

    #[test]
    fn patterns_want_what_they_say() {
        let some = Patterns::from_text("q.qwallet.tx.* q.qwallet.balance.updated.v1");
        for (topic, is_wanted) in [
            ("q.qwallet.tx.settled.v1", true),
            ("q.qwallet.balance.updated.v1", true),
            ("q.qwallet.balance.updated.v10", false),
            ("q.qwallet.txs.settled.v1", false),
            ("q.qwallet.wallet.created.v1", false),
        ] {
            assert_eq!(some.want(topic), is_wanted, "{topic}");
        }
        assert!(Patterns::from_text("*").want("q.qwallet.wallet.created.v1"));
        let prefixes: Vec<String> = some.prefixes().collect();
        assert_eq!(prefixes, ["q.qwallet.tx.", "q.qwallet.balance.updated.v1"]);
        assert_eq!(Patterns::from_text(&some.text()), some);
    }

    #[test]
    fn attempts_follow_the_schedule_to_its_end() {
        let down = Attempt::Answered(503);
        let mut pauses = Vec::new();
        for attempts in 1.. {
            match down.next(attempts) {
                Next::Again(pause) => pauses.push(pause.as_seconds()),
                next => {
                    assert_eq!((next, attempts), (Next::GivenUp, 10));
                    break;
                }
            }
        }
        assert_eq!(pauses, PAUSES);
        for (status, next) in [(200, Next::Delivered), (204, Next::Delivered), (410, Next::Gone)] {
            assert_eq!(Attempt::Answered(status).next(1), next);
        }
        assert_eq!(Attempt::Answered(302).next(1), Next::Again(Span::seconds(5)));
        assert!(Attempt::Answered(302).error().is_some_and(|error| error.contains("not followed")));
        let never = Attempt::Unanswered { why: "no".into(), is_final: true };
        assert_eq!(never.next(1), Next::GivenUp);
    }
}
