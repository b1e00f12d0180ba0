//! A test that asks a foreign program gets its answer, its complaint, or a word about its absence.
#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

use std::{env, process::Command};

/// Runs the ignored test `name` in a process of its own: this one may be forbidden to skip.
fn alone(name: &str, oracles: &str, require: &str) -> (bool, String) {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "--nocapture", name]);
    let output = command.env("Q_ORACLES", oracles).env("Q_REQUIRE_ORACLES", require).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[test]
#[ignore = "run by other tests"]
fn needs_python() {
    assert!(q_oracle::python("a judge").is_none());
}

#[test]
#[ignore = "run by other tests"]
fn needs_node() {
    assert!(q_oracle::script("a judge", env!("CARGO_MANIFEST_DIR"), "echo.mjs").is_none());
}

#[test]
#[ignore = "run by other tests"]
fn needs_a_program() {
    assert!(q_oracle::program("a judge").is_none());
}

#[test]
fn an_absent_program_is_skipped_with_a_word_and_fails_where_required() {
    for name in ["needs_python", "needs_node", "needs_a_program"] {
        let (has_passed, said) = alone(name, "/nonexistent", "0");
        assert!(has_passed && said.contains("skipped: a judge (run cargo xtask test)"), "{said}");
        let (has_passed, said) = alone(name, "/nonexistent", "1");
        assert!(!has_passed && said.contains("a judge is missing and nothing may be skipped"), "{said}");
    }
}

#[test]
fn more_than_a_pipe_holds_passes_both_ways() {
    let input = vec![b'x'; 1 << 20];
    for name in ["echo.py", "echo.mjs"] {
        let Some(mut echo) = q_oracle::script(name, env!("CARGO_MANIFEST_DIR"), name) else { return };
        assert_eq!(q_oracle::ask(&mut echo, &input).unwrap(), input, "{name}");
    }
}

#[test]
fn a_complaint_is_handed_on() {
    let Some(mut python) = q_oracle::python("Python") else { return };
    let complaint = q_oracle::ask(python.args(["-c", "raise SystemExit('no')"]), "").unwrap_err();
    assert!(complaint.trim().ends_with("no"), "{complaint}");
}

#[test]
fn input_left_unread_is_no_success() {
    let Some(mut python) = q_oracle::python("Python") else { return };
    let complaint = q_oracle::ask(python.args(["-c", "print('fine')"]), vec![0; 1 << 20]).unwrap_err();
    assert!(complaint.contains("not read"), "{complaint}");
}
