//! Statements and figures: what they say, and what other people's programs read in them.

use std::{collections::BTreeMap, io::Write as _};

use q_contract::CallError;
use q_core::{PageLimit, Span, Timestamp};
use q_db::StopCause;
use q_runtime::Module as _;
use q_testkit::{World, on_each_world, oracle};
use qwallet_api::{
    CreatePayment, GetStatement, GetStats, ListTransactions, ListTransactionsRequest, PaymentRequest,
    Statement, StatementRequest, StatsRequest, Transaction,
};
use serde_json::Value;

use crate::support::{Bank, Person, code, fresh, problem};

/// What people write: quotes, line breaks, another direction, and what begins comments, fields and formulas.
const ODD: [&str; 7] = [
    "plain bread",
    "\"quoted\" 'and' \\back\\",
    "two\r\nlines\tand = a formula",
    "=HYPERLINK(\"http://x\")",
    "a; b | c, d % e # f ^g {h} [i] <j> &k;",
    "שלום עולם \u{202E}gnihtyna\u{202C} مرحبا",
    "  @ + - 2026-01-01 * (x) open Assets:A \u{FFFE}\u{7}",
];

fn ask(person: &Person, format: &str) -> StatementRequest {
    StatementRequest {
        wallet_id: person.wallet.wallet_ref.clone(),
        currency: None,
        from: None,
        to: None,
        format: Some(format.into()),
    }
}

async fn document(person: &Person, request: &StatementRequest) -> Result<String, CallError> {
    let document = person.client.call::<GetStatement>(request).await?;
    Ok(String::from_utf8(document.bytes).unwrap())
}

async fn read(person: &Person, request: StatementRequest) -> Statement {
    serde_json::from_str(&document(person, &request).await.unwrap()).unwrap()
}

/// What a foreign program reads in a document, or nothing where it is not there.
fn foreign(program: &str, form: &str, document: &str) -> Option<Value> {
    let mut script = oracle::script(program, env!("CARGO_MANIFEST_DIR"), "statements.py")?;
    let answer = oracle::ask(script.env("PYTHONIOENCODING", "utf-8").arg(form), document);
    let answer = answer.unwrap_or_else(|complaint| panic!("{program}: {complaint}\n{document}"));
    Some(serde_json::from_slice(&answer).unwrap())
}

/// Runs a program on a journal and answers what it printed.
fn run(program: &str, journal: &str, arguments: &[&str]) -> Option<String> {
    let mut command = oracle::program(program)?;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(journal.as_bytes()).unwrap();
    let answer = oracle::ask(command.env("LANG", "C.UTF-8").arg("-f").arg(file.path()).args(arguments), "");
    let answer = answer.unwrap_or_else(|complaint| panic!("{program}: {complaint}\n{journal}"));
    Some(String::from_utf8(answer).unwrap())
}

async fn pay(bank: &Bank, payer: &Person, payee: &Person, amount: &str, purpose: &str) -> Transaction {
    let order = bank.order(payer, &payee.wallet.wallet_ref, amount);
    let order =
        PaymentRequest { purpose: Some(purpose.into()), max_fees: "10000000000000000000".into(), ..order };
    let order = bank.signed(order, payer);
    payer.client.clone().with_key(fresh()).call::<CreatePayment>(&order).await.unwrap()
}

/// Two people, one of whom paid the other once for each odd purpose.
async fn odd(bank: &Bank) -> (Person, Person) {
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    for (number, purpose) in ODD.iter().enumerate() {
        bank.world.clock.advance(Span::seconds(3_600));
        pay(bank, &ann, &bob, &format!("{}", number + 2), purpose).await;
    }
    bank.world.clock.advance(Span::seconds(1));
    (ann, bob)
}

fn decimal(text: &str) -> Vec<String> {
    // As the foreign programs write them: trailing zeros say nothing.
    let number = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text };
    vec![number.to_owned()]
}

fn same(theirs: &Value, ours: &str) {
    let theirs = theirs.as_str().unwrap();
    assert_eq!(decimal(theirs), decimal(ours), "{theirs} is not {ours}");
}

on_each_world!(opening_and_entries_are_closing_and_months_are_numbered, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = odd(&bank).await;
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let present = read(&ann, ask(&ann, "json")).await;
    assert_eq!((present.statement_number, present.opening.as_str()), (None, "0"));
    assert_eq!((present.closing.as_str(), present.entries.len()), (bank.balance(&ann).await.1.as_str(), 22));
    assert_eq!(present.from, at("2026-11-01T00:00:00Z"));
    bank.world.clock.advance(Span::seconds(30 * 86_400));
    pay(&bank, &ann, &bob, "1", "in December").await;
    bank.world.clock.advance(Span::seconds(62 * 86_400));
    let months =
        ["2026-11", "2026-12", "2027-01", "2027-02"].map(|month| at(&format!("{month}-01T00:00:00Z")));
    let mut opening = "0".to_owned();
    for (number, month) in (1i64..).zip(months.windows(2)) {
        let request = StatementRequest { from: Some(month[0]), to: Some(month[1]), ..ask(&ann, "json") };
        let statement = read(&ann, request.clone()).await;
        assert_eq!(
            (statement.statement_number, statement.opening.as_str()),
            (Some(number), opening.as_str())
        );
        assert_eq!(statement.statement_id, format!("{}-1-{number}", ann.wallet.wallet_ref));
        let again = read(&ann, request).await;
        assert_eq!((again.statement_id, again.entries), (statement.statement_id, statement.entries));
        opening = statement.closing.as_str().to_owned();
    }
    assert_eq!(opening, bank.balance(&ann).await.1);
    // An extract across the months holds them all and has no number.
    let all = StatementRequest { from: Some(months[0]), to: Some(months[3]), ..ask(&ann, "json") };
    let all = read(&ann, all).await;
    assert_eq!((all.statement_number, all.entries.len()), (None, 25));
    let backwards = StatementRequest { from: Some(months[1]), to: Some(months[0]), ..ask(&ann, "json") };
    assert_eq!(code(document(&ann, &backwards).await), "INVALID_REQUEST");
    assert_eq!(code(document(&ann, &ask(&ann, "xlsx")).await), "INVALID_REQUEST");
    assert_eq!(code(document(&bob, &ask(&ann, "json")).await), "WALLET_NOT_FOUND");
    bank.close().await;
});

on_each_world!(foreign_programs_read_odd_words_and_agree, async |world: World| {
    let bank = Bank::open_with(
        world,
        crate::support::settings(&[
            ("limit_transaction", "none"),
            ("limit_daily", "none"),
            ("limit_monthly", "none"),
            ("iso_alias", "XTS"),
        ]),
    )
    .await;
    let (ann, bob) = odd(&bank).await;
    let ours = read(&ann, ask(&ann, "json")).await;
    let amounts: Vec<&str> = ours.entries.iter().map(|entry| entry.amount.as_str()).collect();
    let agree = |theirs: &Value| {
        let theirs = theirs.as_array().unwrap();
        assert_eq!(theirs.len(), amounts.len());
        theirs.iter().zip(&amounts).for_each(|(theirs, ours)| same(theirs, ours));
    };
    if let Some(camt) =
        foreign("PyPI camt053", "camt053", &document(&ann, &ask(&ann, "camt053")).await.unwrap())
    {
        agree(&camt["amounts"]);
        same(&camt["balances"]["OPBD"], "0");
        same(&camt["balances"]["CLBD"], ours.closing.as_str());
        assert_eq!(camt["account"], ann.wallet.wallet_ref.as_str());
        assert!(
            camt["purposes"].as_array().unwrap().iter().any(|purpose| purpose == "שלום עולם gnihtyna مرحبا")
        );
    }
    if let Some(ofx) = foreign("PyPI ofxtools", "ofx", &document(&ann, &ask(&ann, "ofx")).await.unwrap()) {
        agree(&ofx["amounts"]);
        same(&ofx["closing"], ours.closing.as_str());
        assert_eq!(
            (ofx["account"].as_str(), ofx["currency"].as_str()),
            (Some(ann.wallet.wallet_ref.as_str()), Some("XXX"))
        );
        let ids: std::collections::BTreeSet<String> =
            ofx["ids"].as_array().unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(ids.len(), amounts.len(), "every entry has an id of its own");
    }
    let bean = document(&ann, &ask(&ann, "beancount")).await.unwrap();
    if let Some(bean) = foreign("PyPI beancount", "beancount", &bean) {
        same(&bean["balances"][format!("Assets:Q:{} QTOKEN", ann.wallet.wallet_ref)], ours.closing.as_str());
        let narrations = bean["narrations"].to_string();
        assert!(narrations.contains("a; b | c, d % e # f ^g {h} [i] <j> &k;"), "{narrations}");
    }
    for (program, format) in [("hledger", "hledger"), ("ledger", "ledger")] {
        let journal = document(&ann, &ask(&ann, format)).await.unwrap();
        let checks: [&[&str]; 2] = [&["check", "-s"], &["--pedantic", "--explicit", "bal"]];
        let check = checks[usize::from(program == "ledger")];
        let Some(_) = run(program, &journal, check) else { continue };
        let balance = run(
            program,
            &journal,
            &["bal", "--flat", "-N", "assets:q"]
                .map(|it| if program == "ledger" && it == "-N" { "--no-total" } else { it }),
        );
        let balance = balance.unwrap();
        let number = balance.split_whitespace().next().unwrap();
        assert_eq!(decimal(number), decimal(ours.closing.as_str()), "{balance}");
    }
    // What bob received is there to the last word in a table, and no cell is computed.
    let table = document(&bob, &ask(&bob, "csv")).await.unwrap();
    let mut rows = csv::Reader::from_reader(table.as_bytes());
    let rows: Vec<BTreeMap<String, String>> = rows.deserialize().map(Result::unwrap).collect();
    assert_eq!(rows.len(), ODD.len() + 2);
    for (row, purpose) in rows[1..].iter().zip(ODD) {
        let cell = &row["purpose"];
        let is_formula = purpose.starts_with('=');
        assert_eq!(cell.strip_prefix('\'').unwrap_or(cell), purpose);
        assert_eq!(cell.starts_with('\''), is_formula, "{cell}");
    }
    assert_eq!(rows.last().unwrap()["balance"], bank.balance(&bob).await.1);
    bank.close().await;
});

on_each_world!(a_store_that_takes_no_writes_still_tells_everything, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = odd(&bank).await;
    let db = bank.module.db();
    // Nothing of the journal is merged into histories yet, and now nothing can be.
    db.stop_writes(StopCause::Ordered, "a look at the books");
    let statement = read(&ann, ask(&ann, "json")).await;
    assert_eq!(
        (statement.entries.len(), statement.closing),
        (22, bank.balance(&ann).await.1.as_str().into())
    );
    let page = ListTransactionsRequest {
        squid_id: bob.wallet.wallet_ref.clone(),
        limit: PageLimit::try_from(50).unwrap(),
        ..ListTransactionsRequest::default()
    };
    assert_eq!(bob.client.call::<ListTransactions>(&page).await.unwrap().items.len(), 7);
    db.resume_writes(None, "operator").await.unwrap();
    bank.close().await;
});

on_each_world!(a_format_that_would_round_refuses, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "0").await, bank.person("bob", "0").await);
    bank.mint(&ann, "150000000000000000000").await;
    pay(&bank, &ann, &bob, "123456789012345678901.123456789012345678", "all of it").await;
    bank.world.clock.advance(Span::seconds(1));
    let refused = problem(document(&ann, &ask(&ann, "camt053")).await);
    assert_eq!((refused.code.as_str(), refused.status), ("EXPORT_NOT_REPRESENTABLE", 422));
    assert!(refused.hint.unwrap().contains("format=csv"));
    let refused = problem(document(&ann, &ask(&ann, "beancount")).await);
    assert!(refused.hint.unwrap().contains("format=hledger"), "{:?}", refused.detail);
    let holds = bank.balance(&bob).await.1;
    assert_eq!(holds, "123456789012345678901.123456789012345678");
    if let Some(ofx) = foreign("PyPI ofxtools", "ofx", &document(&bob, &ask(&bob, "ofx")).await.unwrap()) {
        assert_eq!(
            (ofx["closing"].as_str(), ofx["amounts"][0].as_str()),
            (Some(holds.as_str()), Some(holds.as_str()))
        );
    }
    for program in ["hledger", "ledger"] {
        let journal = document(&bob, &ask(&bob, program)).await.unwrap();
        let Some(balance) = run(program, &journal, &["bal", "--flat", "assets:q"]) else { continue };
        assert!(balance.contains(&holds), "{program}: {balance}");
    }
    bank.close().await;
});

on_each_world!(figures_of_the_last_weeks_by_kind, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    bank.world.clock.advance(Span::seconds(20 * 86_400));
    pay(&bank, &ann, &bob, "10", "a").await;
    pay(&bank, &ann, &bob, "5", "b").await;
    pay(&bank, &bob, &ann, "1", "c").await;
    bank.world.clock.advance(Span::seconds(1));
    let stats = async |period: Option<&str>| {
        let request =
            StatsRequest { squid_id: ann.wallet.wallet_ref.clone(), period: period.map(str::to_owned) };
        ann.client.call::<GetStats>(&request).await
    };
    let week = stats(Some("7d")).await.unwrap();
    let rows: Vec<_> = week
        .items
        .iter()
        .map(|row| {
            (row.r#type.as_str(), row.count, row.received.as_str(), row.given.as_str(), row.fees.as_str())
        })
        .collect();
    assert_eq!(rows, [("payment", 3, "1", "15", "0.09")]);
    let month = stats(None).await.unwrap();
    let kinds: Vec<_> = month.items.iter().map(|row| (row.r#type.as_str(), row.received.as_str())).collect();
    assert_eq!((month.period.as_str(), kinds), ("30d", vec![("faucet", "100"), ("payment", "1")]));
    assert_eq!(code(stats(Some("1y")).await), "INVALID_REQUEST");
    let page = ListTransactionsRequest {
        squid_id: ann.wallet.wallet_ref.clone(),
        limit: PageLimit::try_from(50).unwrap(),
        ..ListTransactionsRequest::default()
    };
    let entries = ann.client.call::<ListTransactions>(&page).await.unwrap().items;
    assert_eq!(entries.len(), 1 + 3 + 3 + 1);
    bank.close().await;
});
