//! Requests, errors and latency from the figures every module shows, between two readings of them.

use std::{collections::BTreeMap, fmt::Write as _};

use q_slo::exposition::Sample;
use serde::{Deserialize, Serialize};

/// The counters of one module at one instant.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Counters {
    /// When its process began, in seconds since 1970; counters begin anew with it.
    pub started_at: i64,
    /// Requests by route and class of status, such as `POST /payments 2xx`, or by what excuses a refusal.
    pub requests: BTreeMap<String, u64>,
    /// How many requests of a route were answered within each bound, in seconds; `+Inf` is all of them.
    pub within: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Counters {
    /// What a scrape shows.
    pub fn of(samples: &[Sample]) -> Self {
        let mut counters = Self::default();
        for sample in samples {
            let route =
                || Some(format!("{} {}", sample.label("method").unwrap_or("-"), sample.label("route")?));
            match sample.name.as_str() {
                "process_start_time_seconds" => counters.started_at = whole(sample.value).cast_signed(),
                "http_requests_total" => {
                    // Refusals of announced maintenance are requests, and no errors.
                    let excused = sample.label("excused").filter(|why| !why.is_empty()).map(str::to_owned);
                    let status = sample.label("status").and_then(|status| status.chars().next());
                    let class = excused.or_else(|| status.map(|class| format!("{class}xx")));
                    if let (Some(route), Some(class)) = (route(), class) {
                        *counters.requests.entry(format!("{route} {class}")).or_default() +=
                            whole(sample.value);
                    }
                }
                "http_request_duration_seconds_bucket" => {
                    if let (Some(route), Some(bound)) = (route(), sample.label("le")) {
                        let within = counters.within.entry(route).or_default();
                        *within.entry(bound.to_owned()).or_default() += whole(sample.value);
                    }
                }
                _ => {}
            }
        }
        counters
    }

    /// What was counted since `before`; everything since the process began when it has begun anew meanwhile.
    pub fn since(&self, before: Option<&Self>) -> Self {
        let Some(before) = before.filter(|before| before.started_at == self.started_at) else {
            return self.clone();
        };
        let less = |now: &BTreeMap<String, u64>, then: Option<&BTreeMap<String, u64>>| {
            now.iter()
                .map(|(name, count)| {
                    let earlier = then.and_then(|then| then.get(name)).copied().unwrap_or_default();
                    (name.clone(), count.saturating_sub(earlier))
                })
                .collect::<BTreeMap<_, _>>()
        };
        let within =
            self.within.iter().map(|(route, now)| (route.clone(), less(now, before.within.get(route))));
        Self {
            started_at: self.started_at,
            requests: less(&self.requests, Some(&before.requests)),
            within: within.collect(),
        }
    }

    fn total(&self) -> u64 {
        self.requests.values().sum()
    }

    fn errors(&self) -> u64 {
        self.requests.iter().filter(|(name, _)| name.ends_with(" 5xx")).map(|(_, count)| count).sum()
    }
}

/// The smallest bound within which 99 of 100 were answered: an upper bound of the percentile, never a guess between.
fn p99_within(within: &BTreeMap<String, u64>) -> Option<String> {
    let all = *within.get("+Inf")?;
    if all == 0 {
        return None;
    }
    let mut bounds: Vec<(f64, u64)> =
        within.iter().filter_map(|(bound, count)| Some((bound.parse::<f64>().ok()?, *count))).collect();
    bounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (bound, _) = bounds.into_iter().find(|(_, count)| count * 100 >= all * 99)?;
    Some(if bound.is_infinite() {
        "more than the largest bound".to_owned()
    } else {
        format!("≤ {} ms", bound * 1_000.0)
    })
}

/// The report over `modules`, each with its counters now and at the last report.
pub fn report(modules: &BTreeMap<String, (Option<Counters>, Option<Counters>)>) -> (String, String) {
    let (mut page, mut total, mut errors) = (String::new(), 0, 0);
    page.push_str("| Module | Requests | Errors (5xx) | Share | |\n|---|---|---|---|---|\n");
    let mut slow = Vec::new();
    let mut failing = Vec::new();
    for (name, (now, before)) in modules {
        let Some(now) = now else {
            let _ = writeln!(page, "| {name} | no data | no data | no data | showed no figures |");
            continue;
        };
        let counted = now.since(before.as_ref());
        let note = match before {
            None => "since its process began",
            Some(before) if before.started_at != now.started_at => "since its process began anew",
            Some(_) => "since the last review",
        };
        (total, errors) = (total + counted.total(), errors + counted.errors());
        let _ = writeln!(
            page,
            "| {name} | {} | {} | {} | {note} |",
            counted.total(),
            counted.errors(),
            share(counted.errors(), counted.total())
        );
        slow.extend(counted.within.iter().filter_map(|(route, within)| {
            Some((name.clone(), route.clone(), p99_within(within)?, *within.get("+Inf")?))
        }));
        failing.extend(
            counted
                .requests
                .iter()
                .filter(|(route, count)| route.ends_with(" 5xx") && **count > 0)
                .map(|(route, count)| (*count, format!("{name} {route}"))),
        );
    }
    page.push_str("\n## Routes that failed\n\n");
    failing.sort_by(|a, b| b.cmp(a));
    if failing.is_empty() {
        page.push_str("None.\n");
    }
    for (count, route) in failing.iter().take(20) {
        let _ = writeln!(page, "- {route}: {count}");
    }
    page.push_str("\n## Latency\n\n99 of 100 requests of a route were answered within:\n\n");
    if slow.is_empty() {
        page.push_str("No data.\n");
    } else {
        page.push_str("| Module | Route | Requests | p99 |\n|---|---|---|---|\n");
    }
    for (name, route, p99, count) in &slow {
        if *count > 0 {
            let _ = writeln!(page, "| {name} | {route} | {count} | {p99} |");
        }
    }
    (format!("{total} requests, {errors} errors ({})", share(errors, total)), page)
}

fn share(part: u64, of: u64) -> String {
    if of == 0 {
        return "no data".to_owned();
    }
    // Rounded up: a share of errors is never shown as none when there were some.
    let points = (part * 10_000).div_ceil(of);
    format!("{}.{:02} %", points / 100, points % 100)
}

/// A counter of a scrape; what is no count counts nothing.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "bounded and checked just before"
)]
fn whole(value: f64) -> u64 {
    if value.is_finite() && (0.0..1e18).contains(&value) { value as u64 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(text: &str) -> Counters {
        Counters::of(&q_slo::exposition::parse(text).unwrap())
    }

    const BEFORE: &str = "process_start_time_seconds 100\n\
        http_requests_total{method=\"POST\",route=\"/pay\",status=\"201\"} 50\n\
        http_requests_total{method=\"POST\",route=\"/pay\",status=\"503\"} 1\n\
        http_request_duration_seconds_bucket{method=\"POST\",route=\"/pay\",le=\"0.1\"} 50\n\
        http_request_duration_seconds_bucket{method=\"POST\",route=\"/pay\",le=\"+Inf\"} 51\n";
    const NOW: &str = "process_start_time_seconds 100\n\
        http_requests_total{method=\"POST\",route=\"/pay\",status=\"201\"} 149\n\
        http_requests_total{method=\"POST\",route=\"/pay\",status=\"503\"} 2\n\
        http_requests_total{method=\"POST\",route=\"/pay\",status=\"503\",excused=\"maintenance\"} 100\n\
        http_request_duration_seconds_bucket{method=\"POST\",route=\"/pay\",le=\"0.1\"} 149\n\
        http_request_duration_seconds_bucket{method=\"POST\",route=\"/pay\",le=\"+Inf\"} 151\n";

    #[test]
    fn counts_since_the_last_review_or_since_the_process_began() {
        let one = |before: Option<&str>| {
            let pair = (Some(counters(NOW)), before.map(counters));
            report(&BTreeMap::from([("wallet".to_owned(), pair)]))
        };
        let (summary, page) = one(Some(BEFORE));
        assert_eq!(summary, "200 requests, 1 errors (0.50 %)");
        assert!(page.contains("| wallet | POST /pay | 100 | ≤ 100 ms |"), "{page}");
        assert!(!page.contains("excused") && !page.contains("maintenance:"), "{page}");
        assert!(page.contains("- wallet POST /pay 5xx: 1"), "{page}");
        let (summary, page) = one(Some(&BEFORE.replace("seconds 100", "seconds 99")));
        assert_eq!(summary, "251 requests, 2 errors (0.80 %)");
        assert!(page.contains("began anew"), "{page}");
        let nothing = BTreeMap::from([("wallet".to_owned(), (None, None))]);
        assert_eq!(report(&nothing).0, "0 requests, 0 errors (no data)");
    }
}
