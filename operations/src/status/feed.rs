//! Incidents and maintenance as an Atom feed (RFC 4287).

use std::fmt::Write as _;

use q_core::Timestamp;
use q_http::page::escape;
use q_ops_api::status::{PublicIncident, PublicStatus, PublicWindow};

use super::text::{
    affected, between, machine, mode_sentence, overall_sentence, severity_word, status_word, when,
    window_word,
};

/// The feed of `status` for the instance whose front door is `origin`.
pub fn feed(status: &PublicStatus, origin: &str) -> String {
    let incidents = status.incidents.iter().chain(&status.past_incidents);
    let windows = status.maintenance.iter().chain(&status.past_maintenance);
    let mut entries: Vec<(Timestamp, String)> = incidents
        .map(|incident| (incident.updated_at, incident_entry(incident, origin)))
        .chain(windows.map(|window| (window.updated_at, window_entry(window, origin))))
        .collect();
    entries.sort_by(|a, b| b.cmp(a));
    // Without entries nothing has ever changed; a feed must name an instant all the same.
    let updated = entries.first().map_or_else(|| status.at, |(at, _)| *at);
    let page = escape(&format!("{origin}/status"));
    let mut feed = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<feed xmlns=\"http://www.w3.org/2005/Atom\" xml:lang=\"en\">\n\
         <id>{page}</id>\n<title>Status of {}</title>\n<subtitle>{}</subtitle>\n<updated>{}</updated>\n\
         <author><name>{}</name></author>\n<link rel=\"self\" type=\"application/atom+xml\" href=\"{page}.atom\"/>\n\
         <link rel=\"alternate\" type=\"text/html\" href=\"{page}\"/>\n",
        escape(host(origin)),
        overall_sentence(status.state),
        machine(updated),
        escape(host(origin)),
    );
    for (_, entry) in &entries {
        feed.push_str(entry);
    }
    feed.push_str("</feed>\n");
    feed
}

/// The origin without its scheme.
pub fn host(origin: &str) -> &str {
    origin.split_once("://").map_or(origin, |(_, host)| host)
}

fn incident_entry(incident: &PublicIncident, origin: &str) -> String {
    let mut body = format!(
        "<p>{} · {} · {}</p>",
        severity_word(incident.severity),
        status_word(incident.status),
        escape(&affected(&incident.modules))
    );
    for update in &incident.updates {
        let text = escape(&update.text).replace('\n', "<br/>");
        let _ = write!(
            body,
            "<p><strong>{}</strong> ({}): {text}</p>",
            status_word(update.status),
            when(update.at)
        );
    }
    entry(&Entry {
        id: &incident.id.to_string(),
        title: &format!("{}: {}", status_word(incident.status), incident.title),
        published: incident.opened_at,
        updated: incident.updated_at,
        category: "incident",
        body: &body,
        origin,
    })
}

fn window_entry(window: &PublicWindow, origin: &str) -> String {
    let body = format!(
        "<p>{}: {}, {}. {}</p>",
        window_word(window.status),
        between(window.from, window.to),
        escape(&affected(&window.modules)),
        mode_sentence(window.mode)
    );
    entry(&Entry {
        id: &window.id.to_string(),
        title: &format!("{} maintenance: {}", window_word(window.status), window.title),
        published: window.updated_at.min(window.from),
        updated: window.updated_at,
        category: "maintenance",
        body: &body,
        origin,
    })
}

struct Entry<'a> {
    id: &'a str,
    title: &'a str,
    published: Timestamp,
    updated: Timestamp,
    category: &'a str,
    /// HTML, already escaped where it holds what people wrote.
    body: &'a str,
    origin: &'a str,
}

fn entry(entry: &Entry<'_>) -> String {
    let link = escape(&format!("{}/status#{}", entry.origin, entry.id));
    format!(
        "<entry>\n<id>{link}</id>\n<title>{}</title>\n<published>{}</published>\n<updated>{}</updated>\n\
         <category term=\"{}\"/>\n<link rel=\"alternate\" type=\"text/html\" href=\"{link}\"/>\n\
         <content type=\"html\">{}</content>\n</entry>\n",
        escape(entry.title),
        machine(entry.published),
        machine(entry.updated),
        entry.category,
        escape(entry.body),
    )
}
