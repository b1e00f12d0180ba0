//! What an operator sees of a running house: figures that Prometheus' own tool accepts, traces that a foreign collector
//! decodes, log lines, and the table of all modules.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
    sync::{Arc, mpsc},
    time::Duration,
};

use bytes::Bytes;
use q_contract::{Client, HttpTransport};
use q_testkit::oracle;
use q_tests::{Instance, Payer, until};
use serde_json::Value;

async fn get(url: &str, path: &str) -> String {
    let client = Client::new(Arc::new(HttpTransport::new(url)));
    let answer = client.send("GET", path, Bytes::new(), "").await.expect("an answer");
    assert!(answer.status().is_success(), "{path}: {}", answer.status());
    String::from_utf8_lossy(answer.body()).into_owned()
}

#[tokio::test]
async fn the_figures_of_every_module_pass_promtool() {
    let Some(house) = Instance::demo(&[]) else { return };
    let bob = house.q(&["wallet", "pay", "alice", "1", "--as", "bob"]);
    assert_eq!(bob.code, Some(0), "{}", bob.complained);
    for module in ["squid", "qonsent", "qlock", "qerberos", "qwallet", "ops"] {
        let Some(mut promtool) = oracle::program("promtool") else { return };
        let text = get(&house.url(module), "/metrics").await;
        let judged = oracle::ask(promtool.args(["check", "metrics"]), &text);
        // It fails on its advice too, so that this is no advice at all.
        assert_eq!(
            judged.map(|said| String::from_utf8_lossy(&said).into_owned()),
            Ok(String::new()),
            "{module}:\n{text}"
        );
        for sample in [
            "http_request_duration_seconds_bucket{",
            "process_cpu_seconds_total ",
            "process_max_fds ",
            "q_disk_free_bytes ",
            "q_memory_limit_bytes ",
            "q_outbox_depth{stream=\"events\"} ",
            "q_db_commit_duration_seconds_count ",
            "q_dependency_up{dependency=\"store\",required=\"true\"} 1",
        ] {
            assert!(text.contains(sample), "{sample} of {module} in\n{text}");
        }
    }
    let text = get(&house.url("qwallet"), "/metrics").await;
    assert!(text.contains(r#"http_requests_total{method="POST",route="/payments",status="201"}"#), "{text}");
}

/// How long nothing may come from the collector.
const PATIENCE: Duration = Duration::from_mins(1);

/// The collector in Python, and the spans it has decoded so far.
struct Collector {
    port: u16,
    lines: mpsc::Receiver<String>,
    child: Child,
    spans: Vec<Value>,
}

impl Collector {
    fn start() -> Option<Self> {
        let mut command =
            oracle::script("PyPI opentelemetry-proto", env!("CARGO_MANIFEST_DIR"), "otlp_collector.py")?;
        let mut child = command.stdout(Stdio::piped()).spawn().expect("Python starts");
        let mut read = BufReader::new(child.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
        let port = read.next().and_then(|port| port.parse().ok()).expect("the collector says its port");
        let (arrived, lines) = mpsc::channel();
        // It ends with the pipe, or with whoever reads.
        std::thread::spawn(move || read.try_for_each(|line| arrived.send(line)));
        Some(Self { port, lines, child, spans: Vec::new() })
    }

    /// Reads on until a span is as wanted.
    fn wait_for(&mut self, what: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
        if let Some(span) = self.spans.iter().find(|span| is_wanted(span)) {
            return span.clone();
        }
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line =
                line.unwrap_or_else(|_| panic!("{what} does not come; what came is\n{:#?}", self.spans));
            let span: Value = serde_json::from_str(&line).expect("JSON");
            self.spans.push(span.clone());
            if is_wanted(&span) {
                return span;
            }
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_goes_from_the_edge_to_the_store_to_the_event_in_another_process() {
    let Some(mut collector) = Collector::start() else { return };
    let endpoint = format!("http://127.0.0.1:{}", collector.port);
    // One process by our setting, the other by the variable of the specification.
    let Some(mut house) = Instance::unstarted(&[("Q_TELEMETRY_OTLP_ENDPOINT", &endpoint)]) else { return };
    assert_eq!(house.q(&["init", "--demo"]).code, Some(0));
    house.start(&["serve", "qlock", "squid", "qonsent", "qerberos"]);
    let settings = [("Q_TELEMETRY_OTLP_ENDPOINT", ""), ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())];
    let _purse = house.beside_with(&["serve", "qwallet", "--demo"], &settings);

    let did = Payer::of(&house, "bob").did().to_string();
    let suspend = format!("/identity/{did}/suspend");
    let suspended = house.q(&["call", "squid", "POST", &suspend, "-d", r#"{"reason":"a lost laptop"}"#]);
    assert_eq!(suspended.code, Some(0), "{}{}", suspended.said, suspended.complained);

    let is =
        |span: &Value, name: &str| span["name"].as_str().is_some_and(|of_span| of_span.starts_with(name));
    let edge = collector.wait_for("the request", |span| is(span, "POST /identity/{did}/suspend"));
    assert_eq!((edge["service"].as_str(), edge["namespace"].as_str()), (Some("squid"), Some("q")));
    assert_eq!((edge["kind"].as_str(), edge["parent"].as_str()), (Some("SPAN_KIND_SERVER"), Some("")));
    let facts = &edge["attributes"];
    assert_eq!(
        (&facts["http.request.method"], &facts["http.response.status_code"]),
        (&"POST".into(), &200.into())
    );
    assert_eq!(facts["http.route"], "/identity/{did}/suspend");

    let (trace, parent) = (edge["trace"].clone(), edge["span"].clone());
    let of_trace = |span: &Value| span["trace"] == trace && span["parent"] == parent;
    let write = collector.wait_for("the commit", |span| of_trace(span) && is(span, "db.write"));
    assert_eq!(
        (write["service"].as_str(), write["kind"].as_str()),
        (Some("squid"), Some("SPAN_KIND_CLIENT"))
    );
    assert_eq!(write["attributes"]["db.system.name"], "sqlite");
    // Each process keeps what it knows of identities: squid's own, and that of qwallet, which heard of it over HTTP.
    let is_reaction = |span: &Value| of_trace(span) && is(span, "process q.squid.identity.suspended");
    let one = collector.wait_for("the event", is_reaction);
    let other = |span: &Value| is_reaction(span) && span["span"] != one["span"];
    let other = collector.wait_for("the event in the other process", other);
    for reaction in [&one, &other] {
        assert_eq!(reaction["kind"], "SPAN_KIND_CONSUMER");
        let id = &reaction["attributes"]["messaging.message.id"];
        assert!(id.as_str().is_some_and(|id| id.starts_with("evt_")), "{reaction}");
    }

    // A payment: its own span of waiting for the disk, and the commit it shares with others.
    for verb in [&["id", "new", "carol"][..], &["wallet", "open", "--as", "carol"]] {
        let done = house.q(verb);
        assert_eq!(done.code, Some(0), "{}", done.complained);
    }
    let paid = house.q(&["wallet", "pay", "carol", "1", "--as", "alice"]);
    assert_eq!(paid.code, Some(0), "{}", paid.complained);
    let edge =
        collector.wait_for("the payment", |span| is(span, "POST /payments") && !is(span, "POST /payments/"));
    let of_trace = |span: &Value| span["trace"] == edge["trace"];
    collector.wait_for("its place in line", |span| of_trace(span) && is(span, "ledger.submit"));
    let commit = collector.wait_for("its commit", |span| of_trace(span) && is(span, "ledger.commit"));
    collector.wait_for("its write", |span| span["parent"] == commit["span"] && is(span, "db.write"));

    // qwallet asked squid over HTTP for keys it did not know yet, as part of somebody's request.
    let asked = collector.wait_for("a call", |span| {
        span["service"] == "qwallet" && span["kind"] == "SPAN_KIND_CLIENT" && is(span, "GET")
    });
    let answered = collector.wait_for("its answer", |span| span["parent"] == asked["span"]);
    assert_eq!((answered["service"].as_str(), &answered["trace"]), (Some("squid"), &asked["trace"]));

    let ids: BTreeSet<_> = collector.spans.iter().map(|span| span["span"].as_str()).collect();
    assert_eq!(ids.len(), collector.spans.len(), "every span has an id of its own and comes once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_found_in_the_log_by_its_trace() {
    let Some(mut house) = Instance::demo(&[]) else { return };
    // A store that cannot be asked any more: its process is told so when somebody reads.
    let health = house.q(&["status", "--json"]).json();
    let modules: Vec<_> =
        health.as_array().expect("rows").iter().map(|row| row["module"].as_str().expect("a name")).collect();
    assert_eq!(modules, ["ops", "qerberos", "qlock", "qonsent", "qwallet", "squid"]);
    for row in health.as_array().expect("rows") {
        assert_eq!(
            (row["status"].as_str(), row["mode"].as_str()),
            (Some("healthy"), Some("normal")),
            "{row}"
        );
        assert_eq!(row["process"], house.pid(), "{row}");
        assert!(row["since"].is_string() && row["errorRate"].is_f64(), "{row}");
    }
    let table = house.q(&["status"]);
    assert_eq!(table.code, Some(0), "{}", table.complained);
    assert!(table.said.starts_with("MODULE") && table.said.contains("qwallet"), "{}", table.said);

    // Nothing is wrong yet.
    let errors = house.q(&["logs", "--errors", "--since", "10m", "--json"]);
    assert_eq!(errors.code, Some(0), "{}", errors.complained);
    let stopped = house.q(&["mode", "qwallet", "set", "write-stopped", "--reason", "a drill"]);
    assert_eq!(stopped.code, Some(0), "{}", stopped.complained);
    let body = r#"{"profile":"ROOT"}"#;
    let refused = house.q(&["call", "qwallet", "POST", "/wallets", "-d", body, "--as", "bob"]);
    assert_ne!(refused.code, Some(0), "{}", refused.said);
    let told = format!("{}{}", refused.said, refused.complained);
    until("the line in the log", async || {
        let lines = house.q(&["logs", "qwallet", "--errors", "--since", "10m", "--json"]);
        lines.said.lines().any(|line| line.contains("request failed"))
    })
    .await;
    let lines = house.q(&["logs", "qwallet", "--errors", "--since", "10m", "--json"]).said;
    let line = lines.lines().rfind(|line| line.contains("request failed")).expect("the line");
    let line: Value = serde_json::from_str(line).expect("JSON");
    assert_eq!((line["module"].as_str(), line["level"].as_str()), (Some("qwallet"), Some("warn")), "{line}");
    assert_eq!(line["fields"]["code"], "WRITE_STOPPED", "{line} {told}");
    let trace = line["traceId"].as_str().expect("a trace");
    assert!(line["requestId"].is_string(), "{line}");
    let found = house.q(&["logs", "--trace", trace]);
    assert_eq!((found.code, found.said.lines().count()), (Some(0), 1), "{}", found.said);
    assert!(found.said.contains("request failed") && found.said.contains(trace), "{}", found.said);
    assert_eq!(house.q(&["logs", "nobody"]).code, Some(2));

    let table = house.q(&["status"]);
    assert!(table.said.contains("write-stopped: a drill"), "{}", table.said);
    house.kill();
    // A dead instance still has its log.
    assert_eq!(house.q(&["status"]).code, Some(6));
    assert!(house.q(&["logs", "qwallet", "--errors"]).said.contains("request failed"));
}

#[test]
fn an_instance_without_log_files_says_where_its_lines_are() {
    let Some(house) = Instance::unstarted(&[("Q_LOG_TO", "stderr")]) else { return };
    assert_eq!(house.q(&["init", "--demo"]).code, Some(0));
    let logs = house.q(&["logs"]);
    assert_eq!(logs.code, Some(1), "{}", logs.said);
    assert!(logs.complained.contains("Q_LOG_TO=both"), "{}", logs.complained);
}
