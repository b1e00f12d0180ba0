//! The status page: one HTML file that needs no script, no font and no picture from anywhere.

use std::fmt::Write as _;

use q_http::page::{Page, escape};
use q_ops_api::status::{DayUptime, PublicIncident, PublicModule, PublicState, PublicStatus, PublicWindow};

use super::{
    feed::host,
    text::{
        affected, between, day, machine, mode_sentence, overall_sentence, percent, severity_word, state_word,
        status_word, when, window_word,
    },
};

const STYLE: &str = include_str!("page.css");

/// Renewed every minute, and beside it what a reader of feeds looks for.
const HEAD: &str = "<meta http-equiv=\"refresh\" content=\"60\">\n<link rel=\"alternate\" type=\"application/atom+xml\" \
                    title=\"Incidents and maintenance\" href=\"/status.atom\">\n";

/// The page of `status` for the instance whose front door is `origin`.
pub fn page(status: &PublicStatus, origin: &str) -> String {
    let name = escape(host(origin));
    let title = format!("{} · {}", overall_sentence(status.state), host(origin));
    let mut page = format!("<header>\n<p class=\"name\">{name}</p>\n");
    let _ = write!(
        page,
        "<h1 class=\"overall {}\"><span class=\"sign\" aria-hidden=\"true\">{}</span> {}</h1>\n\
         <p class=\"quiet\">As of <time datetime=\"{}\">{}</time></p>\n</header>\n",
        class(status.state),
        sign(status.state),
        overall_sentence(status.state),
        machine(status.at),
        when(status.at),
    );
    if !status.incidents.is_empty() {
        page.push_str("<section aria-labelledby=\"now\">\n<h2 id=\"now\">Happening now</h2>\n");
        status.incidents.iter().for_each(|incident| one_incident(&mut page, incident));
        page.push_str("</section>\n");
    }
    if !status.maintenance.is_empty() {
        page.push_str("<section aria-labelledby=\"planned\">\n<h2 id=\"planned\">Maintenance</h2>\n");
        status.maintenance.iter().for_each(|window| one_window(&mut page, window));
        page.push_str("</section>\n");
    }
    modules(&mut page, &status.modules);
    past(&mut page, status);
    page.push_str(
        "<footer>\n<h2>Be told</h2>\n<p>Subscribe to the <a href=\"/status.atom\">feed</a> of incidents and \
         maintenance, add the <a href=\"/status.ics\">calendar</a> of maintenance windows, or read the state as \
         <a href=\"/status.json\">JSON</a>. Operators can have notices sent to a webhook or a mail address.</p>\n\
         <p class=\"quiet\">All times are UTC. This page renews itself every minute and needs no scripts.</p>\n\
         </footer>\n",
    );
    Page { title: &title, head: HEAD, style: STYLE, main: &page }.html()
}

fn modules(page: &mut String, modules: &[PublicModule]) {
    page.push_str("<section aria-labelledby=\"services\">\n<h2 id=\"services\">Services</h2>\n<ul class=\"services\">\n");
    for module in modules {
        let (name, about) = (escape(&module.name), escape(&module.about));
        let _ = write!(
            page,
            "<li>\n<div class=\"row\"><h3>{name}</h3><p class=\"state {}\"><span class=\"sign\" \
             aria-hidden=\"true\">{}</span> {}</p></div>\n",
            class(module.state),
            sign(module.state),
            state_word(module.state),
        );
        if !about.is_empty() {
            let _ = writeln!(page, "<p class=\"quiet about\">{about}</p>");
        }
        let spoken = match module.uptime_basis_points {
            Some(points) => format!("{} of the looks of the last 90 days found it serving", percent(points)),
            None => "No data for the last 90 days".to_owned(),
        };
        let _ = write!(page, "<div class=\"days\" role=\"img\" aria-label=\"{spoken}\">");
        module.days.iter().for_each(|day| one_day(page, day));
        let figure = module.uptime_basis_points.map_or("no data".to_owned(), percent);
        let _ = write!(
            page,
            "</div>\n<div class=\"row legend quiet\" aria-hidden=\"true\"><span>90 days ago</span><span \
             class=\"figure\">{figure}</span><span>today</span></div>\n</li>\n",
        );
    }
    page.push_str(
        "</ul>\n<p class=\"quiet\">A share says how many regular looks found the service serving. Planned \
         maintenance is not counted, and neither are times when nobody looked.</p>\n</section>\n",
    );
}

fn one_day(page: &mut String, day: &DayUptime) {
    let (class, said) = match day.uptime_basis_points {
        None => ("none", "no data".to_owned()),
        Some(points) if points >= 9_990 => ("good", percent(points)),
        Some(points) if points >= 9_900 => ("fair", percent(points)),
        Some(points) => ("poor", percent(points)),
    };
    let _ = write!(page, "<i class=\"{class}\" title=\"{}: {said}\"></i>", escape(&day.date));
}

fn one_incident(page: &mut String, incident: &PublicIncident) {
    let _ = write!(
        page,
        "<article id=\"{}\" class=\"{}\">\n<h3>{}</h3>\n<p class=\"quiet\">{} · {} · since <time \
         datetime=\"{}\">{}</time></p>\n",
        incident.id,
        if incident.resolved_at.is_some() { "over" } else { "open" },
        escape(&incident.title),
        severity_word(incident.severity),
        escape(&affected(&incident.modules)),
        machine(incident.opened_at),
        when(incident.opened_at),
    );
    page.push_str("<ol class=\"updates\">\n");
    for update in &incident.updates {
        let _ = writeln!(
            page,
            "<li><strong>{}</strong> <time class=\"quiet\" datetime=\"{}\">{}</time><p>{}</p></li>",
            status_word(update.status),
            machine(update.at),
            when(update.at),
            escape(&update.text).replace('\n', "<br>"),
        );
    }
    page.push_str("</ol>\n</article>\n");
}

fn one_window(page: &mut String, window: &PublicWindow) {
    let _ = write!(
        page,
        "<article id=\"{}\" class=\"window\">\n<h3>{}</h3>\n<p><strong>{}</strong> · <time datetime=\"{}\">{}</time></p>\n\
         <p class=\"quiet\">{}: {}</p>\n</article>\n",
        window.id,
        escape(&window.title),
        window_word(window.status),
        machine(window.from),
        between(window.from, window.to),
        escape(&affected(&window.modules)),
        mode_sentence(window.mode),
    );
}

/// The history: one line for each thing, newest first.
fn past(page: &mut String, status: &PublicStatus) {
    page.push_str("<section aria-labelledby=\"past\">\n<h2 id=\"past\">The last 90 days</h2>\n");
    let incidents = status.past_incidents.iter().map(|incident| {
        let end = incident.resolved_at.unwrap_or(incident.updated_at);
        let lasted = crate::incidents::review::span(end.since(incident.opened_at));
        let mut said = String::new();
        for update in &incident.updates {
            let _ = write!(
                said,
                "<li><strong>{}</strong> <time class=\"quiet\" datetime=\"{}\">{}</time><p>{}</p></li>",
                status_word(update.status),
                machine(update.at),
                when(update.at),
                escape(&update.text).replace('\n', "<br>")
            );
        }
        let line = format!(
            "<li id=\"{}\"><details><summary>{} <span class=\"quiet\">{} · {} · {lasted}</span></summary>\n\
             <ol class=\"updates\">{said}</ol></details></li>",
            incident.id,
            escape(&incident.title),
            day(incident.opened_at),
            severity_word(incident.severity),
        );
        (incident.opened_at, line)
    });
    let windows = status.past_maintenance.iter().map(|window| {
        let line = format!(
            "<li id=\"{}\">{} <span class=\"quiet\">{} · maintenance · {}</span></li>",
            window.id,
            escape(&window.title),
            between(window.from, window.to),
            window_word(window.status),
        );
        (window.from, line)
    });
    let mut lines: Vec<_> = incidents.chain(windows).collect();
    lines.sort_by(|a, b| b.cmp(a));
    if lines.is_empty() {
        page.push_str("<p>No incident and no maintenance.</p>\n");
    } else {
        page.push_str("<ul class=\"past\">\n");
        for (_, line) in lines {
            page.push_str(&line);
            page.push('\n');
        }
        page.push_str("</ul>\n");
    }
    page.push_str("</section>\n");
}

const fn class(state: PublicState) -> &'static str {
    match state {
        PublicState::Operational => "good",
        PublicState::Maintenance => "paused",
        PublicState::Degraded => "fair",
        PublicState::Outage => "poor",
        PublicState::Unknown => "unknown",
    }
}

/// A sign that differs by shape, for people who do not tell the colours apart.
const fn sign(state: PublicState) -> &'static str {
    match state {
        PublicState::Operational => "\u{2713}",
        PublicState::Maintenance => "\u{2016}",
        PublicState::Degraded => "!",
        PublicState::Outage => "\u{2715}",
        PublicState::Unknown => "?",
    }
}
