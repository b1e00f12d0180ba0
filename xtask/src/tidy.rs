//! The house rules that neither compiler nor linter knows: who may import whom, how long a file may be, what a file says
//! about itself.
//!
//! **Invariant:** a rule reads text and reports places; it changes nothing.

mod imports;
mod manifests;
mod shape;

use anyhow::{Context as _, Result};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// One broken rule at one place.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    place: String,
    line: usize,
    complaint: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {}", self.place, self.line, self.complaint)
    }
}

/// A file with its path relative to the root, slashes forward.
pub struct Source {
    path: String,
    text: String,
}

impl Source {
    fn finding(&self, line: usize, complaint: impl Into<String>) -> Finding {
        Finding { place: self.path.clone(), line, complaint: complaint.into() }
    }
}

/// Checks the whole clone.
pub fn check(root: &Path) -> Result<Vec<Finding>> {
    let mut files = Vec::new();
    for folder in ["platform", "modules", "q", "tests", "bench", "xtask"] {
        collect(&root.join(folder), &mut files)?;
    }
    files.push(root.join("Cargo.toml"));
    let modules = module_names(root)?;
    let mut findings = Vec::new();
    for file in &files {
        let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        let path = file.strip_prefix(root).unwrap_or(file).to_string_lossy().replace('\\', "/");
        findings.extend(check_source(&Source { path, text }, &modules));
    }
    findings.sort();
    Ok(findings)
}

fn check_source(source: &Source, modules: &[String]) -> Vec<Finding> {
    if source.path.ends_with("Cargo.toml") {
        return manifests::check(source, modules);
    }
    let mut findings = shape::check(source);
    findings.extend(imports::check(source, modules));
    findings
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() {
            if !matches!(name, "target" | "node_modules" | "fixtures" | "__pycache__") {
                collect(&path, files)?;
            }
        } else if name == "Cargo.toml"
            || Path::new(name).extension().is_some_and(|extension| extension == "rs")
        {
            files.push(path);
        }
    }
    Ok(())
}

fn module_names(root: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root.join("modules")).context("reading modules/")? {
        let entry = entry?;
        if entry.path().join("Cargo.toml").is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(path: &str, text: &str) -> Vec<String> {
        let modules = ["qlock".to_owned(), "qwallet".to_owned(), "squid".to_owned()];
        let source = Source { path: path.to_owned(), text: text.to_owned() };
        check_source(&source, &modules).into_iter().map(|finding| finding.to_string()).collect()
    }

    #[test]
    fn each_rule_finds_its_offender_and_spares_the_rest() {
        let head = "//! A room.\n//!\n//! **Invariant:** none.\n";
        let cases: &[(&str, String, &[&str])] = &[
            ("modules/qwallet/src/domain/amount.rs", "//! Amounts.\nuse q_core::Hash;\n".into(), &[]),
            (
                "modules/qwallet/src/domain/amount.rs",
                "//! Amounts.\nuse crate::store::rows;\n".into(),
                &[":2: domain stays away from crate::store"],
            ),
            (
                "modules/qwallet/src/domain/mod.rs",
                format!("{head}use tokio::time;\n"),
                &[":4: domain stays away from tokio"],
            ),
            (
                "modules/qwallet/src/store/rows.rs",
                "//! Rows.\nuse crate::service::x;\n".into(),
                &[":2: store stays away from crate::service"],
            ),
            (
                "modules/qwallet/src/http/pay.rs",
                "//! Pay.\nlet a = crate::store::pay();\n".into(),
                &[":2: http stays away from crate::store"],
            ),
            (
                "modules/qwallet/src/service/pay.rs",
                "//! Pay.\nlet a = \"SELECT 1 FROM x\";\n".into(),
                &[":2: SQL text belongs to store"],
            ),
            (
                "modules/qwallet/src/service/pay.rs",
                "//! Pay.\nuse squid::service::X;\n".into(),
                &[":2: reaches past squid-api into squid"],
            ),
            ("modules/qwallet/src/service/pay.rs", "//! Pay.\nuse squid_api::GetIdentity;\n".into(), &[]),
            (
                "modules/qwallet/src/domain/a.rs",
                "//! A.\n// use crate::store is forbidden here\n".into(),
                &[],
            ),
            (
                "platform/q-auth/src/token.rs",
                "//! Tokens.\nuse squid_api::X;\n".into(),
                &[":2: platform names the module squid"],
            ),
            ("platform/q-auth/src/token.rs", "//! Tokens of squid::anything.\n".into(), &[]),
            (
                "platform/q-auth/src/token.rs",
                "use q_core::Did;\n".into(),
                &[":1: does not begin with //! (what it is for)"],
            ),
            ("platform/q-auth/src/lib.rs", "//! Auth.\n".into(), &[":1: //! has no **Invariant:** line"]),
            (
                "platform/q-auth/Cargo.toml",
                "[dependencies]\nsquid-api.workspace = true\n".into(),
                &[":2: platform depends on the module squid"],
            ),
            (
                "platform/q-auth/Cargo.toml",
                "[dev-dependencies]\nsquid-api.workspace = true\n".into(),
                &[":2: platform depends on the module squid"],
            ),
            (
                "platform/q-auth/Cargo.toml",
                "[dependencies]\nq-oracle.workspace = true\n".into(),
                &[":2: q-oracle is never part of the product"],
            ),
            (
                "platform/q-auth/Cargo.toml",
                "[dependencies]\nq-oracle = { workspace = true, optional = true }\n[dev-dependencies]\nq-testkit.workspace = true\n"
                    .into(),
                &[],
            ),
            (
                "modules/qwallet/Cargo.toml",
                "[dependencies]\nsquid.workspace = true\n".into(),
                &[":2: reaches past squid-api into squid"],
            ),
            ("modules/qwallet/Cargo.toml", "[dev-dependencies]\nsquid.workspace = true\n".into(), &[]),
            (
                "modules/qwallet/api/Cargo.toml",
                "[dependencies]\nq-db.workspace = true\n".into(),
                &[":2: an api crate knows only q-core and q-contract of ours, not q-db"],
            ),
            (
                "Cargo.toml",
                "[workspace.dependencies]\n# ours\nq-core = { path = \"platform/q-core\" }\nhttp = \"1\"\n"
                    .into(),
                &[":4: a dependency without its reason"],
            ),
        ];
        for (path, text, expected) in cases {
            let expected: Vec<String> =
                expected.iter().map(|complaint| format!("{path}{complaint}")).collect();
            assert_eq!(complaints(path, text), expected, "{path}: {text}");
        }
    }

    #[test]
    fn a_long_file_is_found() {
        let text = format!("//! Long.\n{}", "fn a() {}\n".repeat(1_000));
        assert_eq!(complaints("q/src/long.rs", &text), ["q/src/long.rs:1001: longer than 1000 lines"]);
    }
}
