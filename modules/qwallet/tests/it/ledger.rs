//! The books in the eyes of hledger, ledger and Beancount, and as lines that replay.

use std::{collections::BTreeMap, io::Write as _, path::Path};

use q_contract::Text;
use q_core::{
    PageLimit, Scale, SignedAmount, Span, Timestamp, amount,
    hash::{self, Sha256},
};
use q_testkit::{World, on_each_world, oracle};
use qwallet::domain::{
    account::AccountId,
    chain::{self, Commit},
    transfer::{Leg, Phase, Purpose, Transfer},
};
use qwallet_api::{
    CreateBatch, CreatePayment, ExportLedger, ExportRequest, GetTrialBalance, IntentId, ListAccounts,
    ListAccountsRequest, ListHeads, ListHeadsRequest, TransactionId, TrialBalanceRequest,
};
use serde_json::Value;

use crate::{
    holds,
    support::{Bank, Person, code, fresh, intend, item, sign_it},
};

async fn export(bank: &Bank, operator: &Person, format: &str) -> String {
    bank.world.make_operator(&operator.did);
    let request = ExportRequest { format: format.into() };
    let Text(text) = operator.client.call::<ExportLedger>(&request).await.unwrap();
    text
}

/// Payments of awkward sizes to seven people, a hold, and parts taken of others: books worth reading.
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
    let intent = intend(ann, &people[1], "5").await;
    sign_it(&intent, ann).await.unwrap();
    for (payee, is_final) in [(2, false), (3, true)] {
        let held = holds::held(&bank, &people[0], &people[payee], "30.000000000000000007").await;
        for (amount, is_last) in [("7.000000000000000001", false), ("0.3", is_final)] {
            holds::take(&people[payee], &held, Some(amount), is_last).await.unwrap();
        }
    }
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

/// What an account is after the lines up to here.
#[derive(Debug, Default, PartialEq)]
struct Replayed {
    name: String,
    version: i64,
    posted: i128,
}

on_each_world!(lines_replay_to_the_same_balances_and_heads, async |world: World| {
    let (bank, people) = busy(world).await;
    let text = export(&bank, &people[0], "ndjson").await;
    let mut accounts: BTreeMap<i64, Replayed> = BTreeMap::new();
    let mut scales = BTreeMap::new();
    let mut heads: BTreeMap<i64, Sha256> = BTreeMap::new();
    let (mut leaves, mut begun, mut transfers) = (Vec::new(), Vec::new(), 0);
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let (text, number) =
            (|key: &str| line[key].as_str().unwrap(), |key: &str| line[key].as_i64().unwrap());
        match text("record") {
            "account" => {
                let scale = Scale::new(u8::try_from(number("scale")).unwrap()).unwrap();
                scales.insert(number("account"), scale);
                let name = text("name").to_owned();
                accounts.insert(number("account"), Replayed { name, ..Replayed::default() });
            }
            "transfer" => {
                let transfer = transfer(&line, scales[&number("debitAccount")]);
                transfers += 1;
                assert_eq!(hash::hex(&chain::transfer_leaf(&transfer)), text("leafHash"));
                leaves.push(chain::transfer_leaf(&transfer));
                let moved = i128::try_from(transfer.leg.amount.units()).unwrap();
                for (account, change, version, balance) in [
                    (transfer.leg.debit, -moved, transfer.debit_version, transfer.debit_balance),
                    (transfer.leg.credit, moved, transfer.credit_version, transfer.credit_balance),
                ] {
                    let replayed = accounts.get_mut(&account.0).unwrap();
                    replayed.version += 1;
                    replayed.posted += if transfer.phase.is_final_movement() { change } else { 0 };
                    let magnitude = i128::try_from(balance.magnitude().units()).unwrap();
                    let stored = if balance.is_negative() { -magnitude } else { magnitude };
                    assert_eq!((replayed.version, replayed.posted), (version, stored));
                }
            }
            "transaction" => {
                let sealed = line["sealedPurpose"].as_str();
                let sealed = sealed.map(|text| data_encoding::BASE64.decode(text.as_bytes()).unwrap());
                let leaf = chain::TransactionLeaf {
                    kind: number("typeCode"),
                    first_seq: number("firstSeq"),
                    transfer_count: number("transferCount"),
                    order_digest: &unhex(text("orderDigest")),
                    intent: line["intentId"].as_str().map(|id| id.parse::<IntentId>().unwrap().bytes()),
                    client_ref: line["clientRef"].as_str(),
                    purpose: sealed.as_deref(),
                };
                let leaf = leaf.hash(text("transactionId").parse::<TransactionId>().unwrap().bytes());
                assert_eq!(hash::hex(&leaf), text("leafHash"));
                begun.push(leaf);
            }
            "commit" => {
                leaves.append(&mut begun);
                let commit = Commit {
                    writer: number("writer"),
                    number: number("number"),
                    first_seq: number("firstSeq"),
                    transfer_count: number("transferCount"),
                    transaction_count: number("transactionCount"),
                    at: Timestamp::from_micros(number("atMicros")),
                    root: chain::root(&leaves),
                };
                leaves.clear();
                let before = heads.entry(commit.writer).or_insert(chain::GENESIS);
                *before = commit.head(before);
                assert_eq!(hash::hex(before), text("head"));
            }
            other => panic!("a record {other}"),
        }
    }
    // Two holds, two parts of each, and the rest of one.
    assert_eq!(transfers, 1 + 40 * 3 + 3 + 2 * 3 + 4 * 3 + 3);
    let operator = &people[0].client;
    let chains = operator.call::<ListHeads>(&ListHeadsRequest {}).await.unwrap().items;
    let stored: BTreeMap<i64, String> = chains.into_iter().map(|chain| (chain.writer, chain.head)).collect();
    let replayed: BTreeMap<i64, String> =
        heads.iter().map(|(writer, head)| (*writer, hash::hex(head))).collect();
    assert_eq!(replayed, stored);
    let page =
        ListAccountsRequest { limit: PageLimit::try_from(200).unwrap(), ..ListAccountsRequest::default() };
    let stored = operator.call::<ListAccounts>(&page).await.unwrap().items;
    assert_eq!(stored.len(), accounts.len());
    for account in stored {
        let replayed = &accounts[&account.account];
        let balance = account.balance.as_str();
        let magnitude = amount::parse(balance.trim_start_matches('-'), scales[&account.account]).unwrap();
        let magnitude = i128::try_from(magnitude.units()).unwrap();
        let balance = if balance.starts_with('-') { -magnitude } else { magnitude };
        assert_eq!(*replayed, Replayed { name: account.name, version: account.version, posted: balance });
    }
    let unknown = operator.call::<ExportLedger>(&ExportRequest { format: "xlsx".into() }).await;
    assert_eq!(code(unknown), "EXPORT_NOT_REPRESENTABLE");
    bank.close().await;
});

fn unhex(text: &str) -> Sha256 {
    data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap().try_into().unwrap()
}

fn transfer(line: &Value, scale: Scale) -> Transfer {
    let number = |key: &str| line[key].as_i64().unwrap();
    let amount =
        |key: &str| amount::parse(line[key].as_str().unwrap().trim_start_matches('-'), scale).unwrap();
    let balance = |key: &str| {
        let is_negative = line[key].as_str().unwrap().starts_with('-');
        if is_negative { SignedAmount::minus(amount(key)) } else { SignedAmount::plus(amount(key)) }
    };
    Transfer {
        seq: number("seq"),
        transaction: line["transactionId"].as_str().unwrap().parse().unwrap(),
        leg: Leg {
            debit: AccountId(number("debitAccount")),
            credit: AccountId(number("creditAccount")),
            amount: amount("amount"),
            purpose: Purpose::from_code(number("legCode")).unwrap(),
        },
        phase: Phase::from_code(number("phaseCode")).unwrap(),
        pending_of: line["pendingOf"].as_i64(),
        debit_version: number("debitVersion"),
        debit_balance: balance("debitBalance"),
        credit_version: number("creditVersion"),
        credit_balance: balance("creditBalance"),
    }
}

on_each_world!(beancount_confirms_every_balance, async |world: World| {
    let (bank, people) = busy(world).await;
    let journal = export(&bank, &people[0], "beancount").await;
    if let Some(mut script) = oracle::script("PyPI beancount", env!("CARGO_MANIFEST_DIR"), "statements.py") {
        let answer = oracle::ask(script.arg("beancount"), &journal).unwrap_or_else(|why| panic!("{why}"));
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        let balances = answer["balances"].as_object().unwrap().iter().map(|(account, amount)| {
            let account =
                account.trim_end_matches(" QTOKEN").replace("Liabilities:Wallet", "liabilities:wallet");
            (account, amount.as_str().unwrap().to_owned())
        });
        assert_eq!(theirs(balances), ours(&bank, &people).await);
        let lost = journal.replacen("  1.000000000000007920 QTOKEN", "  1.000000000000007921 QTOKEN", 1);
        let mut script =
            oracle::script("PyPI beancount", env!("CARGO_MANIFEST_DIR"), "statements.py").unwrap();
        assert!(oracle::ask(script.arg("beancount"), lost).is_err(), "one unit of 10^-18 is missed");
    }
    bank.close().await;
});

on_each_world!(past_books_are_those_of_then, async |world: World| {
    let (bank, people) = busy(world).await;
    bank.world.make_operator(&people[0].did);
    let operator = &people[0].client;
    // Writers that follow one another on an account are an instant apart, also where the clock stands still.
    bank.world.clock.advance(Span::seconds(1));
    let then = bank.now();
    let books = async |at| operator.call::<GetTrialBalance>(&TrialBalanceRequest { at }).await.unwrap().items;
    let before = books(None).await;
    let list = async |at| {
        let request = ListAccountsRequest { at, ..ListAccountsRequest::default() };
        let page = operator.call::<ListAccounts>(&request).await.unwrap().items;
        page.into_iter().map(|it| (it.name, it.currency, it.balance, it.version)).collect::<Vec<_>>()
    };
    let accounts = list(None).await;
    bank.world.clock.advance(Span::seconds(60));
    let ann = &people[0];
    let order = bank.signed(bank.order(ann, &people[1].wallet.wallet_ref, "7"), ann);
    ann.client.clone().with_key(fresh()).call::<CreatePayment>(&order).await.unwrap();
    bank.world.clock.advance(Span::seconds(100_000));
    bank.module.service().expire().await.unwrap();
    assert_ne!(books(None).await, before);
    assert_ne!(list(None).await, accounts);
    assert_eq!(books(Some(then)).await, before, "also what was held then");
    assert_eq!(list(Some(then)).await, accounts);
    assert!(books(Some(Timestamp::default())).await.iter().all(|row| row.debits.as_str() == "0"));
    bank.close().await;
});

on_each_world!(a_trial_balance_counts_further_than_any_account, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let service = bank.module.service();
    let before = service.trial_balance(None).await.unwrap().items.remove(0);
    assert_eq!((before.debits.as_str(), before.difference.as_str()), ("100", "0"));
    // Two accounts that turned over as much as one can, on either side.
    let wallets = [ann.wallet.wallet_id, bob.wallet.wallet_id];
    service
        .db
        .write(move |tx| {
            let sql = "UPDATE accounts SET credits_posted = $1, debits_posted = $1 WHERE wallet = $2 AND currency = 1";
            for wallet in wallets {
                tx.execute(sql, q_db::params![[0xff_u8; 16], wallet.bytes()])?;
            }
            Ok::<_, q_db::DbError>(())
        })
        .await
        .unwrap();
    let row = service.trial_balance(None).await.unwrap().items.remove(0);
    // Twice 2^128 - 1 units, and the hundred that the house issued.
    assert_eq!(row.debits.as_str(), "680564733841876927026.74921486353642291");
    assert_eq!(row.credits.as_str(), "680564733841876926926.74921486353642291");
    assert_eq!((row.difference.as_str(), row.in_circulation.as_str()), ("100", "100"));
    bank.world.abandon().await;
});
