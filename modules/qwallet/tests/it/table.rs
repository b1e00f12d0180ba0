//! The table of promises (`tests/README.md`) names tests that exist.

use std::{
    fs,
    path::{Path, PathBuf},
};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn each_test_it_names_is_there() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = fs::read_to_string(here.join("tests/README.md")).unwrap();
    let mut files = Vec::new();
    for folder in ["src", "tests", "rails", "../../platform/q-notify/tests", "../../tests/tests"] {
        sources(&here.join(folder), &mut files);
    }
    let code: Vec<String> = files.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let is_name = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
    let mut named = 0;
    // Files stand between backquotes, tests do not. What ends in an ellipsis is the beginning of a name.
    let outside: String = table.split('`').step_by(2).collect();
    for word in outside.split(|letter: char| !is_name(letter) && letter != '…') {
        let name = word.trim_end_matches(['…', '_']);
        if name.matches('_').count() < 2 {
            continue;
        }
        named += 1;
        let ends = if word.ends_with('…') {
            vec![format!("{name}_")]
        } else {
            vec![format!("{name}("), format!("{name},")]
        };
        let is_there = |code: &String| {
            ends.iter().any(|end| {
                let begins = ["fn ", "on_each_world!(", "on_each_world!(\n    "]
                    .map(|before| format!("{before}{end}"));
                begins.iter().any(|begin| code.contains(begin.as_str()))
            })
        };
        assert!(code.iter().any(is_there), "no test is called {word}");
    }
    assert!(named > 60, "the table is not read: {named} names");
}
