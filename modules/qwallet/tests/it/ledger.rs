//! The books in the eyes of hledger and ledger.

use std::{collections::BTreeMap, io::Write as _, path::Path};

use q_contract::Text;
use q_testkit::{World, on_each_world, oracle};
use qwallet_api::{
    CreateBatch, CreateIntent, CreateIntentRequest, ExportLedger, ExportRequest, SignIntent, SignRequest,
};

use crate::support::{Bank, Person, code, fresh, item, sign};

async fn export(bank: &Bank, operator: &Person, format: &str) -> String {
    bank.world.make_operator(&operator.did);
    let request = ExportRequest { format: format.into() };
    let Text(text) = operator.client.call::<ExportLedger>(&request).await.unwrap();
    text
}

/// Payments of awkward sizes to seven people, and one hold: books worth reading.
async fn busy(world: World) -> (Bank, Vec<Person>) {
    let bank = Bank::open(world).await;
    let mut people = vec![bank.person("ann", "10000").await];
    for number in 0..7 {
        people.push(bank.person(&format!("payee{number}"), "0").await);
    }
    let items = (1..=40usize).map(|number| {
        let payee = &people[1 + number % 7];
        item(&payee.wallet.wallet_ref, &format!("{number}.{:0>18}", number * 7_919 + 1))
    });
    let ann = &people[0];
    let batch = bank.signed_batch(bank.batch(ann, items.collect()), ann);
    let paid = ann.client.clone().with_key(fresh()).call::<CreateBatch>(&batch).await.unwrap();
    assert_eq!(paid.committed, 40);
    let request = CreateIntentRequest {
        amount: "5".into(),
        currency: "QToken".into(),
        recipient: people[1].did.to_string(),
        purpose: None,
        expires_in: None,
        wallet: None,
    };
    let intent = ann.client.clone().with_key(fresh()).call::<CreateIntent>(&request).await.unwrap();
    let signature = sign(intent.signing_input.as_bytes(), &ann.did, &ann.key);
    let request = SignRequest { intent_id: intent.intent_id, signature };
    ann.client.clone().with_key(fresh()).call::<SignIntent>(&request).await.unwrap();
    (bank, people)
}

/// Runs a foreign program on the journal and answers what it printed.
fn run(program: &str, journal: &Path, arguments: &[&str]) -> Option<String> {
    let mut command = oracle::program(program)?;
    let answer = oracle::ask(command.env("LANG", "C.UTF-8").arg("-f").arg(journal).args(arguments), "");
    let answer = answer.unwrap_or_else(|complaint| panic!("{program} {arguments:?}: {complaint}"));
    Some(String::from_utf8(answer).unwrap())
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

/// What each wallet holds, as the foreign programs name and sign it.
async fn ours(bank: &Bank, people: &[Person]) -> BTreeMap<String, String> {
    let mut balances = BTreeMap::new();
    for person in people {
        let posted = bank.balance(person).await.1;
        balances.insert(format!("liabilities:wallet:{}", person.wallet.wallet_ref), posted);
    }
    balances
}

/// The wallets of a foreign balance, without sign and trailing zeros.
fn theirs(lines: impl Iterator<Item = (String, String)>) -> BTreeMap<String, String> {
    let wallets = lines.filter(|(account, _)| account.starts_with("liabilities:wallet:"));
    wallets
        .map(|(account, amount)| {
            let number = amount.trim_start_matches('-').trim_end_matches(" QToken");
            let number = if number.contains('.') {
                number.trim_end_matches('0').trim_end_matches('.')
            } else {
                number
            };
            (account, number.to_owned())
        })
        .collect()
}

on_each_world!(hledger_confirms_every_balance, async |world: World| {
    let (bank, people) = busy(world).await;
    let journal = file(&export(&bank, &people[0], "hledger").await);
    if run("hledger", journal.path(), &["check", "-s"]).is_some() {
        let csv =
            run("hledger", journal.path(), &["bal", "-N", "-O", "csv", "--flat", "cur:QToken"]).unwrap();
        let lines = csv.lines().skip(1).filter_map(|line| {
            let (account, amount) = line.split_once("\",\"")?;
            Some((account.trim_matches('"').to_owned(), amount.trim_matches('"').to_owned()))
        });
        assert_eq!(theirs(lines), ours(&bank, &people).await);
    }
    bank.close().await;
});

on_each_world!(ledger_confirms_every_balance, async |world: World| {
    let (bank, people) = busy(world).await;
    let journal = file(&export(&bank, &people[0], "ledger").await);
    let arguments = [
        "--pedantic",
        "--explicit",
        "bal",
        "--flat",
        "--no-total",
        "--empty",
        "--balance-format",
        "%(account)\t%(display_total)\n",
    ];
    if let Some(text) = run("ledger", journal.path(), &arguments) {
        let lines = text.lines().filter_map(|line| {
            let (account, amount) = line.split_once('\t')?;
            Some((account.trim().to_owned(), amount.trim().to_owned()))
        });
        assert_eq!(theirs(lines), ours(&bank, &people).await);
    }
    bank.close().await;
});

on_each_world!(a_foreign_program_notices_a_changed_journal, async |world: World| {
    let (bank, people) = busy(world).await;
    let journal = export(&bank, &people[0], "hledger").await;
    if let Some(mut hledger) = oracle::program("hledger") {
        let place = journal.find("  1.000000000000007920 QToken").unwrap();
        let changed = file(&format!("{}  2{}", &journal[..place], &journal[place + 3..]));
        let output = hledger.arg("-f").arg(changed.path()).args(["check", "-s"]).output().unwrap();
        assert!(!output.status.success());
    }
    bank.close().await;
});

on_each_world!(lines_replay_to_the_same_balances, async |world: World| {
    let (bank, people) = busy(world).await;
    let text = export(&bank, &people[0], "ndjson").await;
    let mut last: BTreeMap<String, String> = BTreeMap::new();
    let mut seq = 0;
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        seq += 1;
        assert_eq!(line["seq"], seq);
        for side in ["debit", "credit"] {
            let account = line[side].as_str().unwrap().to_owned();
            last.insert(account, line[format!("{side}Balance")].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(seq, 1 + 40 * 3 + 3);
    last.retain(|account, _| account.starts_with("liabilities:wallet:"));
    assert_eq!(last, ours(&bank, &people).await);
    let operator = &people[0].client;
    let unknown = operator.call::<ExportLedger>(&ExportRequest { format: "xlsx".into() }).await;
    assert_eq!(code(unknown), "EXPORT_NOT_REPRESENTABLE");
    bank.close().await;
});
