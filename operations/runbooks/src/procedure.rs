//! Procedures as their sources say them.

use serde::{Deserialize, Deserializer};

/// Whom a procedure is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// One module: `{module}` and its variables are filled in.
    Module,
    /// The instance as a whole.
    Ecosystem,
}

/// A procedure.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Procedure {
    /// What `q runbook` calls it.
    pub name: String,
    /// Its heading.
    pub title: String,
    /// Whom it is about.
    pub scope: Scope,
    /// When to follow it.
    pub when: String,
    /// What to do, in order.
    #[serde(rename = "step")]
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What is done, as a heading.
    pub title: String,
    /// Why, or what to know before.
    #[serde(default)]
    pub why: String,
    /// What is run; a step without it asks.
    #[serde(default)]
    run: Option<String>,
    /// What a person is asked; a step without it runs.
    #[serde(default)]
    ask: Option<String>,
    /// The titles of earlier steps it builds on: without them it would fail for no reason of its own.
    #[serde(default)]
    pub needs: Vec<String>,
    /// What the command should show.
    #[serde(default)]
    expect: Expectation,
    /// What to do when it shows something else, or when the answer is no.
    #[serde(default)]
    pub otherwise: String,
    /// Whether it changes something, so that a person is asked first.
    #[serde(default)]
    pub changes: bool,
    /// Whether the command goes on in the background.
    #[serde(default)]
    pub background: bool,
    /// The modules it is for; all when empty.
    #[serde(default)]
    pub only: Vec<String>,
    /// The storage engine it is for; both when empty.
    #[serde(default)]
    pub engine: Option<String>,
    /// The longest the command may take, in seconds.
    #[serde(default = "patience")]
    pub patience_seconds: u64,
}

const fn patience() -> u64 {
    120
}

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Action<'a> {
    /// A command line for a POSIX shell.
    Run(&'a str, &'a Expectation),
    /// A question whose answer is kept.
    Ask(&'a str),
}

impl Step {
    /// What it does. That it is exactly one of the two was checked when the source was read.
    pub fn action(&self) -> Action<'_> {
        match (&self.run, &self.ask) {
            (Some(command), _) => Action::Run(command.trim(), &self.expect),
            (None, question) => Action::Ask(question.as_deref().unwrap_or_default()),
        }
    }

    /// Whether it is for `module` on `engine`.
    pub fn is_for(&self, module: &str, engine: Option<&str>) -> bool {
        let is_named = self.only.is_empty() || self.only.iter().any(|name| name == module);
        let engine_fits = match (&self.engine, engine) {
            (Some(wanted), Some(engine)) => wanted == engine,
            _ => true,
        };
        is_named && engine_fits
    }
}

/// What a command should show; everything that is said must hold.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// Its exit codes that are well.
    #[serde(default = "zero", deserialize_with = "one_or_many")]
    pub code: Vec<i32>,
    /// A text its output holds.
    #[serde(default)]
    pub contains: Option<String>,
    /// The place in its JSON output (RFC 6901) that is looked at.
    #[serde(default)]
    pub pointer: Option<String>,
    /// The values allowed there.
    #[serde(default)]
    pub one_of: Vec<String>,
    /// The largest number allowed there.
    #[serde(default)]
    pub at_most: Option<f64>,
    /// The smallest number allowed there.
    #[serde(default)]
    pub at_least: Option<f64>,
}

impl Default for Expectation {
    fn default() -> Self {
        let (contains, pointer, one_of, at_most, at_least) = (None, None, Vec::new(), None, None);
        Self { code: zero(), contains, pointer, one_of, at_most, at_least }
    }
}

fn zero() -> Vec<i32> {
    vec![0]
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<i32>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Codes {
        One(i32),
        Many(Vec<i32>),
    }
    Ok(match Codes::deserialize(deserializer)? {
        Codes::One(code) => vec![code],
        Codes::Many(codes) => codes,
    })
}

/// Why a source is not a procedure.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Not the TOML a procedure is made of.
    #[error("{0} is not a procedure: {1}")]
    Form(&'static str, String),
    /// A step that does nothing, or two things.
    #[error("{0}: the step {1:?} needs either `run` or `ask`")]
    Action(&'static str, String),
    /// A step that builds on one that does not come before it.
    #[error("{0}: the step {1:?} needs {2:?}, which is no step before it")]
    Needs(&'static str, String, String),
}

macro_rules! sources {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../procedures/", $name, ".toml")))),*]
    };
}

/// Every procedure, in the order of a page: what is needed every day first, emergencies last.
///
/// # Errors
/// When a source is malformed, which a test keeps from being released.
pub fn all() -> Result<Vec<Procedure>, SourceError> {
    let sources = sources![
        "health",
        "service-management",
        "service-wont-start",
        "high-error-rate",
        "performance",
        "monitoring",
        "backup",
        "recovery",
        "scaling",
        "access-control",
        "outage",
        "data-corruption",
        "security-incident",
        "escalation",
        "maintenance",
        "emergency-maintenance",
        "regular-tasks",
    ];
    sources.into_iter().map(|(name, text)| read(name, text)).collect()
}

fn read(name: &'static str, text: &str) -> Result<Procedure, SourceError> {
    let procedure: Procedure =
        toml::from_str(text).map_err(|error| SourceError::Form(name, error.to_string()))?;
    if let Some(step) = procedure.steps.iter().find(|step| step.run.is_some() == step.ask.is_some()) {
        return Err(SourceError::Action(name, step.title.clone()));
    }
    for (at, step) in procedure.steps.iter().enumerate() {
        let is_before =
            |title: &&String| procedure.steps[..at].iter().any(|earlier| earlier.title == **title);
        if let Some(lacking) = step.needs.iter().find(|title| !is_before(title)) {
            return Err(SourceError::Needs(name, step.title.clone(), lacking.clone()));
        }
    }
    if procedure.name != name {
        return Err(SourceError::Form(name, format!("it calls itself {}", procedure.name)));
    }
    Ok(procedure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_is_a_procedure() {
        let procedures = all().unwrap();
        assert!(procedures.iter().all(|procedure| !procedure.steps.is_empty()));
    }

    #[test]
    fn a_step_does_one_thing() {
        let with = |step: &str| {
            let head = "name = 'x'\ntitle = ''\nscope = 'ecosystem'\nwhen = ''\n[[step]]\ntitle = 'look'\n";
            read("x", &format!("{head}{step}")).map(|_| ())
        };
        assert!(with("run = 'q status'").is_ok());
        assert!(with("ask = 'well?'").is_ok());
        assert!(matches!(with(""), Err(SourceError::Action("x", _))));
        assert!(matches!(with("run = 'q'\nask = 'well?'"), Err(SourceError::Action("x", _))));
        assert!(matches!(with("walk = 'q'"), Err(SourceError::Form("x", _))));
        assert!(matches!(with("ask = 'well?'\nneeds = ['look']"), Err(SourceError::Needs("x", _, _))));
        let two = "ask = 'well?'\n[[step]]\ntitle = 'go'\nrun = 'q up'\nneeds = ['look']";
        assert!(with(two).is_ok());
    }
}
