//! How a source file looks: its length and its first lines.

use super::{Finding, Source};

const LINES_MAX: usize = 1_000;

/// Checks one source file.
pub fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines = source.text.lines().count();
    if lines > LINES_MAX {
        findings.push(source.finding(lines, format!("longer than {LINES_MAX} lines")));
    }
    // Empty files are placeholders of modules to come; a test file may speak for itself by its names.
    if source.text.trim().is_empty() || is_test(&source.path) && !source.path.ends_with("main.rs") {
        return findings;
    }
    let header: Vec<&str> = source.text.lines().skip_while(|line| line.trim().is_empty()).collect();
    if !header.first().is_some_and(|line| line.starts_with("//!")) {
        findings.push(source.finding(1, "does not begin with //! (what it is for)"));
        return findings;
    }
    let is_entrance = ["/src/lib.rs", "/src/main.rs", "/mod.rs"].iter().any(|end| source.path.ends_with(end));
    let states_invariant =
        header.iter().take_while(|line| line.starts_with("//!")).any(|line| line.contains("**Invariant:**"));
    if is_entrance && !states_invariant && !is_test(&source.path) {
        findings.push(source.finding(1, "//! has no **Invariant:** line"));
    }
    findings
}

fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.starts_with("tests/")
}
