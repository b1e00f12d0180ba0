//! The page that opens behind the link of a payment which others are to approve: what would be paid, and how to decide.
//!
//! **Invariant:** the page decides nothing. Whoever decides signs with a key of their own.

use std::fmt::Write as _;

use q_http::page::{Page, escape};
use qwallet_api::AskedIntent;

use super::request_page::when;
use crate::{service::guardians::LIMITS, store::intents::IntentStatus};

const STYLE: &str = include_str!("request_page.css");

/// The page of `asked`.
pub fn page(asked: &AskedIntent) -> String {
    let amount = format!("{} {}", asked.amount.as_str(), asked.currency);
    let (class, sentence) = sentence(asked);
    let mut main = format!(
        "<header>\n<p class=\"name\">A payment to approve</p>\n<h1>{}</h1>\n<p class=\"amount\">{}</p>\n\
         <p class=\"{class}\">{}</p>\n</header>\n<dl>\n",
        escape(asked.purpose.as_deref().unwrap_or("No purpose is told")),
        escape(&amount),
        escape(&sentence),
    );
    let why = if asked.because == LIMITS {
        "beyond the limits of the wallet that pays"
    } else {
        "above the amount from which others approve what the wallet pays"
    };
    for (term, what, is_code) in [
        ("Paid by", asked.payer.as_str(), true),
        ("Out of the wallet", &asked.wallet, true),
        ("To", &asked.recipient, true),
        ("Fees on top", &format!("{} {}", asked.fees.total.as_str(), asked.currency), false),
        ("Why you are asked", why, false),
        ("Approvals", &format!("{} of {}", asked.given, asked.required), false),
        ("Payment", &asked.intent_id.to_string(), true),
    ] {
        let what = escape(what);
        let what = if is_code { format!("<code>{what}</code>") } else { what };
        let _ = writeln!(main, "<dt>{term}</dt><dd>{what}</dd>");
    }
    main.push_str("</dl>\n");
    if asked.status == IntentStatus::Pending.name() {
        ways(&mut main, asked);
    }
    main.push_str("<footer>\n<p class=\"quiet\">This page needs no scripts and loads nothing from anywhere.</p>\n</footer>\n");
    let title = format!("Approve {amount}?");
    Page { title: &title, head: "", style: STYLE, main: &main }.html()
}

/// How to decide, where it is still to be decided.
fn ways(main: &mut String, asked: &AskedIntent) {
    let id = asked.intent_id;
    let _ = write!(
        main,
        "<section>\n<h2>To approve it</h2>\n<pre>q wallet approve {id} --as NAME</pre>\n\
         <h2>To reject it</h2>\n<pre>q wallet reject {id} --as NAME</pre>\n\
         <p class=\"quiet\">NAME is the identity that approves. It signs exactly this amount to exactly this recipient, once; \
         nothing is paid until the payer signs too. Nothing is approved by opening this page.</p>\n</section>\n"
    );
}

/// Where it is, for people.
fn sentence(asked: &AskedIntent) -> (&'static str, String) {
    let is = |status: IntentStatus| asked.status == status.name();
    if is(IntentStatus::Pending) && asked.given >= asked.required {
        ("good", format!("Approved. The payer may sign it until {}.", when(asked.expires_at)))
    } else if is(IntentStatus::Pending) {
        ("quiet", format!("Waits for approval until {}.", when(asked.expires_at)))
    } else if is(IntentStatus::Cancelled) {
        ("poor", "Rejected or taken back. Nothing is paid.".to_owned())
    } else if is(IntentStatus::Expired) {
        ("poor", "Expired. Nothing is paid.".to_owned())
    } else {
        ("good", "Approved, and signed by the payer. Nothing is left to decide.".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(status: IntentStatus, given: u8) -> AskedIntent {
        serde_json::from_value(serde_json::json!({
            "intentId": format!("intent_{}", "0".repeat(32)), "status": status.name(), "amount": "12.5",
            "currency": "QToken", "payer": "did:key:zRobot", "wallet": "QQ79HCGS5RBI7YI5J7YKOESRII",
            "recipient": "did:key:z<b>Shop", "purpose": "<script>alert(1)</script>",
            "fees": { "network": "0", "platform": "0.1", "total": "0.1" }, "because": LIMITS, "given": given,
            "required": 1, "expiresAt": "2026-11-22T09:00:07.5Z",
        }))
        .unwrap()
    }

    #[test]
    fn what_the_payer_wrote_is_text_and_nothing_else() {
        let page = page(&asked(IntentStatus::Pending, 0));
        assert!(!page.contains("<script") && !page.contains("<b>"), "{page}");
        assert!(page.contains("&lt;script&gt;") && page.contains("12.5 QToken"), "{page}");
        assert!(page.contains("until 2026-11-22, 09:00 UTC"), "{page}");
        let id = format!("intent_{}", "0".repeat(32));
        for verb in ["approve", "reject"] {
            assert!(page.contains(&format!("q wallet {verb} {id} --as NAME")), "{page}");
        }
    }

    #[test]
    fn only_what_is_to_be_decided_says_how() {
        for (status, given, says) in [
            (IntentStatus::Signed, 1, "Nothing is left to decide"),
            (IntentStatus::Settled, 1, "Nothing is left to decide"),
            (IntentStatus::Cancelled, 0, "Rejected or taken back"),
            (IntentStatus::Expired, 0, "Expired."),
        ] {
            let page = page(&asked(status, given));
            assert!(page.contains(says) && !page.contains("q wallet"), "{page}");
        }
        assert!(page(&asked(IntentStatus::Pending, 1)).contains("The payer may sign it"));
    }
}
