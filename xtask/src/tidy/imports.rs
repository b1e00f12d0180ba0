//! The import table: which room of a module stays away from which.

use super::{Finding, Source};

/// A room of a module and the paths never found in it (style.md, section 3).
struct Room {
    name: &'static str,
    avoids: &'static [&'static str],
}

const ROOMS: &[Room] = &[
    Room {
        name: "domain",
        avoids: &[
            "crate::store",
            "crate::service",
            "crate::http",
            "q_db",
            "q_http",
            "q_runtime",
            "q_bus",
            "axum",
            "hyper",
            "tokio",
            "rusqlite",
            "postgres",
        ],
    },
    Room {
        name: "store",
        avoids: &["crate::service", "crate::http", "q_http", "q_runtime", "axum", "rusqlite", "postgres"],
    },
    Room { name: "service", avoids: &["crate::http", "q_http", "axum", "rusqlite", "postgres"] },
    Room { name: "http", avoids: &["crate::store", "rusqlite", "postgres"] },
    Room { name: "events", avoids: &["crate::store", "rusqlite", "postgres"] },
    Room { name: "jobs", avoids: &["crate::store", "rusqlite", "postgres"] },
];

/// Checks one source file.
pub fn check(source: &Source, modules: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(rest) = source.path.strip_prefix("modules/") {
        let (own, rest) = rest.split_once('/').unwrap_or((rest, ""));
        if let Some(inside) = rest.strip_prefix("src/") {
            check_room(source, inside, &mut findings);
            check_neighbours(source, own, modules, &mut findings);
        }
    } else if source.path.starts_with("platform/") && source.path.contains("/src/") {
        check_platform(source, modules, &mut findings);
    }
    findings
}

fn check_room(source: &Source, inside: &str, findings: &mut Vec<Finding>) {
    let room_name = inside.split('/').next().unwrap_or_default().trim_end_matches(".rs");
    let Some(room) = ROOMS.iter().find(|room| room.name == room_name) else { return };
    for (number, line) in code_lines(&source.text) {
        if let Some(avoided) = room.avoids.iter().find(|avoided| names(line, avoided)) {
            findings.push(source.finding(number, format!("{} stays away from {avoided}", room.name)));
        }
        if room.name != "store" && has_sql(line) {
            findings.push(source.finding(number, "SQL text belongs to store"));
        }
    }
}

fn check_neighbours(source: &Source, own: &str, modules: &[String], findings: &mut Vec<Finding>) {
    for (number, line) in code_lines(&source.text) {
        if let Some(module) =
            modules.iter().find(|module| *module != own && names(line, &format!("{module}::")))
        {
            findings.push(source.finding(number, format!("reaches past {module}-api into {module}")));
        }
    }
}

fn check_platform(source: &Source, modules: &[String], findings: &mut Vec<Finding>) {
    for (number, line) in code_lines(&source.text) {
        let named =
            |module: &&String| names(line, &format!("{module}::")) || names(line, &format!("{module}_api::"));
        if let Some(module) = modules.iter().find(named) {
            findings.push(source.finding(number, format!("platform names the module {module}")));
        }
    }
}

/// Numbered lines up to the unit tests, which may reach further, without comments.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let code = text.lines().enumerate().take_while(|(_, line)| line.trim() != "#[cfg(test)]");
    code.map(|(index, line)| (index + 1, line)).filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// Whether the line names this path: at a word's beginning, outside a string, and not as the end of a longer path.
fn names(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = &line[..at];
        let is_word_start =
            !before.ends_with(|letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':');
        let after = line[at + path.len()..].chars().next();
        let is_word_end =
            path.ends_with("::") || !after.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
        // A crate name alone may be an ordinary word: it counts where a path follows or an import ends.
        let is_path =
            path.contains("::") || matches!(after, Some(':' | ';')) || before.trim_end().ends_with("use");
        let is_in_string = before.matches('"').count() % 2 == 1;
        is_word_start && is_word_end && is_path && !is_in_string
    })
}

fn has_sql(line: &str) -> bool {
    ["\"SELECT ", "\"INSERT INTO ", "\"UPDATE ", "\"DELETE FROM "]
        .iter()
        .any(|opening| line.contains(opening))
}
