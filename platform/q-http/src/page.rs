//! Pages for people: each one HTML file that needs no script, no font and no picture from anywhere.
//!
//! **Invariant:** what somebody wrote reaches a page only through [`escape`].

use http::{HeaderMap, header};

/// Allows nothing but the style in the page itself (Content Security Policy, level 3).
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// The same in the answer's header, where it can also forbid other sites to frame the page.
pub(crate) const POLICY_HEADER: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action \
                                        'none'; frame-ancestors 'none'";

/// What all pages look like.
const STYLE: &str = include_str!("page.css");

/// A page, before it is written.
#[derive(Debug)]
pub struct Page<'a> {
    /// What the browser calls it; plain text.
    pub title: &'a str,
    /// Further elements of the head, as HTML.
    pub head: &'a str,
    /// Further rules of style.
    pub style: &'a str,
    /// What is inside `main`, as HTML.
    pub main: &'a str,
}

impl Page<'_> {
    /// The whole file.
    pub fn html(&self) -> String {
        let Page { title, head, style, main } = self;
        let title = escape(title);
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n{head}\
             <style>\n{STYLE}{style}</style>\n</head>\n<body>\n<main>\n{main}</main>\n</body>\n</html>\n"
        )
    }
}

/// `text` as HTML or XML text or attribute value. Control characters, which XML 1.0 does not know, are left out.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(letter),
            letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => {}
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// Whether whoever asks would rather have a page than JSON (RFC 9110 section 12.5.1): a browser names HTML, a program
/// names JSON or nothing at all.
pub fn is_wanted(headers: &HeaderMap) -> bool {
    let (mut html, mut json) = (0.0_f32, 0.0_f32);
    let given = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    for range in given.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let weight = weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0));
        if name.eq_ignore_ascii_case("text/html") {
            html = weight;
        } else if name.eq_ignore_ascii_case("application/json") {
            json = weight;
        }
    }
    html > json
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_browser_gets_a_page_and_a_program_json() {
        let wants = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            is_wanted(&headers)
        };
        assert!(wants("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"));
        assert!(wants("application/json;q=0.5, Text/HTML ; q=0.6"));
        for accept in ["*/*", "application/json", "text/html;q=0, */*", "text/html, application/json", ""] {
            assert!(!wants(accept), "{accept}");
        }
        assert!(!is_wanted(&HeaderMap::new()));
    }
}
