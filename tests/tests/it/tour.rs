//! The tour of a person's day: the script that README.md prints, run as it is printed, and what it says.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use q_testkit::oracle;
use q_tests::Instance;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn the_readme_prints_the_script_as_it_is() {
    let script = read("docs/tour/day.sh");
    assert!(
        read("README.md").contains(&format!("```sh\n{script}```\n")),
        "README.md has to hold docs/tour/day.sh between ```sh and ```"
    );
}

#[test]
fn the_day_goes_as_recorded() {
    let Some(house) = Instance::demo(&[]) else { return };
    if oracle::program("hledger").is_none() || oracle::program("curl").is_none() {
        return;
    }
    let folder = house.scratch().join("a day");
    let programs = house.scratch().join("bin");
    fs::create_dir(&folder).unwrap();
    fs::create_dir(&programs).unwrap();
    symlink(house.program(), programs.join("q")).unwrap();
    // The front door is where a process of the instance answers for all modules.
    let door =
        house.greeting.lines().find_map(|line| line.strip_prefix("front door ")?.split_whitespace().next());
    let path = std::env::var("PATH").unwrap_or_default();
    let day = Command::new("sh")
        .args(["-c", "exec sh -v \"$0\" 2>&1"])
        .arg(root().join("docs/tour/day.sh"))
        .current_dir(&folder)
        .env("PATH", format!("{}:{path}", programs.display()))
        .env("Q_DATA", house.data())
        .env("HOUSE", door.unwrap())
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&day.stdout).into_owned();
    assert!(day.status.success(), "{said}");
    let said = told_again(&said);
    let drawn = fs::read_to_string(folder.join("lunch.svg")).unwrap();
    assert!(drawn.contains("<svg"), "{drawn}");
    if std::env::var_os("Q_RECORD_TOUR").is_some() {
        fs::write(root().join("docs/tour/day.txt"), &said).unwrap();
    }
    let recorded = read("docs/tour/day.txt");
    for (number, (now, then)) in said.lines().zip(recorded.lines()).enumerate() {
        assert_eq!(
            now,
            then,
            "line {} of docs/tour/day.txt; Q_RECORD_TOUR=1 writes it again\n{said}",
            number + 1
        );
    }
    assert_eq!(said.lines().count(), recorded.lines().count(), "{said}");
}

/// What was said, with every id, key, hash and instant replaced by one that is the same each time: the first of its kind
/// by 1, the second by 2.
fn told_again(said: &str) -> String {
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    let mut told = String::new();
    let mut rest = said;
    while let Some(first) = rest.chars().next() {
        let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let end = rest.find(|letter| is_word(letter) != is_word(first)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = after;
        let kind = if is_word(first) { kind(word) } else { None };
        let Some(kind) = kind else {
            told.push_str(word);
            continue;
        };
        let next = known.len() + 1;
        let number = *known.entry(word).or_insert(next);
        // As long as it was, so that columns stay where they are.
        let width = word.len() - kind.len();
        let _ = write!(told, "{kind}{number:0>width$}");
    }
    // Which minute's head covers the payment by then is chance.
    let is_of_head =
        |line: &str| line.starts_with("under head ") || line.starts_with("not yet under a signed head");
    let lines = told.lines().filter(|line| !is_of_head(line));
    lines.map(|line| without_instants(&without_seal(line)) + "\n").collect()
}

/// The line without what is sealed in the id of a quote.
fn without_seal(line: &str) -> String {
    const QUOTE: &str = "\"quote_";
    let sealed = line.split_once(QUOTE).and_then(|(before, rest)| Some((before, rest.split_once('"')?.1)));
    sealed.map_or_else(|| line.to_owned(), |(before, after)| format!("{before}{QUOTE}…\"{after}"))
}

/// What a word that differs each time begins with.
fn kind(word: &str) -> Option<&str> {
    let is_hex = |text: &str| text.len() >= 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match word.split_once('_') {
        Some((prefix, number)) if is_hex(number) => return word.get(..=prefix.len()),
        _ => {}
    }
    if is_hex(word) {
        return Some("");
    }
    let is_upper = word.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    match word.len() {
        // A wallet's reference, a DID, a key.
        26 if word.starts_with('Q') && is_upper => Some("Q"),
        46 if word.starts_with("Qm") => Some("Qm"),
        48 if word.starts_with("z6Mk") => Some("z6Mk"),
        _ => None,
    }
}

/// The line with one day and one time of day for all.
fn without_instants(line: &str) -> String {
    const DAY: &str = "2026-11-22";
    const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    let shape = |text: &str, shape: &str| {
        text.len() == shape.len()
            && text
                .bytes()
                .zip(shape.bytes())
                .all(|(byte, like)| if like == b'9' { byte.is_ascii_digit() } else { byte == like })
    };
    let mut told = String::new();
    let mut rest = line;
    while !rest.is_empty() {
        if rest.get(..10).is_some_and(|day| shape(day, "9999-99-99")) {
            // A day of the week may stand before it.
            let named = DAYS.iter().any(|name| told.ends_with(&format!("{name} ")));
            if named {
                told.truncate(told.len() - "Sun ".len());
                told.push_str("Sun ");
            }
            told.push_str(DAY);
            rest = &rest[10..];
            if rest.get(..9).is_some_and(|time| shape(time, "T99:99:99")) {
                told.push_str("T09:00:00Z");
                let end = rest.find('Z').map_or(rest.len(), |at| at + 1);
                rest = &rest[end..];
            }
            continue;
        }
        let next = rest.char_indices().nth(1).map_or(rest.len(), |(at, _)| at);
        told.push_str(&rest[..next]);
        rest = &rest[next..];
    }
    told
}
