//! What an operator is told when something is not as it should be: what is wrong, and what to do next.

use std::fs;

use q_contract::{Client, HttpTransport};
use q_tests::Instance;
use serde_json::Value;

#[test]
fn a_setting_that_is_wrong_is_named_wherever_it_matters() {
    let wrong = [
        ("QWALLET_DATABASE_URL", "mysql://q:hunter2@db/wallet"),
        ("Q_LIMITS_TRUSTED_PROXIES", "10.1.0.0/40"),
        ("Q_OPS_WATCH_EVERY", "often"),
    ];
    let Some(house) = Instance::unstarted(&[]) else { return };
    assert_eq!(house.q(&["init"]).code, Some(0));
    assert_eq!(house.q(&["config"]).code, Some(0));
    fs::write(house.data().join("q.toml"), "[qwallet]\nlissten = \"x\"\n[wallets]\n").expect("settings");
    let with = |arguments: &[&str]| {
        let output = house.command(arguments).envs(wrong).output().expect("the program starts");
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    // All of them at once, each with its name and what is allowed; the table all the same.
    let (code, said, complained) = with(&["config"]);
    assert_eq!(code, Some(4), "{complained}");
    for text in [
        "QWALLET_DATABASE_URL (database_url under [qwallet]): not a store: expected a file such as",
        "postgres://user@host/wallet_db",
        "Q_LIMITS_TRUSTED_PROXIES is \"10.1.0.0/40\"",
        "Q_OPS_WATCH_EVERY",
        "did you mean listen?",
        "[wallets]",
        "5 to correct",
    ] {
        assert!(complained.contains(text), "{text}\n{complained}");
    }
    assert!(
        said.contains("qwallet.listen = ") && !format!("{said}{complained}").contains("hunter2"),
        "{said}"
    );
    let (code, said, _) = with(&["config", "--json"]);
    let shown: Value = serde_json::from_str(&said).expect("JSON");
    let wrong_url = shown["qwallet.database_url"]["wrong"].as_str().expect("why it is wrong");
    assert!(code == Some(4) && wrong_url.contains("QWALLET_DATABASE_URL"), "{said}");

    fs::remove_file(house.data().join("q.toml")).expect("no settings in a file");
    for verb in [&["up"][..], &["serve", "qwallet"]] {
        let (code, _, complained) = with(verb);
        assert_eq!(code, Some(4), "{complained}");
        for name in wrong.map(|(name, _)| name) {
            assert!(complained.contains(name), "{verb:?}: {name} in {complained}");
        }
        assert!(complained.contains("postgres://user@host/wallet_db"), "{complained}");
    }
}

#[test]
fn a_mode_that_outlived_its_process_is_shown_at_the_start() {
    let Some(mut house) = Instance::demo(&[]) else { return };
    assert!(!house.greeting.contains("next:"), "{}", house.greeting);
    for (module, mode, reason) in [
        ("qwallet", "write-stopped", "a torn page"),
        ("qlock", "isolated", "a thief"),
        ("squid", "read-only", "a move"),
    ] {
        let set = house.q(&["mode", module, "set", mode, "--reason", reason]);
        assert_eq!(set.code, Some(0), "{}", set.complained);
    }
    let next = [
        ("qwallet", "write-stopped", "a torn page", "`q verify qwallet`"),
        ("qlock", "isolated", "a thief", "`q isolate qlock --lift`"),
        ("squid", "read-only", "a move", "`q mode squid set normal`"),
    ];
    let status = house.q(&["status"]);
    assert_eq!(status.code, Some(3), "writes were stopped: {}", status.said);
    for (module, mode, reason, command) in next {
        let line = format!("{module} is healthy, in mode {mode}: {mode}: {reason}");
        let mut lines = status.said.lines().skip_while(|said| !said.starts_with(&line));
        assert!(lines.next().is_some(), "{line}\n{}", status.said);
        assert!(lines.next().is_some_and(|next| next.contains(command)), "{command}\n{}", status.said);
    }
    let row = |shown: &Value| {
        let rows = shown.as_array().expect("rows");
        rows.iter().find(|row| row["module"] == "qwallet").expect("a row of qwallet").clone()
    };
    let shown = house.q(&["status", "--json"]);
    let shown = row(&serde_json::from_str(&shown.said).expect("JSON"));
    assert_eq!(shown["mode"], "write-stopped");
    assert!(shown["next"].as_str().is_some_and(|next| next.contains("q verify qwallet")), "{shown}");

    house.stop();
    house.start(&["up"]);
    for (module, mode, reason, command) in next {
        let line = format!("{module:<12} is {mode}: {reason}");
        let mut lines = house.greeting.lines().skip_while(|said| !said.starts_with(&line));
        assert!(lines.next().is_some(), "{line}\n{}", house.greeting);
        assert!(lines.next().is_some_and(|next| next.contains(command)), "{command}\n{}", house.greeting);
    }
    house.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_in_part_or_not_at_all_says_so() {
    let Some(mut house) = Instance::demo(&[("Q_LOG_TO", "stderr")]) else { return };
    // Logs in no file cannot be secured: the last line says it, and a script can see it.
    let folder = house.scratch().join("evidence");
    let secured = house.q(&["evidence", "collect", "--to", folder.to_str().expect("a path of letters")]);
    assert_eq!(secured.code, Some(7), "{}", secured.complained);
    let last = secured.complained.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("NOT SECURED: logs: the instance keeps none in files"),
        "{}",
        secured.complained
    );
    let help = house.q(&["--help"]).said;
    assert!(help.split_whitespace().collect::<Vec<_>>().join(" ").contains("7 done in part"), "{help}");

    // Nobody agreed to the first step of an emergency: what needs it is not begun, and says why.
    let followed = house.q(&["runbook", "emergency-maintenance"]);
    assert_eq!(followed.code, Some(0), "{}", followed.said);
    let why = "not done: it needs \"Begin\", which was skipped";
    assert_eq!(followed.said.matches(why).count(), 2, "{}", followed.said);
    let steps = house.q(&["runbook", "emergency-maintenance", "--json"]).json()["steps"].clone();
    let verdicts: Vec<_> =
        steps.as_array().expect("steps").iter().map(|step| step["verdict"].clone()).collect();
    assert_eq!(verdicts, ["skipped"; 4], "{steps}");

    // Alone it lists, like its `list`.
    let alone = house.q(&["alerts"]);
    assert_eq!(
        (alone.code, &alone.said),
        (Some(0), &house.q(&["alerts", "list"]).said),
        "{}",
        alone.complained
    );
    assert!(house.q(&["alerts", "--all", "--json"]).json()["items"].is_array());

    let door =
        house.greeting.lines().find_map(|line| line.strip_prefix("front door")?.split_whitespace().next());
    let door = Client::new(std::sync::Arc::new(HttpTransport::new(door.expect("a front door"))));
    let index = door.send("GET", "/", bytes::Bytes::new(), "").await.expect("an answer");
    let index = String::from_utf8_lossy(index.body()).into_owned();
    for path in ["/status ", "/status.json", "/status.atom", "/status.ics", "/health "] {
        assert!(index.contains(path), "{path}\n{index}");
    }
    house.stop();
}

#[test]
fn the_log_says_when_a_process_served_and_why_it_stopped() {
    let Some(mut house) = Instance::demo(&[]) else { return };
    let url = house.url("qwallet");
    let pid = house.pid();
    // Kept for a rollback in the background; each question takes a process its time.
    while house.q(&["releases", "--json"]).json()["current"].is_null() {}
    house.stop();
    let lines = house.q(&["logs", "q", "--json"]).said;
    let of = |message: &str| -> Value {
        let line = lines.lines().rfind(|line| line.contains(&format!("\"{message}\"")));
        serde_json::from_str(line.unwrap_or_else(|| panic!("{message}\n{lines}"))).expect("JSON")
    };
    let serving = of("serving")["fields"].clone();
    assert_eq!(serving["version"], env!("CARGO_PKG_VERSION"), "{serving}");
    assert_eq!(serving["release"], 1, "{serving}");
    assert_eq!(serving["pid"], pid, "{serving}");
    let words =
        |value: &Value| value.as_str().unwrap_or_default().split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert!(words(&serving["modules"]).contains(&"qwallet".to_owned()), "{serving}");
    assert!(words(&serving["addresses"]).contains(&format!("qwallet={url}")), "{serving}");
    let stopped = of("stopped serving")["fields"].clone();
    assert_eq!(stopped["why"], "SIGTERM", "{stopped}");
    assert!(stopped["drained_ms"].is_u64(), "{stopped}");
}
