//! What the manifests say: who depends on whom, and why a dependency is there.

use super::{Finding, Source};

/// What an api crate may know besides the rule: the crate, what it knows, and why.
const API_EXCEPTIONS: [(&str, &[&str], &str); 2] = [
    (
        "modules/qlock/api/Cargo.toml",
        &["q-db", "q-seal"],
        "its `sealer` is the caller's half of a promise: where the wrapped data key lies and what opens with it",
    ),
    (
        "modules/qonsent/api/Cargo.toml",
        &["q-pdp", "q-ucan", "q-jose"],
        "its events are read by every decision point, and its `make` is the owner's half of a grant: what to sign",
    ),
];

/// Crates of ours that are made for tests, and the manifests that may name them outside `[dev-dependencies]`.
const FOR_TESTS: [&str; 2] = ["q-oracle", "q-testkit"];
const TEST_MANIFESTS: [&str; 2] = ["platform/q-testkit/Cargo.toml", "tests/Cargo.toml"];

/// Checks one `Cargo.toml`.
pub fn check(source: &Source, modules: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut section = "";
    for (index, line) in source.text.lines().enumerate() {
        if line.starts_with('[') {
            section = line.trim();
            continue;
        }
        let Some(name) = dependency_name(line) else { continue };
        if section == "[workspace.dependencies]" && !line.contains("path = ") && !line.contains("# ") {
            findings.push(source.finding(index + 1, "a dependency without its reason"));
        }
        if section.contains("dependencies]") && section != "[workspace.dependencies]" {
            let is_for_tests = section.starts_with("[dev-");
            // What a `testing` feature brings along is optional, and the product switches no such feature on.
            let may_test = is_for_tests
                || TEST_MANIFESTS.contains(&source.path.as_str())
                || line.contains("optional = true");
            if FOR_TESTS.contains(&name) && !may_test {
                findings.push(source.finding(index + 1, format!("{name} is never part of the product")));
            }
            findings.extend(
                complaint(&source.path, name, is_for_tests, modules)
                    .map(|said| source.finding(index + 1, said)),
            );
        }
    }
    findings
}

fn complaint(path: &str, dependency: &str, is_for_tests: bool, modules: &[String]) -> Option<String> {
    let module = modules
        .iter()
        .find(|module| *module == dependency.trim_end_matches("-api"))
        .filter(|module| *module == dependency || dependency.ends_with("-api"));
    if path.starts_with("platform/") {
        return module.map(|module| format!("platform depends on the module {module}"));
    }
    let rest = path.strip_prefix("modules/")?;
    let own = rest.split('/').next()?;
    let is_ours = dependency.starts_with("q-") || module.is_some();
    if rest.contains("/api/") {
        let is_argued = API_EXCEPTIONS
            .iter()
            .any(|(crate_path, known, _)| *crate_path == path && known.contains(&dependency));
        let is_allowed = matches!(dependency, "q-core" | "q-contract") || is_for_tests || is_argued;
        return (is_ours && !is_allowed)
            .then(|| format!("an api crate knows only q-core and q-contract of ours, not {dependency}"));
    }
    // Tests of a module may run its neighbours for real.
    module
        .filter(|module| *module == dependency && *module != own && !is_for_tests)
        .map(|module| format!("reaches past {module}-api into {module}"))
}

fn dependency_name(line: &str) -> Option<&str> {
    let (name, _) = line.split_once('=')?;
    let name = name.trim().trim_end_matches(".workspace");
    let is_name = !name.is_empty()
        && name.chars().all(|letter| letter.is_alphanumeric() || matches!(letter, '-' | '_'));
    is_name.then_some(name)
}
