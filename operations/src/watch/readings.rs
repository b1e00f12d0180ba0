//! From what the modules said to what the rules read.

use std::collections::{BTreeMap, BTreeSet};

use q_core::{Span, Timestamp};
use q_slo::{Book, Rule, Signal, exposition, group::Dependencies};

use super::{
    domain::{Key, Reading},
    scrape::Scrape,
};

/// What everything that is of no one module is called.
pub(super) const INSTANCE: &str = "instance";

/// What is read besides scrapes.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    /// What the newest verification of each module found.
    pub findings: BTreeMap<String, i64>,
    /// How it stands with the backups of the instance.
    pub backups: q_backup::Status,
    /// By how many seconds the clock of this process moved against the time that passed.
    pub jump_seconds: f64,
}

/// Everything every rule reads now.
pub(super) fn readings(
    rules: &[Rule],
    scrapes: &[Scrape],
    book: &Book,
    facts: &Facts,
    now: Timestamp,
) -> BTreeMap<Key, Reading> {
    let mut readings = BTreeMap::new();
    let modules: BTreeSet<&str> = scrapes.iter().map(|scrape| scrape.module.as_str()).collect();
    for rule in rules {
        let mut put = |module: &str, class: String, value: Option<f64>, cause: Option<String>| {
            let key = (rule.id.to_owned(), module.to_owned(), class);
            readings.insert(key, Reading { value: value.filter(|value| value.is_finite()), cause });
        };
        if rule.signal == Signal::BackupAge {
            // An instance that never had a backup has gone without one since it is watched.
            let since = facts.backups.last_success.or_else(|| book.began());
            put(INSTANCE, String::new(), since.map(|at| seconds(now.since(at))), None);
            continue;
        }
        for module in &modules {
            let targets: Vec<&Scrape> = scrapes.iter().filter(|scrape| scrape.module == *module).collect();
            if let Signal::Burn { long, short } = rule.signal {
                for key in book.keys().filter(|key| key.0 == *module) {
                    let both = (book.burn(now, key, long), book.burn(now, key, short));
                    let is_alarming = book.is_alarming(now, key, long);
                    let value = match both {
                        // What does not happen in the short window does not go on.
                        (Some(_), None) => Some(0.0),
                        (Some(long), Some(short)) => Some(long.min(short)),
                        _ => None,
                    };
                    // Too little to raise an alarm over is still enough to end one.
                    let value = value.filter(|value| is_alarming || *value <= rule.clear);
                    put(module, format!("{} {}", key.1, key.2.name()).trim_start().to_owned(), value, None);
                }
                continue;
            }
            let cause = if rule.signal == Signal::HealthFailing { cause(&targets, &modules) } else { None };
            put(module, String::new(), value(rule.signal, module, &targets, book, facts, now), cause);
        }
    }
    readings
}

fn value(
    signal: Signal,
    module: &str,
    targets: &[&Scrape],
    book: &Book,
    facts: &Facts,
    now: Timestamp,
) -> Option<f64> {
    // The worst of the processes that run the module.
    let worst =
        |of: &dyn Fn(&Scrape) -> Option<f64>| targets.iter().filter_map(|target| of(target)).reduce(f64::max);
    let max = |target: &Scrape, name| exposition::max(target.samples.as_deref()?, name);
    match signal {
        Signal::HealthFailing => Some(f64::from(u8::from(!is_serving(targets)))),
        // Nobody answers requests that nobody counts: what is down has a rule of its own.
        Signal::ErrorRatio => is_scraped(targets).then(|| book.error_ratio(now, module))?,
        Signal::LatencyP99 => is_scraped(targets).then(|| book.p99(now, module))?,
        Signal::Memory => worst(&|target| {
            Some(max(target, "process_resident_memory_bytes")? / max(target, "q_memory_limit_bytes")?)
        }),
        Signal::Disk => {
            worst(&|target| Some(1.0 - max(target, "q_disk_free_bytes")? / max(target, "q_disk_size_bytes")?))
        }
        Signal::OutboxAge => worst(&|target| max(target, "q_outbox_oldest_age_seconds")),
        Signal::KeyAge => worst(&|target| {
            let created =
                exposition::sum(target.samples.as_deref()?, "q_signing_key_created_timestamp_seconds")?;
            Some(seconds(now.since(Timestamp::default())) - created)
        }),
        #[expect(clippy::cast_precision_loss, reason = "findings are few")]
        Signal::Findings => facts.findings.get(module).map(|count| *count as f64),
        Signal::ClockJump => {
            let skew = worst(&|target| {
                let health = target.health.as_ref()?;
                // Health is told from memory for a second, and asking takes a moment.
                Some(seconds(health.timestamp.since(target.at)).abs())
            });
            Some(skew.unwrap_or(0.0).max(facts.jump_seconds))
        }
        Signal::BackupAge | Signal::Burn { .. } => None,
    }
}

/// Whether any of the processes answers people.
pub(super) fn is_serving(targets: &[&Scrape]) -> bool {
    targets.iter().any(|target| target.health.as_ref().is_some_and(|health| health.is_serving))
}

fn is_scraped(targets: &[&Scrape]) -> bool {
    targets.iter().any(|target| target.samples.is_some())
}

/// What is behind a module that cannot serve: something of its own that is down, or that it does not answer at all.
fn cause(targets: &[&Scrape], modules: &BTreeSet<&str>) -> Option<String> {
    if is_serving(targets) {
        return None;
    }
    let Some(health) = targets.iter().find_map(|target| target.health.as_ref()) else {
        return Some("no answer".to_owned());
    };
    let down = || health.dependencies.iter().filter(|(_, is_down)| *is_down).map(|(name, _)| name);
    down().find(|name| !modules.contains(name.as_str())).or_else(|| down().next()).cloned()
}

/// Which module needs which, by what they look at for their own health.
pub(super) fn dependencies(scrapes: &[Scrape], known: &mut Dependencies) {
    for scrape in scrapes {
        // A module that does not answer still needs what it needed.
        if let Some(health) = &scrape.health {
            known.set(&scrape.module, health.dependencies.iter().map(|(name, _)| name.clone()));
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "seconds with a fraction are what is compared")]
pub(super) fn seconds(span: Span) -> f64 {
    span.as_micros() as f64 / 1e6
}
