//! The page that opens behind the link of a request for money: what is asked for, and the ways to pay it.

use std::fmt::Write as _;

use q_core::Timestamp;
use q_http::page::{Page, escape};
use qwallet_api::PublicRequest;

use crate::{domain::money_request::Status, error::Error, service::money_requests::draw};

const STYLE: &str = include_str!("request_page.css");

/// The page of `request`.
pub fn page(request: &PublicRequest) -> Result<String, Error> {
    let amount = match &request.amount {
        Some(amount) => format!("{} {}", amount.as_str(), request.currency),
        None => format!("any amount of {}", request.currency),
    };
    let heading = if request.memo.is_empty() { "A request for money" } else { &request.memo };
    let mut main = format!(
        "<header>\n<p class=\"name\">{}</p>\n<h1>{}</h1>\n<p class=\"amount\">{}</p>\n",
        escape(host(&request.payto_uri)),
        escape(heading),
        escape(&amount),
    );
    let is_open = request.status == Status::Open.name();
    let (class, sentence) = sentence(request);
    let _ = write!(
        main,
        "<p class=\"{class}\">{}</p>\n</header>\n<dl>\n<dt>To the wallet</dt><dd><code>{}</code></dd>\n\
         <dt>Request</dt><dd><code>{}</code></dd>\n</dl>\n",
        escape(&sentence),
        escape(&request.wallet_ref),
        request.request_id,
    );
    if is_open {
        ways(&mut main, request)?;
    }
    main.push_str("<footer>\n<p class=\"quiet\">This page needs no scripts and loads nothing from anywhere.</p>\n</footer>\n");
    let title = format!("{heading} · {amount}");
    Ok(Page { title: &title, head: "", style: STYLE, main: &main }.html())
}

/// The ways to pay, where it may be paid.
fn ways(main: &mut String, request: &PublicRequest) -> Result<(), Error> {
    let drawing = draw(&request.payto_uri)?;
    // An element of the page needs no prolog of its own.
    let drawing = drawing.find("<svg").map_or("", |at| &drawing[at..]);
    let (id, payto) = (request.request_id, escape(&request.payto_uri));
    let how_much = if request.amount.is_some() { "" } else { " AMOUNT" };
    let _ = write!(
        main,
        "<section class=\"ways\">\n<div class=\"code\" role=\"img\" aria-label=\"The same as a code to scan\">{drawing}</div>\n\
         <div>\n<h2>With a wallet program</h2>\n<p>Scan the code, or open <a href=\"{payto}\">this payto link</a>.</p>\n\
         <h2>On the command line</h2>\n<pre>q wallet request pay {id}{how_much} --as NAME</pre>\n\
         <p class=\"quiet\">NAME is the identity that pays. It signs exactly this amount to exactly this wallet; \
         fees come on top.</p>\n</div>\n</section>\n"
    );
    Ok(())
}

/// Where the request is, for people.
fn sentence(request: &PublicRequest) -> (&'static str, String) {
    let is = |status: Status| request.status == status.name();
    if is(Status::Paid) {
        ("good", "Paid. Nothing is left to do.".to_owned())
    } else if is(Status::Cancelled) {
        ("poor", "Taken back by whoever asked. Do not pay it.".to_owned())
    } else if is(Status::Expired) {
        ("poor", "Expired. Ask the payee for another.".to_owned())
    } else {
        let until = request.expires_at.map_or_else(String::new, |at| format!(" until {}", when(at)));
        ("quiet", format!("May be paid{until}."))
    }
}

/// An instant for people, such as `2026-11-21, 09:00 UTC`.
pub(super) fn when(at: Timestamp) -> String {
    let text = Timestamp::from_seconds(at.seconds()).to_string();
    match text.split_once('T') {
        Some((day, time)) => format!("{day}, {} UTC", time.get(..5).unwrap_or(time)),
        None => text,
    }
}

/// The host of a payto URI of the type `x-q`: the name under which the instance is known.
fn host(payto: &str) -> &str {
    let rest = payto.strip_prefix("payto://x-q/").unwrap_or_default();
    rest.split('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(status: Status) -> PublicRequest {
        PublicRequest {
            request_id: format!("rq_{}", "0".repeat(32)).parse().unwrap(),
            status: status.name().to_owned(),
            wallet_ref: "QQ79HCGS5RBI7YI5J7YKOESRII".into(),
            amount: Some("12.5".into()),
            currency: "QToken".into(),
            memo: "<script>alert(1)</script> & \"lunch\"".into(),
            payto_uri: "payto://x-q/q.example/QQ79?amount=QToken:12.5&message=%3Cb%3E".into(),
            expires_at: Some("2026-11-22T09:00:07.5Z".parse().unwrap()),
        }
    }

    #[test]
    fn what_the_payee_wrote_is_text_and_nothing_else() {
        let page = page(&request(Status::Open)).unwrap();
        assert!(
            !page.contains("<script") && page.contains("&lt;script&gt;alert(1)&lt;/script&gt; &amp; "),
            "{page}"
        );
        assert!(page.contains("12.5 QToken") && page.contains("until 2026-11-22, 09:00 UTC"), "{page}");
        assert!(
            page.contains("href=\"payto://x-q/q.example/QQ79?amount=QToken:12.5&amp;message=%3Cb%3E\""),
            "{page}"
        );
    }

    #[test]
    fn only_what_may_be_paid_says_how() {
        for (status, says) in
            [(Status::Paid, "Paid."), (Status::Cancelled, "Taken back"), (Status::Expired, "Expired.")]
        {
            let page = page(&request(status)).unwrap();
            assert!(page.contains(says) && !page.contains("<svg") && !page.contains("request pay"), "{page}");
        }
    }
}
