//! Reads the text formats of Prometheus 0.0.4 and OpenMetrics 1.0: names, labels, values.
//!
//! Types, helps, units, exemplars and timestamps are passed over: a rule here needs values only.

/// One value of one metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The name, with its suffix such as `_total` or `_bucket`.
    pub name: String,
    /// The labels, in the order they are written.
    pub labels: Vec<(String, String)>,
    /// The value.
    pub value: f64,
}

impl Sample {
    /// The value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A line is not in the format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is not a metric")]
pub struct NotMetrics {
    /// The line, from 1.
    pub line: usize,
}

/// The most samples one scrape may hold: a target that shows more is broken or hostile.
const SAMPLES_MAX: usize = 100_000;

/// Reads a scrape.
pub fn parse(text: &str) -> Result<Vec<Sample>, NotMetrics> {
    let mut samples = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let sample = sample(line).filter(|_| samples.len() < SAMPLES_MAX);
        samples.push(sample.ok_or(NotMetrics { line: number + 1 })?);
    }
    Ok(samples)
}

/// The only value of `name`, or the sum of its values over all labels.
pub fn sum(samples: &[Sample], name: &str) -> Option<f64> {
    samples.iter().filter(|sample| sample.name == name).map(|sample| sample.value).reduce(|a, b| a + b)
}

/// The largest value of `name` over all labels.
pub fn max(samples: &[Sample], name: &str) -> Option<f64> {
    samples.iter().filter(|sample| sample.name == name).map(|sample| sample.value).reduce(f64::max)
}

fn sample(line: &str) -> Option<Sample> {
    let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))?;
    let (name, rest) = line.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}

/// Labels up to the brace that closes them, and what follows it.
fn labels(mut text: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        text = text.trim_start_matches([',', ' ']);
        if let Some(rest) = text.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, rest) = text.split_once("=\"")?;
        let (value, rest) = quoted(rest)?;
        labels.push((name.trim().to_owned(), value));
        text = rest;
    }
}

/// A label value up to its closing quote, with `\\`, `\"` and `\n` undone.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_labels_values() {
        let text = "# TYPE a counter\na_total{b=\"x\",c=\"say \\\"hi\\\"\\\\\\n\"} 3 1700000000 # {t=\"1\"} 0.5\n\n\
                    plain 1.5e3\nnan NaN\ninf{} +Inf\n# EOF\n";
        let samples = parse(text).unwrap();
        assert_eq!(samples.len(), 4);
        assert_eq!((samples[0].name.as_str(), samples[0].value), ("a_total", 3.0));
        assert_eq!(samples[0].label("c"), Some("say \"hi\"\\\n"));
        assert!((samples[1].value - 1_500.0).abs() < f64::EPSILON);
        assert!(samples[2].value.is_nan() && samples[3].value.is_infinite());
    }

    #[test]
    fn names_the_line_that_is_none() {
        for text in ["{a=\"b\"} 1", "1a 2", "a{b=\"c} 1", "a b", "a", "<html>", "a{b} 1"] {
            assert_eq!(parse(&format!("ok 1\n{text}")), Err(NotMetrics { line: 2 }), "{text}");
        }
    }

    #[test]
    fn sums_and_picks() {
        let samples = parse("a{x=\"1\"} 2\na{x=\"2\"} 5\n").unwrap();
        assert_eq!(
            (sum(&samples, "a"), max(&samples, "a"), sum(&samples, "b")),
            (Some(7.0), Some(5.0), None)
        );
    }
}
