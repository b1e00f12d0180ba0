//! The states of an alert: quiet, pending, firing, and quiet again, with hysteresis on both sides.

use q_core::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Rule;

/// Where an alert stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "phase")]
pub enum Phase {
    /// All is well.
    #[default]
    Inactive,
    /// Wrong, but not for long enough.
    Pending {
        /// Since when without interruption.
        since: Timestamp,
    },
    /// Wrong for long enough.
    Firing {
        /// Since when.
        since: Timestamp,
        /// Since when it has been right without interruption, if it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        calm: Option<Timestamp>,
    },
}

/// What one look changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Nothing that anybody is told.
    None,
    /// It began to fire.
    Fired,
    /// It stopped firing.
    Resolved,
}

/// Where an alert of `rule` stands after `value` was read at `now`.
///
/// Without a value nothing is known: what was pending is dropped, for nothing shows that it went on, and what fires
/// goes on firing, for nothing shows that it ended. A target that cannot be asked has a rule of its own.
pub fn advance(rule: &Rule, phase: Phase, value: Option<f64>, now: Timestamp) -> (Phase, Turn) {
    let is_wrong = value.is_some_and(|value| value > rule.threshold);
    let is_right = value.is_some_and(|value| value <= rule.clear);
    match phase {
        Phase::Inactive if is_wrong => begun(rule, now, now),
        Phase::Pending { since } if is_wrong => begun(rule, since.min(now), now),
        Phase::Inactive | Phase::Pending { .. } => (Phase::Inactive, Turn::None),
        Phase::Firing { since, calm } if is_right => {
            let calm = calm.unwrap_or(now).min(now);
            if now.since(calm) >= rule.calm {
                (Phase::Inactive, Turn::Resolved)
            } else {
                (Phase::Firing { since, calm: Some(calm) }, Turn::None)
            }
        }
        Phase::Firing { since, .. } => (Phase::Firing { since, calm: None }, Turn::None),
    }
}

fn begun(rule: &Rule, since: Timestamp, now: Timestamp) -> (Phase, Turn) {
    if now.since(since) >= rule.lasting {
        (Phase::Firing { since: now, calm: None }, Turn::Fired)
    } else {
        (Phase::Pending { since }, Turn::None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules;
    use q_core::Span;

    const START: Timestamp = Timestamp::from_seconds(1_795_251_600);

    /// Looks every ten seconds, `value_at` telling what is read, and lists the turns with their seconds.
    fn turns(rule: &Rule, seconds: i64, value_at: impl Fn(i64) -> Option<f64>) -> Vec<(i64, Turn)> {
        let mut phase = Phase::Inactive;
        let mut turns = Vec::new();
        for second in (0..=seconds).step_by(10) {
            let (next, turn) = advance(rule, phase, value_at(second), START + Span::seconds(second));
            phase = next;
            if turn != Turn::None {
                turns.push((second, turn));
            }
        }
        turns
    }

    #[test]
    fn each_rule_fires_above_its_threshold_after_its_time_and_not_before() {
        for rule in rules() {
            let lasting = rule.lasting.as_seconds();
            let above = rule.threshold + rule.threshold.abs().max(1.0) * 0.001;
            let below = rule.threshold * 0.999;
            let span = lasting + 600;
            assert_eq!(turns(&rule, span, |_| Some(below)), [], "{} below", rule.id);
            assert_eq!(turns(&rule, span, |_| Some(rule.threshold)), [], "{} at", rule.id);
            assert_eq!(turns(&rule, span, |_| Some(above)), [(lasting, Turn::Fired)], "{} above", rule.id);
            if lasting > 0 {
                // One look short of the time, then right: never.
                let short = |second| Some(if second < lasting { above } else { rule.clear });
                assert_eq!(turns(&rule, span, short), [], "{} too short", rule.id);
                // Interrupted once, it begins anew.
                let interrupted = |second| Some(if second == lasting - 10 { rule.clear } else { above });
                let fired = [(2 * lasting, Turn::Fired)];
                assert_eq!(turns(&rule, 2 * lasting + 60, interrupted), fired, "{} interrupted", rule.id);
            }
        }
    }

    #[test]
    fn each_rule_resolves_after_a_calm_time_and_not_between_its_thresholds() {
        for rule in rules() {
            let (lasting, calm) = (rule.lasting.as_seconds(), rule.calm.as_seconds());
            let above = rule.threshold + 1.0;
            let end = lasting + 100;
            let resolved = |second| Some(if second < end { above } else { rule.clear });
            let expected = [(lasting, Turn::Fired), (end + calm, Turn::Resolved)];
            assert_eq!(turns(&rule, end + calm + 60, resolved), expected, "{}", rule.id);
            if rule.clear < rule.threshold {
                let between = f64::midpoint(rule.clear, rule.threshold);
                let hovering = |second| Some(if second < end { above } else { between });
                assert_eq!(turns(&rule, end + 2 * calm + 600, hovering).len(), 1, "{} hovers", rule.id);
            }
        }
    }

    #[test]
    fn flapping_is_one_alert() {
        let rule = rules().into_iter().find(|rule| rule.id == "error_rate").unwrap();
        // After it fired, wrong and right take turns every minute for an hour.
        let flapping = |second| Some(if second <= 300 || second / 60 % 2 == 0 { 0.05 } else { 0.0 });
        assert_eq!(turns(&rule, 3_600, flapping), [(300, Turn::Fired)]);
        // The same from the start never lasts long enough.
        let never = |second: i64| Some(if second / 60 % 2 == 0 { 0.05 } else { 0.0 });
        assert_eq!(turns(&rule, 3_600, never), []);
    }

    #[test]
    fn what_is_not_known_neither_fires_nor_resolves() {
        for rule in rules() {
            let lasting = rule.lasting.as_seconds();
            assert_eq!(turns(&rule, lasting + 600, |_| None), [], "{}", rule.id);
            assert_eq!(turns(&rule, lasting + 600, |_| Some(f64::NAN)), [], "{}", rule.id);
            let lost = |second| (second <= lasting).then_some(rule.threshold + 1.0);
            assert_eq!(turns(&rule, lasting + 7_200, lost), [(lasting, Turn::Fired)], "{}", rule.id);
        }
    }

    #[test]
    fn a_clock_set_back_neither_fires_at_once_nor_never() {
        let rule = rules().into_iter().find(|rule| rule.id == "health_failing").unwrap();
        let (phase, _) = advance(&rule, Phase::Inactive, Some(1.0), START);
        let back = START - Span::seconds(3_600);
        let (phase, turn) = advance(&rule, phase, Some(1.0), back);
        assert_eq!((phase, turn), (Phase::Pending { since: back }, Turn::None));
        assert_eq!(advance(&rule, phase, Some(1.0), back + rule.lasting).1, Turn::Fired);
    }

    #[test]
    fn a_phase_is_data() {
        for phase in [
            Phase::Inactive,
            Phase::Pending { since: START },
            Phase::Firing { since: START, calm: Some(START) },
        ] {
            let text = serde_json::to_string(&phase).unwrap();
            assert_eq!(serde_json::from_str::<Phase>(&text).unwrap(), phase);
        }
    }
}
