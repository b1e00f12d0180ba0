//! Somebody's bookkeeping: a table of payouts, statements for other programs, figures, the whole books.

use std::fs;

use q_testkit::oracle;
use q_tests::{Instance, Payer};
use serde_json::Value;

#[test]
fn a_table_is_paid_and_every_program_reads_the_statement() {
    let Some(house) = Instance::demo(&[]) else { return };
    let (alice, bob) = (Payer::of(&house, "alice"), Payer::of(&house, "bob"));
    let file = |name: &str| house.scratch().join(name).to_str().unwrap().to_owned();

    let table = format!(
        "recipient,amount,reference,purpose\n{},1.25,R-1,bread\n{},2,R-2,\n",
        bob.wallet(),
        bob.wallet()
    );
    fs::write(file("payouts.csv"), &table).unwrap();
    let looked = house.q(&["wallet", "import", &file("payouts.csv"), "--as", "alice", "--json"]).json();
    assert_eq!((looked["format"].as_str(), looked["refused"].as_u64()), (Some("csv"), Some(0)));
    let paid =
        house.q(&["wallet", "import", &file("payouts.csv"), "--execute", "--as", "alice", "--json"]).json();
    assert_eq!(paid["committed"], 2);
    fs::write(file("formula.csv"), table.replace("bread", "=1+1")).unwrap();
    let refused = house.q(&["wallet", "import", &file("formula.csv"), "--as", "alice"]);
    assert!(refused.code == Some(5) && refused.complained.contains("line 2"), "{}", refused.complained);

    let statement = house.q(&["wallet", "statement", "--as", "bob", "--json"]).json();
    let balance = house.q(&["wallet", "balance", "--as", "bob", "--json"]).json();
    assert_eq!(statement["closing"], balance["balances"]["QToken"]["posted"]);
    assert!(statement["entries"].as_array().unwrap().iter().any(|entry| entry["purpose"] == "bread"));
    for (format, beginning) in
        [("csv", "statement,date,"), ("camt053", "<?xml"), ("ofx", "<?xml"), ("beancount", "; X-")]
    {
        let out = file(format);
        let written = house.q(&["wallet", "statement", "--format", format, "--out", &out, "--as", "bob"]);
        assert_eq!(written.code, Some(0), "{}", written.complained);
        assert!(fs::read_to_string(&out).unwrap().starts_with(beginning), "{format}");
    }
    let month = house.q(&["wallet", "statement", "--month", "2020-01", "--as", "bob", "--json"]).json();
    assert_eq!((month["closing"].as_str(), month.get("statementNumber")), (Some("0"), None::<&Value>));
    for (program, check) in [("hledger", "check"), ("ledger", "balance")] {
        let Some(mut reader) = oracle::program(program) else { continue };
        let out = file(program);
        house.q(&["wallet", "statement", "--format", program, "--out", &out, "--as", "alice"]);
        let read = reader.env("LANG", "C.UTF-8").args(["-f", &out, check]).output().unwrap();
        assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    }

    let stats = house.q(&["wallet", "stats", "--period", "7d", "--as", "bob", "--json"]).json();
    let payments = stats["items"].as_array().unwrap().iter().find(|row| row["type"] == "payment").unwrap();
    assert_eq!(payments["received"], statement["closing"]);
    let found = house.q(&["wallet", "history", "--search", "BREAD", "--as", "alice", "--json"]).json();
    let legs: Vec<_> =
        found["items"].as_array().unwrap().iter().map(|entry| entry["leg"].as_str().unwrap()).collect();
    assert!(legs.contains(&"principal") && legs.len() == 3, "the payment and its fees: {legs:?}");
    assert_eq!(
        found["items"].as_array().unwrap().iter().filter(|entry| entry["fees"].is_object()).count(),
        1
    );

    let exported = house.q(&["wallet", "export", "--format", "ndjson", "--out", &file("books.ndjson")]);
    assert_eq!(exported.code, Some(0), "{}", exported.complained);
    let lines = fs::read_to_string(file("books.ndjson")).unwrap();
    assert!(lines.lines().last().unwrap().contains("\"head\""));
    let past = house.q(&["wallet", "trial-balance", "--at", "2020-01-01", "--json"]).json();
    assert!(
        past["items"].as_array().unwrap().iter().all(|row| row["debits"] == "0" && row["difference"] == "0")
    );
    assert_eq!(alice.wallet().len(), 26);
    assert_eq!(house.q(&["verify", "qwallet"]).code, Some(0));
}
