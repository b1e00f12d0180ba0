//! Words that the page, the feed and the calendar share.

use q_core::Timestamp;
use q_ops_api::{
    incidents::{IncidentStatus, Severity},
    maintenance::{MaintenanceMode, WindowStatus},
    status::PublicState,
};

/// An instant for people, such as `21 Nov 2026, 09:00 UTC`.
pub fn when(at: Timestamp) -> String {
    format!("{}, {} UTC", day(at), time(at))
}

/// A stretch of time for people; the day is said once when it is the same.
pub fn between(from: Timestamp, to: Timestamp) -> String {
    if day(from) == day(to) {
        format!("{}, {}–{} UTC", day(from), time(from), time(to))
    } else {
        format!("{} – {}", when(from), when(to))
    }
}

/// The day of an instant, such as `21 Nov 2026`.
pub fn day(at: Timestamp) -> String {
    civil(at).map_or_else(|| at.to_string(), |civil| civil.strftime("%-d %b %Y").to_string())
}

fn time(at: Timestamp) -> String {
    civil(at).map_or_else(String::new, |civil| civil.strftime("%H:%M").to_string())
}

/// The instant as the calendar writes it (RFC 5545 section 3.3.5, form 2), such as `20261121T090000Z`.
pub fn calendar_time(at: Timestamp) -> String {
    civil(at).map_or_else(String::new, |civil| civil.strftime("%Y%m%dT%H%M%SZ").to_string())
}

/// The instant to the second in RFC 3339, for feeds and `datetime` attributes.
pub fn machine(at: Timestamp) -> String {
    Timestamp::from_seconds(at.seconds()).to_string()
}

fn civil(at: Timestamp) -> Option<jiff::civil::DateTime> {
    let instant = jiff::Timestamp::from_second(at.seconds()).ok()?;
    Some(instant.to_zoned(jiff::tz::TimeZone::UTC).datetime())
}

/// A share in hundredths of a percent, such as `99.95 %`; never rounded up to a whole it is not.
pub fn percent(basis_points: u32) -> String {
    match basis_points {
        10_000 => "100 %".to_owned(),
        points => format!("{}.{:02} %", points / 100, points % 100),
    }
}

/// How one module is, for people.
pub const fn state_word(state: PublicState) -> &'static str {
    match state {
        PublicState::Operational => "Operational",
        PublicState::Maintenance => "Under maintenance",
        PublicState::Degraded => "Degraded",
        PublicState::Outage => "Not available",
        PublicState::Unknown => "Not known",
    }
}

/// How the instance is, for people.
pub const fn overall_sentence(state: PublicState) -> &'static str {
    match state {
        PublicState::Operational => "Everything works",
        PublicState::Maintenance => "Maintenance in progress",
        PublicState::Degraded => "Some things work only in part",
        PublicState::Outage => "Something does not work",
        PublicState::Unknown => "The state is not known at the moment",
    }
}

/// How far the handling of an incident has come, for people.
pub const fn status_word(status: IncidentStatus) -> &'static str {
    match status {
        IncidentStatus::Investigating => "Investigating",
        IncidentStatus::Identified => "Cause identified",
        IncidentStatus::Monitoring => "Monitoring",
        IncidentStatus::Resolved => "Resolved",
    }
}

/// How bad an incident is, for people.
pub const fn severity_word(severity: Severity) -> &'static str {
    match severity {
        Severity::Sev1 => "Critical",
        Severity::Sev2 => "Major",
        Severity::Sev3 => "Minor",
        Severity::Sev4 => "Slight",
    }
}

/// What a window does to its modules, for people.
pub const fn mode_sentence(mode: MaintenanceMode) -> &'static str {
    match mode {
        MaintenanceMode::ReadOnly => "Reading works, changes are refused meanwhile.",
        MaintenanceMode::Full => "Not available meanwhile.",
    }
}

/// Where a window stands, for people.
pub const fn window_word(status: WindowStatus) -> &'static str {
    match status {
        WindowStatus::Scheduled => "Scheduled",
        WindowStatus::Active => "In progress",
        WindowStatus::Checking => "Being checked",
        WindowStatus::Completed => "Completed",
        WindowStatus::Failed => "Not completed",
        WindowStatus::Cancelled => "Cancelled",
        WindowStatus::Missed => "Did not take place",
    }
}

/// The modules something is about.
pub fn affected(modules: &[String]) -> String {
    if modules.is_empty() { "all services".to_owned() } else { modules.join(", ") }
}
