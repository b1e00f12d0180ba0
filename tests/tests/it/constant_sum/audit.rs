//! What was answered, what is in the books, and whether that is the same.

use std::{
    collections::BTreeMap,
    fs,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use parking_lot::Mutex;
use q_core::{Scale, amount};
use q_testkit::oracle;
use q_tests::Instance;
use serde_json::Value;

use super::{
    acts::{Answer, Asked},
    people::{Life, OPERATOR},
};

/// How many answered requests are kept to be asked for again.
const KEPT_MAX: usize = 4_000;
/// How many payments are kept to be given back.
const PAYMENTS_MAX: usize = 2_000;
/// Fewer operations in a minute than any machine does would mean that nothing was tried.
const DONE_MIN: u64 = 300;

/// What became of the money of a transaction, as far as was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It has moved.
    Moved,
    /// It was held, and is free again.
    Freed,
    /// It was held: it may be free again since, because its time was over.
    Open,
}

/// Everything that was answered.
#[derive(Default)]
pub struct Answers {
    transactions: Mutex<BTreeMap<String, (i128, End)>>,
    /// How much was taken in parts of what was held.
    taken: Mutex<BTreeMap<String, i128>>,
    /// Schedules, and whose they are.
    schedules: Mutex<Vec<(String, usize)>>,
    payments: Mutex<Vec<(String, usize)>>,
    kept: Mutex<Vec<(Asked, Answer)>>,
    done: AtomicU64,
    refused: Mutex<BTreeMap<String, u64>>,
    repeated: AtomicU64,
    waiting: Mutex<BTreeMap<String, String>>,
}

impl Answers {
    /// Notes what a request that is not answered got instead of an answer.
    pub fn waits(&self, key: &str, got: String) {
        self.waiting.lock().insert(key.to_owned(), got);
    }

    /// Notes that it is answered.
    pub fn has_come(&self, key: &str) {
        self.waiting.lock().remove(key);
    }

    /// Everything that is not answered, and what it got instead.
    pub fn missing(&self) -> BTreeMap<String, String> {
        self.waiting.lock().clone()
    }

    /// Notes a transaction and its amount as answered.
    pub fn note(&self, transaction: &Value, amount: &Value, end: End) {
        let id = transaction.as_str().unwrap_or_else(|| panic!("no transaction: {transaction}")).to_owned();
        let units = units(amount.as_str().expect("an amount"));
        let mut transactions = self.transactions.lock();
        if let Some((before, was)) = transactions.insert(id.clone(), (units, end)) {
            assert!(before == units && was == End::Open, "{id} was answered twice, for {was:?} and {end:?}");
        }
    }

    /// Notes that a part was taken of what is held.
    pub fn took(&self, transaction: &Value, amount: &Value) {
        let id = transaction.as_str().expect("an id").to_owned();
        *self.taken.lock().entry(id).or_default() += units(amount.as_str().expect("an amount"));
    }

    /// Notes a schedule, which pays by itself.
    pub fn begun(&self, schedule: &Value, payer: usize) {
        self.schedules.lock().push((schedule.as_str().expect("an id").to_owned(), payer));
    }

    /// The schedules.
    pub fn schedules(&self) -> Vec<(String, usize)> {
        self.schedules.lock().clone()
    }

    /// Notes that a payment can be given back by `payee`.
    pub fn received(&self, transaction: &Value, payee: usize) {
        let mut payments = self.payments.lock();
        let payment = (transaction.as_str().expect("an id").to_owned(), payee);
        let place = payments.len() % PAYMENTS_MAX;
        if payments.len() < PAYMENTS_MAX { payments.push(payment) } else { payments[place] = payment }
    }

    /// A payment and who received it.
    pub fn a_payment(&self, chance: usize) -> Option<(String, usize)> {
        let payments = self.payments.lock();
        payments.get(chance % payments.len().max(1)).cloned()
    }

    /// Keeps what was carried out, or another one instead when there are many.
    pub fn remember(&self, asked: Asked, answer: Answer) {
        let mut kept = self.kept.lock();
        let number = usize::try_from(self.done.load(Ordering::Relaxed)).expect("a count");
        if kept.len() < KEPT_MAX {
            kept.push((asked, answer));
        } else {
            // An odd step walks through all places, so that old ones stay beside new ones.
            kept[number * 7_919 % KEPT_MAX] = (asked, answer);
        }
    }

    /// One of those that were carried out.
    pub fn one_of_them(&self, chance: usize) -> Option<(Asked, Answer)> {
        let kept = self.kept.lock();
        kept.get(chance % kept.len().max(1)).cloned()
    }

    /// Counts an answer.
    pub fn counted(&self, status: u16, body: &Value) {
        if status < 300 {
            self.done.fetch_add(1, Ordering::Relaxed);
        } else {
            let code = body["code"].as_str().unwrap_or("?").to_owned();
            *self.refused.lock().entry(code).or_default() += 1;
        }
    }

    /// Counts a request that was answered before and is answered alike.
    pub fn repeated(&self) {
        self.repeated.fetch_add(1, Ordering::Relaxed);
    }

    /// Everything answered is in `books` once, with its amount, and nothing else came into them since `before`.
    pub fn compare(&self, before: &Books, books: &Books) -> String {
        let (answered, taken) = (self.transactions.lock(), self.taken.lock());
        for (id, (units, end)) in answered.iter() {
            let Some(found) = books.transactions.get(id) else {
                panic!("{id} was answered and is not there")
            };
            let taken = taken.get(id).copied().unwrap_or_default();
            let is_so = match end {
                End::Moved => found.moved == *units && found.held == found.ended,
                End::Freed => found.moved == 0 && found.held == *units && found.ended == *units,
                // What was left may be free again since, because its time was over or its payee gave it up.
                End::Open => {
                    found.moved == taken && found.held == *units && [taken, *units].contains(&found.ended)
                }
            };
            assert!(is_so, "{id}: answered {units} {end:?}, found {found:?}");
        }
        for (id, found) in &books.transactions {
            let is_known = answered.contains_key(id) || before.transactions.contains_key(id);
            assert!(is_known || found.is_sweep, "{id} was never answered: {found:?}");
        }
        let (done, refused) = (self.done.load(Ordering::Relaxed), self.refused.lock());
        let repeated = self.repeated.load(Ordering::Relaxed);
        assert!(done >= DONE_MIN, "only {done} operations were carried out");
        format!(
            "{done} operations carried out, refused {refused:?}, {repeated} asked for again; {} transactions answered, each \
             there once",
            answered.len()
        )
    }
}

/// A transaction in the books.
#[derive(Debug, Default)]
pub struct Found {
    /// What its recipient got.
    moved: i128,
    /// What was held for its recipient.
    held: i128,
    /// What of that was moved or freed.
    ended: i128,
    is_sweep: bool,
}

/// The whole books, as they are exported.
pub struct Books {
    transactions: BTreeMap<String, Found>,
    /// What each account holds by name.
    balances: BTreeMap<String, i128>,
}

/// The name of the account on the other side of all money.
const ISSUANCE: &str = "issuance";

impl Books {
    /// Reads the books of `house`, adding up every account from its transfers.
    pub fn read(house: &Instance) -> Self {
        let exported = house.q(&["wallet", "export", "ndjson"]);
        assert_eq!(exported.code, Some(0), "{}", exported.complained);
        let mut books = Self { transactions: BTreeMap::new(), balances: BTreeMap::new() };
        for line in exported.said.lines() {
            let line: Value = serde_json::from_str(line).expect("lines of JSON");
            let text = |name: &str| line[name].as_str().unwrap_or_else(|| panic!("no {name} in {line}"));
            match text("record") {
                "transaction" => {
                    let id = text("transactionId").to_owned();
                    books.transactions.entry(id).or_default();
                }
                "transfer" if text("currency") == "QToken" => {
                    let units = units(text("amount"));
                    let found = books.transactions.entry(text("transactionId").to_owned()).or_default();
                    let is_fee = ["platformFee", "networkFee", "feeRefund"].contains(&text("leg"));
                    found.is_sweep |= text("leg") == "sweep";
                    let phase = text("phase");
                    if !is_fee {
                        found.moved += if ["posted", "settled"].contains(&phase) { units } else { 0 };
                        found.held += if phase == "held" { units } else { 0 };
                        found.ended += if ["settled", "voided"].contains(&phase) { units } else { 0 };
                    }
                    if ["posted", "settled"].contains(&phase) {
                        *books.balances.entry(text("debit").to_owned()).or_default() -= units;
                        *books.balances.entry(text("credit").to_owned()).or_default() += units;
                    }
                }
                _ => {}
            }
        }
        books
    }

    /// How much money there is: what all accounts hold together but the one it came out of.
    pub fn issued(&self) -> i128 {
        let (out, held): (Vec<_>, Vec<_>) =
            self.balances.iter().partition(|(name, _)| name.contains(ISSUANCE));
        let sum = |list: &[(&String, &i128)]| list.iter().map(|(_, units)| **units).sum::<i128>();
        assert_eq!(sum(&held), -sum(&out), "{:?}", self.balances);
        sum(&held)
    }
}

/// Units of a decimal text, also of a negative one.
fn units(text: &str) -> i128 {
    let scale = Scale::new(18).expect("a scale");
    let magnitude =
        amount::parse(text.trim_start_matches('-'), scale).unwrap_or_else(|error| panic!("{text}: {error}"));
    let magnitude = i128::try_from(magnitude.units()).expect("less than all there is");
    if text.starts_with('-') { -magnitude } else { magnitude }
}

async fn get(life: &Life, path: &str) -> Option<Value> {
    let answer = life.client(Some(OPERATOR)).send("GET", path, Bytes::new(), "").await.ok()?;
    let status = answer.status().as_u16();
    // A program that has just started may not have heard yet whom to believe.
    assert!(status == 200 || status == 503, "{path}: {status} {}", String::from_utf8_lossy(answer.body()));
    if status == 200 { serde_json::from_slice(answer.body()).ok() } else { None }
}

/// The two sides of the books are equal now, and all money is there; false when the program did not answer.
pub async fn look(life: &Life, issued: &i128) -> bool {
    let Some(books) = get(life, "/ledger/trial-balance").await else { return false };
    let row = books["items"].as_array().expect("rows").iter().find(|row| row["currency"] == "QToken");
    let row = row.unwrap_or_else(|| panic!("no money: {books}"));
    assert_eq!((&row["debits"], &row["difference"]), (&row["credits"], &"0".into()), "{row}");
    assert_eq!(row["debitsPending"], row["creditsPending"], "{row}");
    assert_eq!(units(row["inCirculation"].as_str().expect("an amount")), *issued, "{row}");
    true
}

/// What all accounts hold together, at one instant, is what was issued; false when the program did not answer.
pub async fn add_up(life: &Life, issued: &i128) -> bool {
    let Some(books) = get(life, "/ledger/trial-balance").await else { return false };
    let at = books["asOf"]["time"].as_str().expect("an instant").to_owned();
    let (mut sum, mut cursor) = (0, String::new());
    loop {
        let path = format!("/ledger/accounts?limit=200&at={at}{cursor}");
        let Some(page) = get(life, &path).await else { return false };
        for account in page["items"].as_array().expect("accounts") {
            if account["currency"] == "QToken" && account["kind"] != "issuance" {
                sum += units(account["balance"].as_str().expect("an amount"));
            }
        }
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(sum, *issued, "the sum of all balances at {at}");
    true
}

/// hledger finds the books strictly in order, and adds up every account to what our own lines add up to.
pub fn hledger_agrees(house: &Instance, books: &Books) {
    let Some(mut hledger) = oracle::program("hledger") else { return };
    let journal = house.scratch().join("books.journal");
    let exported = house.q(&["wallet", "export", "hledger"]);
    assert_eq!(exported.code, Some(0), "{}", exported.complained);
    fs::write(&journal, exported.said).expect("a file of the test");
    hledger.env("LC_ALL", "C.UTF-8").arg("-f").arg(&journal);
    hledger.args(["bal", "--strict", "-N", "-E", "-O", "csv", "--flat", "cur:QToken"]);
    let table = oracle::ask(&mut hledger, "").unwrap_or_else(|why| panic!("hledger: {why}"));
    let table = String::from_utf8(table).expect("text");
    let theirs: BTreeMap<String, i128> = table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let (name, amount) = line.trim_matches('"').split_once("\",\"")?;
            // What the house owes is negative in a journal.
            Some((name.to_owned(), -units(amount.trim_end_matches(" QToken"))))
        })
        .collect();
    let without_nothing = |balances: BTreeMap<String, i128>| -> BTreeMap<String, i128> {
        balances.into_iter().filter(|(_, units)| *units != 0).collect()
    };
    assert_eq!(without_nothing(theirs), without_nothing(books.balances.clone()));
}
