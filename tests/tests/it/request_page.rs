//! The page behind the link of a request for money, in a browser.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use http::{Request, header};
use q_contract::{HttpTransport, Transport as _};
use q_testkit::oracle;
use q_tests::Instance;

#[tokio::test(flavor = "multi_thread")]
async fn the_link_of_a_request_opens_as_a_page_without_scripts() {
    let Some(house) = Instance::demo(&[]) else { return };
    let memo = "Lunch <b>for two</b> & tea";
    let request =
        house.q(&["wallet", "request", "new", "8.50", "--memo", memo, "--as", "alice", "--json"]).json();
    let id = request["requestId"].as_str().unwrap();
    let url = format!("{}/r/{id}", house.url("qwallet"));
    let folder = house.scratch();
    let dump = |profile: &str| {
        let shown = oracle::chromium(&folder.join(profile))?.args(["--dump-dom", &url]).output().unwrap();
        Some(String::from_utf8_lossy(&shown.stdout).into_owned())
    };
    let Some(shown) = tokio::task::block_in_place(|| dump("a")) else { return };
    let pay = format!("q wallet request pay {id} --as NAME");
    for text in [
        "Lunch &lt;b&gt;for two&lt;/b&gt; &amp; tea",
        "8.5 QToken",
        "May be paid.",
        "<svg",
        &pay,
        "payto://x-q/",
    ] {
        assert!(shown.contains(text), "{text}\n{shown}");
    }
    assert!(!shown.contains("<script") && !shown.contains("<b>"), "{shown}");
    for scheme in ["light", "dark"] {
        let picture = folder.join(format!("{scheme}.png"));
        let mut painting = oracle::chromium(&folder.join(scheme)).unwrap();
        painting.args([&format!("--screenshot={}", picture.display()), "--window-size=900,800"]);
        painting.arg(format!("--blink-settings=preferredColorScheme={}", i32::from(scheme == "light")));
        let output = tokio::task::block_in_place(|| painting.arg(&url).output().unwrap());
        let bytes = std::fs::read(&picture)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        // An empty page of this size is a few thousand bytes.
        assert!(bytes.starts_with(b"\x89PNG") && bytes.len() > 25_000, "{scheme}: {} bytes", bytes.len());
        if let Some(kept) = std::env::var_os("Q_KEEP_PICTURES") {
            std::fs::copy(&picture, Path::new(&kept).join(format!("request-{scheme}.png"))).unwrap();
        }
    }
    // Programs, which name no HTML, are answered as ever; the page is told to load and to tell nothing.
    let ask = |accept: &'static str| {
        let request = Request::builder().uri(format!("/r/{id}")).header(header::ACCEPT, accept);
        let transport = HttpTransport::new(house.url("qwallet"));
        let request = request.body(Bytes::new()).unwrap();
        async move { transport.send(request, Duration::from_secs(30)).await.unwrap() }
    };
    let json = ask("*/*").await;
    assert_eq!(json.headers()[header::CONTENT_TYPE], "application/json");
    assert_eq!(serde_json::from_slice::<serde_json::Value>(json.body()).unwrap()["memo"], memo);
    let page = ask("text/html,*/*;q=0.8").await;
    assert_eq!(page.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
    let policy = page.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert_eq!(page.headers()[header::REFERRER_POLICY], "no-referrer");

    let paid = house.q(&["wallet", "request", "pay", id, "--as", "bob", "--json"]).json();
    assert_eq!(paid["status"], "SETTLED");
    let shown = tokio::task::block_in_place(|| dump("b")).unwrap();
    assert!(shown.contains("Paid. Nothing is left to do.") && !shown.contains("<svg"), "{shown}");
}
