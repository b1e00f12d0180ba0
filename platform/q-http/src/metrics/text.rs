//! The two texts a scraper may ask for: OpenMetrics 1.0, and the Prometheus text format 0.0.4 made of it.

use std::fmt::Write as _;

/// The media type of OpenMetrics 1.0.
pub(crate) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The media type of the Prometheus text format.
pub(crate) const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The Prometheus text of an OpenMetrics text as our registry writes it: there a counter's description names the
/// sample with its `_total`, units have no line of their own, an info is a gauge, and nothing marks the end.
pub(crate) fn plain(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
            continue;
        }
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) else {
            text.push_str(line);
            text.push('\n');
            continue;
        };
        let (suffix, kind) = match kind {
            "counter" => ("_total", "counter"),
            "info" => ("_info", "gauge"),
            "unknown" => ("", "untyped"),
            kind => ("", kind),
        };
        // The registry writes the help before the type.
        if let Some((described, help)) = help.take()
            && described == name
        {
            let _ = writeln!(text, "# HELP {name}{suffix} {help}");
        }
        let _ = writeln!(text, "# TYPE {name}{suffix} {kind}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_described_under_the_name_of_its_sample() {
        let open = "# HELP http_requests Requests answered.\n# TYPE http_requests counter\n\
                    http_requests_total{route=\"/a # b\"} 3\n# HELP size_bytes Size.\n# TYPE size_bytes gauge\n\
                    # UNIT size_bytes bytes\nsize_bytes 7\n# EOF\n";
        let plain = plain(open);
        assert_eq!(
            plain,
            "# HELP http_requests_total Requests answered.\n# TYPE http_requests_total counter\n\
             http_requests_total{route=\"/a # b\"} 3\n# HELP size_bytes Size.\n# TYPE size_bytes gauge\nsize_bytes 7\n"
        );
    }
}
