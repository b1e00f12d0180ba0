//! What one thread does: everything a wallet can, chosen at random, each asked again until it is answered.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use q_core::{Amount, Scale};
use q_tests::Payer;
use qwallet_api::{BatchItem, ESCROW_TYP, EscrowOrder, REFUND_TYP, RefundOrder, signing::signing_input};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha12Rng;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    audit::{Answers, End},
    people::{FROZEN_AT_TIMES, Life, NAMES, People},
};

pub(super) const CURRENCY: &str = "QToken";
const JSON: &str = "application/json";
/// How long a thread waits for the next life before it tries this one again.
const NEXT_LIFE_MAX: Duration = Duration::from_millis(300);
/// How often one operation is asked for before something is wrong.
const ASKED_MAX: u32 = 2_000;

/// A request: the same bytes under the same key, however often it is sent.
#[derive(Debug, Clone)]
pub struct Asked {
    pub(super) who: Option<&'static str>,
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) body: Value,
    pub(super) key: String,
}

/// What was answered.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Answer {
    /// The body, where the request was carried out.
    pub(super) fn done(&self) -> Option<&Value> {
        (200..300).contains(&self.status).then_some(&self.body)
    }
}

/// Whether two answers tell of the same thing. What became of it since, such as the transaction of an intent that was
/// signed, may be told too.
fn is_same(first: &Value, again: &Value) -> bool {
    let members =
        ["transactionId", "batchId", "refundId", "escrowId", "intentId", "requestId", "amount", "results"];
    members.iter().all(|name| first[name].is_null() || first[name] == again[name])
}

/// One of the threads.
pub struct Client {
    number: u64,
    dice: ChaCha12Rng,
    asked: u64,
    pub(super) people: Arc<People>,
    life: watch::Receiver<Life>,
    pub(super) answers: Arc<Answers>,
}

impl Client {
    pub fn new(
        number: u64,
        seed: u64,
        people: Arc<People>,
        life: watch::Receiver<Life>,
        answers: Arc<Answers>,
    ) -> Self {
        let dice = ChaCha12Rng::seed_from_u64(seed.wrapping_add(number + 1));
        Self { number, dice, asked: 0, people, life, answers }
    }

    /// Begins nothing after `ends_at`, and returns when everything begun is answered.
    pub async fn act_until(mut self, ends_at: Instant) {
        while Instant::now() < ends_at {
            match self.dice.random_range(0..100) {
                0..22 => self.pay().await,
                22..31 => self.batch().await,
                31..43 => self.three_steps().await,
                43..53 => self.hold_and_take().await,
                53..60 => self.refund().await,
                60..66 => self.escrow().await,
                66..71 => self.money_request().await,
                71..76 => self.schedule().await,
                76..79 => self.subscribe().await,
                79..85 => self.approved().await,
                85..87 => self.freeze().await,
                _ => self.again().await,
            }
        }
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.dice.random_range(0..bound)
    }

    fn key(&mut self) -> String {
        self.asked += 1;
        format!("sum-{}-{:06}", self.number, self.asked)
    }

    /// Two of the people.
    pub(super) fn pair(&mut self) -> (usize, usize) {
        let from = self.below(NAMES.len());
        (from, (from + 1 + self.below(NAMES.len() - 1)) % NAMES.len())
    }

    pub(super) fn payer(&self, who: usize) -> &Payer {
        &self.people.0[who]
    }

    pub(super) fn wallet(&self, who: usize) -> String {
        self.payer(who).wallet().to_owned()
    }

    /// Mostly small change to the last unit; now and then more than anybody has or may spend.
    pub(super) fn amount(&mut self) -> String {
        let scale = Scale::new(18).expect("a scale");
        let whole = scale.units_per_whole();
        let units = match self.below(1_000) {
            0..2 => 1,
            2..8 => 20_000 * whole,
            8..14 => 500 * whole,
            14..16 => self.dice.random_range(1..30 * whole),
            _ => self.dice.random_range(1..whole / 100),
        };
        Amount::from_units(units).display(scale)
    }

    /// Whom to pay: mostly the wallet, sometimes nobody, oneself, or so little that it cannot be written.
    pub(super) fn wanted(&mut self, from: usize, to: usize) -> (String, String) {
        let amount = self.amount();
        match self.below(40) {
            0 => ("QQ0000000000000000000000".to_owned(), amount),
            1 => (self.wallet(from), amount),
            2 => (self.wallet(to), "0.0000000000000000001".to_owned()),
            3 => (self.payer(to).did().to_string(), amount),
            _ => (self.wallet(to), amount),
        }
    }

    /// Asks until there is an answer: a program that is gone, starting or busy has given none.
    pub(super) async fn ask(&self, asked: &Asked) -> Answer {
        let mut life = self.life.clone();
        for _ in 0..ASKED_MAX {
            let current = life.borrow_and_update().clone();
            let client = current.client(asked.who).with_key(&asked.key);
            let body = if asked.body.is_null() { Bytes::new() } else { Bytes::from(asked.body.to_string()) };
            let got = match client.send(asked.method, &asked.path, body, JSON).await {
                Ok(answer) => {
                    let status = answer.status().as_u16();
                    let body: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
                    let is_in_flight = body["code"] == "IDEMPOTENCY_IN_FLIGHT";
                    assert!(status != 500 && status != 401, "{asked:?} is answered {status} {body}");
                    if status < 500 && !is_in_flight {
                        self.answers.has_come(&asked.key);
                        return Answer { status, body };
                    }
                    format!("{status} {body}")
                }
                Err(error) => error.to_string(),
            };
            self.answers.waits(&asked.key, format!("{} {}: {got}", asked.method, asked.path));
            // A minute's silence would be found by the bound on the whole run.
            let _ = tokio::time::timeout(NEXT_LIFE_MAX, life.changed()).await;
        }
        panic!("no answer to {asked:?}");
    }

    pub(super) fn asking(
        &mut self,
        who: Option<usize>,
        method: &'static str,
        path: &str,
        body: Value,
    ) -> Asked {
        let key = self.key();
        Asked { who: who.map(|who| NAMES[who]), method, path: path.to_owned(), body, key }
    }

    /// Asks, and keeps what was carried out, to be asked for again some day.
    pub(super) async fn carry_out(&self, asked: Asked) -> Answer {
        let answer = self.ask(&asked).await;
        self.answers.counted(answer.status, &answer.body);
        if answer.done().is_some() {
            self.answers.remember(asked, answer.clone());
        }
        answer
    }

    /// Notes that a payment was answered as settled.
    fn note_payment(&self, transaction: &Value, payee: usize) {
        assert_eq!(transaction["status"], "SETTLED", "{transaction}");
        self.answers.note(&transaction["transactionId"], &transaction["amount"], End::Moved);
        self.answers.received(&transaction["transactionId"], payee);
    }

    async fn pay(&mut self) {
        let (from, to) = self.pair();
        let (recipient, amount) = self.wanted(from, to);
        let mut asked = self.asking(None, "POST", "/payments", Value::Null);
        asked.body = wire(&self.payer(from).order(&recipient, &amount, &asked.key));
        let answer = self.carry_out(asked).await;
        if let Some(paid) = answer.done() {
            self.note_payment(paid, to);
        }
    }

    async fn batch(&mut self) {
        let (from, to) = self.pair();
        let is_atomic = self.below(2) == 0;
        let items: Vec<BatchItem> = (0..=self.below(24))
            .map(|_| {
                let (recipient, amount) = self.wanted(from, to);
                BatchItem { amount: amount.as_str().into(), client_ref: None, purpose: None, recipient }
            })
            .collect();
        let mut asked = self.asking(None, "POST", "/payments/batch", Value::Null);
        asked.body = wire(&self.payer(from).batch_of(items.clone(), is_atomic, &asked.key));
        let answer = self.carry_out(asked).await;
        let Some(batch) = answer.done() else { return };
        let results = batch["results"].as_array().expect("results");
        assert_eq!(results.len(), items.len(), "{batch}");
        let paid: Vec<_> =
            results.iter().zip(&items).filter(|(it, _)| it["transactionId"].is_string()).collect();
        assert_eq!(batch["committed"], paid.len(), "{batch}");
        assert!(
            !is_atomic || paid.is_empty() || paid.len() == items.len(),
            "half of an atomic batch: {batch}"
        );
        for (result, item) in paid {
            self.answers.note(&result["transactionId"], &json!(item.amount), End::Moved);
            if item.recipient == self.wallet(to) {
                self.answers.received(&result["transactionId"], to);
            }
        }
    }

    /// Intent, signature, then payment, cancellation, both at once, or nothing until the hold lapses.
    async fn three_steps(&mut self) {
        let (from, to) = self.pair();
        let (recipient, amount) = self.wanted(from, to);
        let wanted = json!({"amount": amount, "currency": CURRENCY, "recipient": recipient, "expiresIn": 60});
        let asked = self.asking(Some(from), "POST", "/intents", wanted);
        let answer = self.carry_out(asked).await;
        let Some(intent) = answer.done() else { return };
        let place = format!("/intents/{}", text(&intent["intentId"]));
        if self.below(8) == 0 {
            let cancel = self.asking(Some(from), "DELETE", &place, Value::Null);
            let cancelled = self.carry_out(cancel).await;
            assert_eq!(cancelled.body["status"], "CANCELLED", "{cancelled:?}");
            return;
        }
        let signature = self.payer(from).sign(text(&intent["signingInput"]).as_bytes());
        let signing = json!({"intentId": intent["intentId"], "signature": signature});
        let sign = self.asking(None, "POST", "/sign", signing);
        let answer = self.carry_out(sign).await;
        let Some(signed) = answer.done() else { return };
        self.pay_or_cancel((from, to), intent, signed).await;
    }

    /// Pays what is signed, cancels it, both at once, or leaves it until it lapses.
    pub(super) async fn pay_or_cancel(&mut self, (from, to): (usize, usize), intent: &Value, signed: &Value) {
        let place = format!("/intents/{}", text(&intent["intentId"]));
        let (transaction, amount) = (&signed["transactionId"], &intent["amount"]);
        self.answers.note(transaction, amount, End::Open);
        let pay = self.asking(Some(from), "POST", "/pay", json!({"transactionId": transaction}));
        let cancel = self.asking(Some(from), "DELETE", &place, Value::Null);
        let (paid, cancelled) = match self.below(10) {
            0..5 => (Some(self.carry_out(pay).await), None),
            5..7 => (None, Some(self.carry_out(cancel).await)),
            7..9 => {
                let (paid, cancelled) = tokio::join!(self.carry_out(pay), self.carry_out(cancel));
                (Some(paid), Some(cancelled))
            }
            _ => return,
        };
        let paid = paid.as_ref().and_then(Answer::done);
        let is_cancelled = cancelled.is_some_and(|answer| answer.done().is_some());
        assert!(paid.is_none() || !is_cancelled, "{transaction} was paid and cancelled");
        if let Some(paid) = paid {
            self.note_payment(paid, to);
        } else if is_cancelled {
            self.answers.note(transaction, amount, End::Freed);
        }
    }

    /// Gives back some or all of a payment that somebody received, perhaps more than once.
    async fn refund(&mut self) {
        let Some((transaction, payee)) = self.answers.a_payment(self.dice.random_range(0..usize::MAX)) else {
            return;
        };
        let amount = if self.below(2) == 0 { None } else { Some(self.amount()) };
        let refund_fees = ["none", "proportional"][self.below(2)];
        let mut asked = self.asking(None, "POST", "/refunds", Value::Null);
        let payer = self.payer(payee);
        let expires_at = payer.in_an_hour();
        let order = RefundOrder {
            amount: amount.as_deref(),
            aud: payer.instance_did(),
            expires_at: &expires_at,
            nonce: &asked.key,
            payee: payer.did().as_str(),
            reason: "by chance",
            refund_fees,
            transaction_id: &transaction,
            v: 1,
        };
        let signature = payer.sign_as(REFUND_TYP, &signing_input(&order));
        asked.body = json!({
            "transactionId": transaction, "reason": "by chance", "refundFees": refund_fees,
            "payee": payer.did(), "expiresAt": expires_at, "nonce": asked.key, "signature": signature,
        });
        if let Some(amount) = amount {
            asked.body["amount"] = amount.into();
        }
        let answer = self.carry_out(asked).await;
        if let Some(refund) = answer.done() {
            self.answers.note(&refund["refundId"], &refund["amount"], End::Moved);
        }
    }

    /// Money in the house's hands, then out of them one way or another. Not with somebody who may be frozen: what is theirs
    /// would wait.
    async fn escrow(&mut self) {
        let (from, to) = self.pair();
        if [from, to].contains(&FROZEN_AT_TIMES) {
            return;
        }
        let arbiter = (0..NAMES.len()).find(|who| *who != from && *who != to).expect("a third one");
        let amount = self.amount();
        let mut asked = self.asking(None, "POST", "/escrows", Value::Null);
        asked.body = self.escrow_order(from, to, arbiter, &amount, &asked.key);
        let answer = self.carry_out(asked).await;
        let Some(escrow) = answer.done() else { return };
        self.answers.note(&escrow["transactionId"], &escrow["amount"], End::Moved);
        let place = format!("/escrows/{}", text(&escrow["escrowId"]));
        let release = self.asking(Some(from), "POST", &format!("{place}/release"), json!({}));
        let refund = self.asking(Some(to), "POST", &format!("{place}/refund"), json!({}));
        let ended = match self.below(10) {
            0..3 => self.carry_out(release).await,
            3..5 => self.carry_out(refund).await,
            5..7 => {
                let (given, back) = tokio::join!(self.carry_out(release), self.carry_out(refund));
                assert!(given.done().is_some() != back.done().is_some(), "{given:?}\n{back:?}");
                if given.done().is_some() { given } else { back }
            }
            7..9 => {
                let dispute = self.asking(
                    Some(to),
                    "POST",
                    &format!("{place}/dispute"),
                    json!({"reason": "by chance"}),
                );
                let disputed = self.carry_out(dispute).await;
                assert_eq!(disputed.body["status"], "DISPUTED", "{disputed:?}");
                let splits = json!([{"amount": escrow["amount"], "recipient": self.wallet(to)}]);
                let path = format!("{place}/resolve");
                let resolve = self.asking(Some(arbiter), "POST", &path, json!({"splits": splits}));
                self.carry_out(resolve).await
            }
            _ => return,
        };
        let ended = ended.done().unwrap_or_else(|| panic!("an escrow does not end: {ended:?}"));
        for part in ended["parts"].as_array().expect("parts") {
            self.answers.note(&part["transactionId"], &part["amount"], End::Moved);
        }
    }

    fn escrow_order(&self, from: usize, to: usize, arbiter: usize, amount: &str, key: &str) -> Value {
        let payer = self.payer(from);
        let (expires_at, recipient, arbiter) =
            (payer.in_an_hour(), self.wallet(to), self.payer(arbiter).did());
        let order = EscrowOrder {
            amount,
            arbiter: Some(arbiter.as_str()),
            aud: payer.instance_did(),
            auto_release_at: None,
            currency: CURRENCY,
            expires_at: &expires_at,
            max_fees: "1000",
            nonce: key,
            order_ref: key,
            payer: payer.did().as_str(),
            recipient: &recipient,
            splits: &[],
            v: 1,
            wallet: payer.wallet(),
        };
        json!({
            "amount": amount, "arbiter": arbiter, "currency": CURRENCY, "expiresAt": expires_at,
            "maxFees": "1000", "nonce": key, "orderRef": key, "payer": payer.did(), "recipient": recipient,
            "signature": payer.sign_as(ESCROW_TYP, &signing_input(&order)), "wallet": payer.wallet(),
        })
    }

    /// Asks for money, and has two people pay it at the same time: one of them does.
    async fn money_request(&mut self) {
        let (payee, first) = self.pair();
        let second = (0..NAMES.len()).find(|who| *who != payee && *who != first).expect("a third one");
        let amount = self.amount();
        let wanted = json!({"amount": amount, "currency": CURRENCY, "memo": "by chance"});
        let asked = self.asking(Some(payee), "POST", "/requests", wanted);
        let answer = self.carry_out(asked).await;
        let Some(request) = answer.done() else { return };
        let id = text(&request["requestId"]).to_owned();
        let recipient = self.wallet(payee);
        let mut orders = [first, second].map(|payer| {
            let mut asked = self.asking(None, "POST", "/payments", Value::Null);
            asked.body = wire(&self.payer(payer).order_for(&recipient, &amount, &asked.key, &id));
            Some(asked)
        });
        let [one, other] = orders.each_mut().map(|order| order.take().expect("two orders"));
        let (one, other) = tokio::join!(self.carry_out(one), self.carry_out(other));
        assert!(one.done().is_none() || other.done().is_none(), "{id} was paid twice");
        for paid in [&one, &other].into_iter().filter_map(|answer| answer.done()) {
            self.note_payment(paid, payee);
        }
    }

    /// Something that was carried out, perhaps lives ago: the same request has the same answer.
    async fn again(&mut self) {
        let Some((asked, first)) = self.answers.one_of_them(self.dice.random_range(0..usize::MAX)) else {
            return;
        };
        let again = self.ask(&asked).await;
        let is_same = again.status == first.status && is_same(&first.body, &again.body);
        assert!(is_same, "{asked:?} was answered {first:?}, then {again:?}");
        self.answers.repeated();
    }
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

pub(super) fn wire<T: serde::Serialize>(order: &T) -> Value {
    serde_json::to_value(order).expect("orders are JSON")
}
