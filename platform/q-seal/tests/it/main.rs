//! Sealed fields read by other people's programs, and theirs by ours.
#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod speed;
mod xaes;

/// What PyPI `tink`, or Python's own library, answers to `input`.
fn python(verb: &str, input: &[u8]) -> Option<Vec<u8>> {
    let mut script = q_oracle::script("PyPI tink", env!("CARGO_MANIFEST_DIR"), "seal.py")?;
    Some(q_oracle::ask(script.arg(verb), input).unwrap())
}
