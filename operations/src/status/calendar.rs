//! Maintenance windows as a calendar file (RFC 5545).

use q_ops_api::{
    maintenance::WindowStatus,
    status::{PublicStatus, PublicWindow},
};

use super::{
    feed::host,
    text::{affected, calendar_time, mode_sentence, window_word},
};

/// The longest line, in bytes without its end (RFC 5545 section 3.1).
const LINE_BYTES_MAX: usize = 75;

/// The calendar of `status` for the instance whose front door is `origin`.
pub fn calendar(status: &PublicStatus, origin: &str) -> String {
    let mut file = String::new();
    line(&mut file, "BEGIN:VCALENDAR");
    line(&mut file, "VERSION:2.0");
    line(&mut file, "PRODID:-//Q//status//EN");
    line(&mut file, "CALSCALE:GREGORIAN");
    line(&mut file, "METHOD:PUBLISH");
    line(&mut file, &format!("X-WR-CALNAME:{}", escape(&format!("Maintenance of {}", host(origin)))));
    line(&mut file, "REFRESH-INTERVAL;VALUE=DURATION:PT1H");
    for window in status.maintenance.iter().chain(&status.past_maintenance) {
        event(&mut file, window, origin);
    }
    line(&mut file, "END:VCALENDAR");
    file
}

fn event(file: &mut String, window: &PublicWindow, origin: &str) {
    let is_off = matches!(window.status, WindowStatus::Cancelled | WindowStatus::Missed);
    line(file, "BEGIN:VEVENT");
    line(file, &format!("UID:{}@{}", window.id, host(origin)));
    line(file, &format!("DTSTAMP:{}", calendar_time(window.updated_at)));
    line(file, &format!("LAST-MODIFIED:{}", calendar_time(window.updated_at)));
    line(file, &format!("DTSTART:{}", calendar_time(window.from)));
    line(file, &format!("DTEND:{}", calendar_time(window.to)));
    line(file, &format!("SUMMARY:{}", escape(&format!("Maintenance: {}", window.title))));
    let about = format!(
        "{}. Services: {}. {}",
        window_word(window.status),
        affected(&window.modules),
        mode_sentence(window.mode)
    );
    line(file, &format!("DESCRIPTION:{}", escape(&about)));
    line(file, &format!("STATUS:{}", if is_off { "CANCELLED" } else { "CONFIRMED" }));
    line(file, "TRANSP:TRANSPARENT");
    line(file, &format!("URL:{origin}/status#{}", window.id));
    line(file, "END:VEVENT");
}

/// A TEXT value (RFC 5545 section 3.3.11).
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\\' | ';' | ',' => escaped.extend(['\\', letter]),
            '\n' => escaped.push_str("\\n"),
            letter if letter.is_control() => {}
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// Adds a content line, folded where it is long and never inside a letter.
fn line(file: &mut String, text: &str) {
    let mut length = 0;
    for letter in text.chars() {
        if length + letter.len_utf8() > LINE_BYTES_MAX {
            file.push_str("\r\n ");
            length = 1;
        }
        file.push(letter);
        length += letter.len_utf8();
    }
    file.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_folded_between_letters() {
        let mut file = String::new();
        line(&mut file, &"ä".repeat(100));
        assert!(file.lines().count() > 2);
        assert!(file.split("\r\n").all(|line| line.len() <= LINE_BYTES_MAX));
        assert_eq!(file.replace("\r\n ", "").trim_end(), "ä".repeat(100));
    }

    #[test]
    fn text_cannot_begin_a_line_of_its_own() {
        assert_eq!(escape("a\r\nEND:VEVENT;,\\"), "a\\nEND:VEVENT\\;\\,\\\\");
    }
}
