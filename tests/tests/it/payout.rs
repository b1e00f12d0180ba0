//! A payout file by an independent program, signed once; the books confirmed by two others.

use std::{fs, path::Path, process::Command};

use q_testkit::oracle;
use q_tests::{Instance, Payer};
use serde_json::json;

const PAYMENTS: usize = 1_000;

/// Who pays a thousand people in a day has limits of their own.
const PAYROLL: [(&str, &str); 4] = [
    ("QWALLET_LIMIT_TRANSACTION", "none"),
    ("QWALLET_LIMIT_DAILY", "none"),
    ("QWALLET_STEP_UP", "none"),
    ("QWALLET_LIMIT_MONTHLY", "none"),
];

#[test]
fn a_thousand_payments_of_a_foreign_file_balance_in_foreign_books() {
    let Some(house) = Instance::demo(&PAYROLL) else { return };
    let Some(mut writer) = oracle::python("sepaxml") else { return };
    let (Some(hledger), Some(ledger)) = (oracle::program("hledger"), oracle::program("ledger")) else {
        return;
    };
    let (alice, bob) = (Payer::of(&house, "alice"), Payer::of(&house, "bob"));
    let file = house.scratch().join("payout.xml");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../xtask/oracles/write_payout.py");
    let currencies = house.q(&["call", "qwallet", "GET", "/currencies", "--as", "alice"]).json();
    let order = json!({
        "payer": {"name": "Alice", "account": alice.wallet()},
        "recipients": [{"name": "Bob", "account": bob.wallet()}],
        "count": PAYMENTS, "date": "2030-01-02", "schema": "pain.001.001.09",
        "currency": currencies["items"][0]["isoAlias"],
    });
    oracle::ask(writer.arg(script).arg(&file), order.to_string()).unwrap();
    let file = file.to_str().unwrap();
    let looked = house.q(&["wallet", "import", file, "--as", "alice", "--json"]).json();
    assert_eq!((looked["count"].as_u64(), looked["refused"].as_u64()), (Some(PAYMENTS as u64), Some(0)));
    let paid = house.q(&["wallet", "import", file, "--execute", "--as", "alice", "--json"]).json();
    assert_eq!(paid["committed"], PAYMENTS);
    let again = house.q(&["wallet", "import", file, "--execute", "--as", "alice", "--json"]).json();
    assert_eq!(again["batchId"], paid["batchId"], "a payout file is executed once");

    // 12.5 from the demonstration and the sum of the file: 1,000 amounts of 1 + 337 n mod 997 hundredths.
    let ordered: u64 = (0..PAYMENTS as u64).map(|number| 1 + number * 337 % 997).sum();
    let hundredths = 1_250 + ordered;
    let expected = format!("{}.{:02}", hundredths / 100, hundredths % 100);
    let journal = house.scratch().join("books.journal");
    let export = |format: &str| {
        let journal_text = house.q(&["wallet", "export", format]);
        assert_eq!(journal_text.code, Some(0), "{}", journal_text.complained);
        fs::write(&journal, journal_text.said).unwrap();
    };
    let bob_holds = house.q(&["wallet", "balance", "--as", "bob", "--json"]).json();
    let bob_holds = bob_holds["balances"]["QToken"]["posted"].as_str().unwrap().to_owned();
    assert_eq!(bob_holds, expected.trim_end_matches('0').trim_end_matches('.'));
    export("hledger");
    run(hledger, &["-f", journal.to_str().unwrap(), "check", "-s"]);
    let balances = run(
        oracle::program("hledger").unwrap(),
        &["-f", journal.to_str().unwrap(), "bal", "-N", "-O", "csv"],
    );
    assert!(balances.contains(&bob_holds), "hledger does not see bob's {bob_holds}:\n{balances}");
    export("ledger");
    let balances = run(ledger, &["-f", journal.to_str().unwrap(), "--permissive", "balance", "--flat"]);
    assert!(balances.contains(&bob_holds), "ledger does not see bob's {bob_holds}:\n{balances}");
    assert_eq!(house.q(&["verify", "qwallet"]).code, Some(0));
}

fn run(mut program: Command, arguments: &[&str]) -> String {
    let answer =
        oracle::ask(program.args(arguments).env("LC_ALL", "C.UTF-8"), "").expect("the program answers");
    String::from_utf8_lossy(&answer).into_owned()
}
