//! A price that holds, and a program that asks its owner for one payment beyond its limits: the link opens as a page.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use q_contract::{HttpTransport, Transport as _};
use q_testkit::oracle;
use q_tests::{Instance, Outcome};

fn refused<'a>(outcome: &'a Outcome, code: &str) -> &'a str {
    assert_eq!(outcome.code, Some(5), "{}{}", outcome.said, outcome.complained);
    assert!(outcome.complained.contains(code), "{}", outcome.complained);
    &outcome.complained
}

#[test]
fn a_quote_is_shown_and_paid_by() {
    let Some(house) = Instance::demo(&[]) else { return };
    let quote = house.q(&["wallet", "quote", "10", "--to", "bob", "--as", "alice", "--json"]).json();
    assert_eq!((&quote["class"], &quote["fees"]["total"]), (&"p2p".into(), &"0.06".into()));
    let id = quote["quoteId"].as_str().unwrap();
    let told = house.q(&["wallet", "quote", "10", "--to", "bob", "--as", "alice"]).said;
    assert!(
        told.contains("holds until") && told.contains("q wallet pay bob 10 QToken --as alice --quote quote_"),
        "{told}"
    );
    let pay = |amount: &str, who: &str, to: &str| {
        house.q(&["wallet", "pay", to, amount, "--as", who, "--quote", id])
    };
    refused(&pay("11", "alice", "bob"), "QUOTE_INVALID");
    refused(&pay("10", "bob", "alice"), "QUOTE_INVALID");
    assert_eq!(pay("10", "alice", "bob").code, Some(0));
    refused(&house.q(&["wallet", "quote", "1", "--to-currency", "PI", "--as", "alice"]), "NO_RATE");
    refused(
        &house.q(&["wallet", "quote", "1", "--network", "evm", "--to", "0x0", "--as", "alice"]),
        "RAIL_UNSUPPORTED",
    );
    assert_eq!(house.q(&["verify"]).code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_asks_its_owner_by_a_link() {
    let Some(house) = Instance::demo(&[]) else { return };
    assert_eq!(house.q(&["id", "sub", "create", "robot", "--as", "alice"]).code, Some(0));
    assert_eq!(house.q(&["wallet", "open", "--as", "robot"]).code, Some(0));
    assert_eq!(house.q(&["wallet", "pay", "robot", "30", "--as", "alice"]).code, Some(0));
    assert_eq!(house.q(&["wallet", "limits", "robot", "--set", "daily=10", "--as", "alice"]).code, Some(0));
    let purpose = "A drill <b>now</b>";
    let asked = house.q(&["wallet", "pay", "bob", "12", "--purpose", purpose, "--as", "robot"]);
    let asked = refused(&asked, "APPROVAL_REQUIRED").to_owned();
    let (_, rest) = asked.split_once("/qwallet/a/").unwrap();
    let path: String =
        rest.chars().take_while(|letter| letter.is_ascii_alphanumeric() || "_/".contains(*letter)).collect();
    let (id, _) = path.split_once('/').unwrap();
    let url = format!("{}/a/{path}", house.url("qwallet"));

    let folder = house.scratch();
    let dump = |profile: &str| {
        let shown = oracle::chromium(&folder.join(profile))?.args(["--dump-dom", &url]).output().unwrap();
        Some(String::from_utf8_lossy(&shown.stdout).into_owned())
    };
    let Some(shown) = tokio::task::block_in_place(|| dump("a")) else { return };
    let (approve, reject) =
        (format!("q wallet approve {id} --as NAME"), format!("q wallet reject {id} --as NAME"));
    for text in ["A drill &lt;b&gt;now&lt;/b&gt;", "12 QToken", "Waits for approval", &approve, &reject] {
        assert!(shown.contains(text), "{text}\n{shown}");
    }
    assert!(!shown.contains("<script") && !shown.contains("<b>") && !shown.contains("<form"), "{shown}");
    let page = Request::builder().uri(format!("/a/{path}")).header(header::ACCEPT, "text/html,*/*;q=0.8");
    let transport = HttpTransport::new(house.url("qwallet"));
    let page = transport.send(page.body(Bytes::new()).unwrap(), Duration::from_secs(30)).await.unwrap();
    let policy = page.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.contains("default-src 'none'"), "{policy}");
    assert_eq!(page.headers()[header::REFERRER_POLICY], "no-referrer", "the link is told to nobody else");

    refused(&house.q(&["wallet", "approve", id, "--as", "robot"]), "SELF_APPROVAL");
    refused(&house.q(&["wallet", "limits", "--set", "daily=50", "--as", "robot"]), "FORBIDDEN");
    let waiting = house.q(&["wallet", "approvals", "waiting", "--as", "alice", "--json"]).json();
    assert_eq!(
        (&waiting["items"][0]["intentId"], &waiting["items"][1]),
        (&id.into(), &serde_json::Value::Null)
    );
    assert_eq!(house.q(&["wallet", "approve", id, "--as", "alice"]).code, Some(0));
    let shown = tokio::task::block_in_place(|| dump("b")).unwrap();
    assert!(shown.contains("The payer may sign it until"), "{shown}");
    let paid = house.q(&["wallet", "intents", "pay", id, "--as", "robot", "--json"]).json();
    assert_eq!(paid["status"], "SETTLED");
    refused(&house.q(&["wallet", "pay", "bob", "1", "--as", "robot"]), "APPROVAL_REQUIRED");
    let shown = tokio::task::block_in_place(|| dump("c")).unwrap();
    assert!(shown.contains("Nothing is left to decide") && !shown.contains("q wallet approve"), "{shown}");
    assert_eq!(house.q(&["verify"]).code, Some(0));
}

#[test]
fn a_program_pays_what_somebody_asks_for_once_its_owner_approved_it() {
    let Some(house) = Instance::demo(&[]) else { return };
    assert_eq!(house.q(&["id", "sub", "create", "robot", "--as", "alice"]).code, Some(0));
    assert_eq!(house.q(&["wallet", "open", "--as", "robot"]).code, Some(0));
    assert_eq!(house.q(&["wallet", "pay", "robot", "30", "--as", "alice"]).code, Some(0));
    assert_eq!(house.q(&["wallet", "limits", "robot", "--set", "daily=10", "--as", "alice"]).code, Some(0));
    let asked = house.q(&["wallet", "request", "new", "12", "--memo", "a drill", "--as", "bob", "--json"]);
    let request = asked.json()["requestId"].as_str().unwrap().to_owned();
    let pay = || house.q(&["wallet", "request", "pay", &request, "--as", "robot"]);
    let said = refused(&pay(), "APPROVAL_REQUIRED").to_owned();
    let (_, rest) = said.split_once("/qwallet/a/").unwrap();
    let (id, _) = rest.split_once('/').unwrap();
    let shown = house.q(&["wallet", "intents", "show", id, "--as", "alice"]);
    assert!(shown.said.contains(&format!("settles {request}")), "{}", shown.said);
    refused(&house.q(&["wallet", "intents", "pay", id, "--as", "robot"]), "APPROVAL_REQUIRED");
    assert_eq!(house.q(&["wallet", "approve", id, "--as", "alice"]).code, Some(0));
    let paid = house.q(&["wallet", "intents", "pay", id, "--as", "robot", "--json"]);
    assert_eq!((paid.code, &paid.json()["clientRef"]), (Some(0), &request.clone().into()));
    let settled = house.q(&["wallet", "request", "show", &request, "--as", "bob", "--json"]).json();
    assert_eq!((&settled["status"], &settled["payments"]), (&"PAID".into(), &1.into()));
    refused(&pay(), "REQUEST_STATE");
    // What nobody approves says who can do what instead, in verbs.
    let escrow = house.q(&["wallet", "escrow", "open", "bob", "20", "drill-2", "--as", "robot"]);
    let said = refused(&escrow, "DAILY_LIMIT_EXCEEDED");
    for part in ["the parent raises the limit", "--set KIND=AMOUNT", "q wallet hold open", "--escrow ORDER"] {
        assert!(said.contains(part), "{said}");
    }
    let schedule = house.q(&["wallet", "schedule", "new", "bob", "11", "--every", "day", "--as", "robot"]);
    let said = refused(&schedule, "DAILY_LIMIT_EXCEEDED");
    assert!(
        said.contains("No mandate is approved by itself") && said.contains("at most 10 QToken"),
        "{said}"
    );
    assert_eq!(house.q(&["verify"]).code, Some(0));
}
