//! The settings of the watch, read once and refused when they make no sense.

use q_core::{Env, Span};
use q_notify::{Channel, Notifier, Secret};
use q_runtime::Settings;
use q_slo::{Classes, Level, Objectives, Policy, RUNGS, Rule, parse_span, rules_with};

use crate::notify::notifier_with;

/// One way in which a rung is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// The module is asked to recover by itself.
    Recover,
    /// Somebody is told.
    Tell(Channel),
}

/// What Q's own recovery is called among the channels.
pub(super) const RECOVER: &str = "recover";
/// The shortest pause between two looks: more often would be load, not watching.
const EVERY_MIN: Span = Span::millis(10);
/// The longest: rules that last two minutes need several looks.
const EVERY_MAX: Span = Span::seconds(30);

/// How the watch is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// The pause between two looks.
    pub every: Span,
    /// The rules.
    pub rules: Vec<Rule>,
    /// Which requests share a promise.
    pub classes: Classes,
    /// The promises.
    pub objectives: Objectives,
    /// When who is told.
    pub policy: Policy,
    /// How each rung is reached.
    pub ways: [Vec<Way>; 4],
    /// The pause between two verifications of a module; `None` for none.
    pub verify_every: Option<Span>,
}

/// A setting of the watch makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("ops.{key}: {why}")]
pub struct NotWatchable {
    /// The setting.
    pub key: String,
    /// Why.
    pub why: String,
}

/// Why a start with these settings would be refused, if it would; nothing is made and nobody is asked.
pub fn judge(settings: &Settings, env: &Env) -> Option<NotWatchable> {
    // Whether a webhook can be signed does not depend on the secret.
    match notifier_with(settings, Secret::generate(env), env) {
        Ok(notifier) => Config::read(settings, &notifier).err(),
        Err(error) => Some(NotWatchable { key: "smtp".to_owned(), why: error.to_string() }),
    }
}

impl Config {
    /// Reads the settings; channels must be usable with what `notifier` has.
    pub(crate) fn read(settings: &Settings, notifier: &Notifier) -> Result<Self, NotWatchable> {
        let refused = |key: &str, why: String| NotWatchable { key: key.to_owned(), why };
        let every = span(settings, "watch_every")?;
        if !(EVERY_MIN..=EVERY_MAX).contains(&every) {
            return Err(refused("watch_every", "looks are at most 30s apart".into()));
        }
        let rules =
            rules_with(settings.text("rules")).map_err(|error| refused("rules", error.to_string()))?;
        let classes = settings
            .text("route_classes")
            .parse()
            .map_err(|error: q_slo::NotClasses| refused("route_classes", error.to_string()))?;
        let mut policy = Policy::default();
        let mut ways: [Vec<Way>; 4] = Default::default();
        for (index, rung) in ways.iter_mut().enumerate() {
            let number = index + 1;
            let key = format!("level_{number}");
            *rung = read_ways(settings.text(&key), number, notifier).map_err(|why| refused(&key, why))?;
            if number > 1 {
                let repeat = format!("level_{number}_repeat");
                policy.levels[index] = Level {
                    after: span(settings, &format!("level_{number}_after"))?,
                    repeat: span_or_never(settings, &repeat)?,
                };
                if policy.levels[index].repeat.is_some_and(|repeat| repeat < Span::seconds(60)) {
                    return Err(refused(&repeat, "nobody is told more often than once a minute".into()));
                }
            }
        }
        for (index, pair) in policy.levels.windows(2).enumerate() {
            if pair[0].after >= pair[1].after {
                let key = format!("level_{}_after", index + 2);
                let why = format!("the {} is told later than the {}", RUNGS[index + 1], RUNGS[index]);
                return Err(refused(&key, why));
            }
        }
        let verify_every = span_or_never(settings, "verify_every")?;
        Ok(Self { every, rules, classes, objectives: Objectives::default(), policy, ways, verify_every })
    }

    /// The rule called `id`.
    pub fn rule(&self, id: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.id == id)
    }

    /// Whether anybody but the house itself is told of anything.
    pub fn tells_somebody(&self) -> bool {
        self.ways.iter().flatten().any(|way| matches!(way, Way::Tell(_)))
    }
}

fn read_ways(text: &str, rung: usize, notifier: &Notifier) -> Result<Vec<Way>, String> {
    let mut ways = Vec::new();
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        if part == RECOVER {
            if rung > 1 {
                return Err("only level 1 recovers".into());
            }
            ways.push(Way::Recover);
            continue;
        }
        let channel: Channel = part.parse().map_err(|error: q_notify::NotAChannel| error.to_string())?;
        notifier.check(&channel).map_err(|error| error.to_string())?;
        ways.push(Way::Tell(channel));
    }
    Ok(ways)
}

fn span(settings: &Settings, key: &str) -> Result<Span, NotWatchable> {
    parse_span(settings.text(key))
        .map_err(|error| NotWatchable { key: key.to_owned(), why: error.to_string() })
}

fn span_or_never(settings: &Settings, key: &str) -> Result<Option<Span>, NotWatchable> {
    if settings.text(key) == "never" { Ok(None) } else { span(settings, key).map(Some) }
}

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Recover => f.write_str(RECOVER),
            Self::Tell(channel) => channel.fmt(f),
        }
    }
}
