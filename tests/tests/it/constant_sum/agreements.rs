//! What takes more than one: money that a payee takes in parts, mandates, approvals of others, wallets that are stopped.

use bytes::Bytes;
use q_core::{Env, Timestamp};
use q_tests::Payer;
use qwallet_api::{
    CreateScheduleRequest, HOLD_TYP, MANDATE_TYP, UpdateWalletRequest, WALLET_TYP, WalletOrder, plan_text,
    signing::{APPROVAL_TYP, REJECTION_TYP, signing_input},
};
use serde_json::{Value, json};

use super::{
    acts::{Answer, Asked, CURRENCY, Client, text, wire},
    audit::{Answers, End},
    people::{APPROVERS, FROZEN_AT_TIMES, GUARDED, Life, NAMES, OPERATOR},
};

/// How many payments a schedule makes, all of them due when it is signed.
const RUNS: u32 = 3;
const DAY_SECONDS: i64 = 86_400;

impl Client {
    /// Money held for a payee, who takes it in parts, at once and one after the other, and gives up the rest or lets it
    /// lapse.
    pub(super) async fn hold_and_take(&mut self) {
        let (from, to) = self.pair();
        let amount = self.amount();
        let wanted = json!({
            "amount": amount, "currency": CURRENCY, "recipient": self.wallet(to), "expiresIn": 60,
            "capture": "manual", "holdFor": 60,
        });
        let asked = self.asking(Some(from), "POST", "/intents", wanted);
        let answer = self.carry_out(asked).await;
        let Some(intent) = answer.done() else { return };
        let signature = self.payer(from).sign_as(HOLD_TYP, text(&intent["signingInput"]).as_bytes());
        let signing = json!({"intentId": intent["intentId"], "signature": signature});
        let sign = self.asking(None, "POST", "/sign", signing);
        let answer = self.carry_out(sign).await;
        let Some(signed) = answer.done() else { return };
        self.answers.note(&signed["transactionId"], &intent["amount"], End::Open);
        let place = format!("/intents/{}", text(&intent["intentId"]));
        for _ in 0..self.below(3) {
            let (one, other) = (self.part(to, &place), self.part(to, &place));
            let (one, other) = tokio::join!(self.carry_out(one), self.carry_out(other));
            for part in [&one, &other].into_iter().filter_map(|answer| answer.done()) {
                assert_eq!(part["transactionId"], signed["transactionId"], "{part}");
                self.answers.took(&part["transactionId"], &part["amount"]);
            }
        }
        if self.below(3) == 0 {
            let rest = self.asking(Some(to), "POST", &format!("{place}/void"), json!({}));
            self.carry_out(rest).await;
        }
    }

    /// A part of what is held: mostly some of it, at times all that is left, at times the last.
    fn part(&mut self, payee: usize, place: &str) -> Asked {
        let mut wanted = json!({"final": self.below(4) == 0});
        if self.below(4) > 0 {
            wanted["amount"] = self.amount().into();
        }
        self.asking(Some(payee), "POST", &format!("{place}/capture"), wanted)
    }

    /// A mandate whose payments are due already: the house makes them by itself, however often it is killed meanwhile.
    pub(super) async fn schedule(&mut self) {
        let (from, to) = self.pair();
        let amount = self.amount();
        let mut asked = self.asking(None, "POST", "/schedules", Value::Null);
        let start = Env::system().now().seconds() - i64::from(RUNS - 1) * DAY_SECONDS;
        let request = self.mandate(from, to, &amount, start, &asked.key);
        let request = CreateScheduleRequest { catch_up: "all".into(), count: Some(RUNS), ..request };
        asked.body = wire(&signed(request, self.payer(from), None));
        let answer = self.carry_out(asked).await;
        let Some(schedule) = answer.done() else { return };
        self.answers.begun(&schedule["scheduleId"], from);
        let place = format!("/schedules/{}", text(&schedule["scheduleId"]));
        let change = match self.below(6) {
            0 => self.asking(Some(from), "PATCH", &place, json!({"status": "PAUSED"})),
            1 => self.asking(Some(from), "DELETE", &place, Value::Null),
            _ => return,
        };
        self.carry_out(change).await;
    }

    /// A subscription to the one plan there is, whose first period is paid with the mandate.
    pub(super) async fn subscribe(&mut self) {
        let payee = 0;
        let price = "0.004";
        let offer = json!({
            "name": "Membership", "price": price, "currency": CURRENCY, "period": "day",
            "entitlements": {"x-sum.seats": 1}, "offered": true,
        });
        // The same for everybody: whoever is first makes it.
        let (who, key) = (Some(NAMES[payee]), "sum-the-only-plan".to_owned());
        let offered = self.ask(&Asked { who, method: "PUT", path: "/plans".into(), body: offer, key }).await;
        let plan = offered.done().unwrap_or_else(|| panic!("no plan: {offered:?}"));
        let from = 1 + self.below(NAMES.len() - 1);
        let mut asked = self.asking(None, "POST", "/subscriptions", Value::Null);
        let start = Env::system().now().seconds();
        let request = self.mandate(from, payee, price, start, &asked.key);
        let request = CreateScheduleRequest { catch_up: "once".into(), ..request };
        let plan_id = text(&plan["planId"]).parse().expect("an id");
        let version = plan["version"].as_i64().expect("a version");
        let mandate = signed(request, self.payer(from), Some(&plan_text(plan_id, version)));
        asked.body = json!({"planId": plan_id, "planVersion": version, "mandate": mandate});
        let answer = self.carry_out(asked).await;
        let Some(subscription) = answer.done() else { return };
        let run = &subscription["schedule"]["lastRuns"][0];
        self.answers.note(&run["transactionId"], &run["amount"], End::Moved);
        if self.below(2) == 0 {
            let place = format!("/subscriptions/{}", text(&subscription["subscriptionId"]));
            let end = self.asking(Some(from), "DELETE", &place, Value::Null);
            let ended = self.carry_out(end).await;
            assert_eq!(ended.body["status"], "ENDING", "{ended:?}");
        }
    }

    fn mandate(&self, from: usize, to: usize, amount: &str, start: i64, key: &str) -> CreateScheduleRequest {
        let payer = self.payer(from);
        CreateScheduleRequest {
            amount: amount.into(),
            catch_up: String::new(),
            client_ref: None,
            count: None,
            currency: CURRENCY.into(),
            expires_at: payer.in_an_hour(),
            max_amount: None,
            max_fees: "1000".into(),
            nonce: key.into(),
            payer: payer.did().clone(),
            purpose: None,
            recipient: self.wallet(to),
            rrule: "FREQ=DAILY".into(),
            signature: String::new(),
            start: Timestamp::from_seconds(start).to_string(),
            timezone: "UTC".into(),
            until: None,
            wallet: payer.wallet().into(),
        }
    }

    /// A payment that two of three have to approve: approved while its payer tries to sign it, or rejected.
    pub(super) async fn approved(&mut self) {
        let to = self.below(GUARDED);
        let amount = self.amount();
        let wanted =
            json!({"amount": amount, "currency": CURRENCY, "recipient": self.wallet(to), "expiresIn": 60});
        let asked = self.asking(Some(GUARDED), "POST", "/intents", wanted);
        let answer = self.carry_out(asked).await;
        let Some(intent) = answer.done() else { return };
        let is_guarded = text(&intent["nextAction"]).starts_with("approve");
        let is_approved = self.below(4) > 0;
        let first = self.below(APPROVERS);
        let second = (first + 1 + self.below(APPROVERS - 1)) % APPROVERS;
        let [one, two] = [first, second].map(|by| self.decision(by, intent, is_approved));
        let (early, late) = (self.signature(intent), self.signature(intent));
        if !is_guarded {
            return;
        }
        let (one, early) = tokio::join!(self.carry_out(one), self.carry_out(early));
        assert!(early.done().is_none(), "one of two approved, and it was held: {early:?}");
        let (two, late) = tokio::join!(self.carry_out(two), self.carry_out(late));
        let is_held = |answer: &Answer| answer.done().is_some();
        let signed = if is_held(&late) || !is_approved {
            late
        } else {
            let again = self.signature(intent);
            self.carry_out(again).await
        };
        assert!(
            is_approved || !is_held(&signed),
            "two rejected it, and it was held: {one:?} {two:?} {signed:?}"
        );
        if let Some(signed) = signed.done() {
            self.pay_or_cancel((GUARDED, to), intent, signed).await;
        }
    }

    fn signature(&mut self, intent: &Value) -> Asked {
        let signature = self.payer(GUARDED).sign(text(&intent["signingInput"]).as_bytes());
        let signing = json!({"intentId": intent["intentId"], "signature": signature});
        self.asking(None, "POST", "/sign", signing)
    }

    fn decision(&mut self, by: usize, intent: &Value, is_approved: bool) -> Asked {
        let (decision, typ) = if is_approved { ("APPROVE", APPROVAL_TYP) } else { ("REJECT", REJECTION_TYP) };
        let signature = self.payer(by).sign_as(typ, text(&intent["signingInput"]).as_bytes());
        let place = format!("/intents/{}/approvals", text(&intent["intentId"]));
        self.asking(None, "POST", &place, json!({"decision": decision, "signature": signature}))
    }

    /// A wallet that is stopped in the middle of everything, and goes on by the word of two operators.
    pub(super) async fn freeze(&mut self) {
        let place = format!("/wallets/{}", self.wallet(FROZEN_AT_TIMES));
        let stop = self.asking(Some(FROZEN_AT_TIMES), "PATCH", &place, json!({"status": "FROZEN"}));
        let stopped = self.carry_out(stop).await;
        assert!(stopped.done().is_some(), "{stopped:?}");
        let mut go_on = self.asking(None, "PATCH", &place, Value::Null);
        let [operator, warden] = &self.people.1;
        let asked = UpdateWalletRequest {
            squid_id: self.wallet(FROZEN_AT_TIMES),
            status: Some("ACTIVE".into()),
            expires_at: operator.in_an_hour(),
            nonce: go_on.key.clone(),
            ..UpdateWalletRequest::default()
        };
        let input = signing_input(&WalletOrder::of(operator.instance_did(), &asked));
        let approvals = [operator, warden].map(|by| by.sign_as(WALLET_TYP, &input));
        go_on.who = Some(OPERATOR);
        go_on.body = json!({
            "status": "ACTIVE", "approvals": approvals, "expiresAt": asked.expires_at, "nonce": asked.nonce,
        });
        let gone_on = self.carry_out(go_on).await;
        assert!(gone_on.done().is_some(), "{gone_on:?}");
    }
}

fn signed(request: CreateScheduleRequest, payer: &Payer, plan: Option<&str>) -> CreateScheduleRequest {
    let instance = payer.instance_did().parse().expect("a DID");
    let signature = payer.sign_as(MANDATE_TYP, &signing_input(&request.order(&instance, plan)));
    CreateScheduleRequest { signature, ..request }
}

/// Ends every schedule, and notes what each has paid by then.
pub async fn end_all(life: &Life, answers: &Answers) {
    for (id, payer) in answers.schedules() {
        let client = life.client(Some(NAMES[payer]));
        let path = format!("/schedules/{id}");
        // It may be over.
        let ended =
            client.clone().with_key(format!("end-{id}")).send("DELETE", &path, Bytes::new(), "").await;
        ended.expect("nobody kills it any more");
        let shown = client.send("GET", &path, Bytes::new(), "").await.expect("nobody kills it any more");
        let schedule: Value = serde_json::from_slice(shown.body()).expect("a schedule");
        assert_eq!(schedule["status"], "ENDED", "{schedule}");
        let runs = schedule["lastRuns"].as_array().expect("payments");
        assert_eq!(schedule["runs"], runs.len(), "{schedule}");
        for run in runs {
            answers.note(&run["transactionId"], &run["amount"], End::Moved);
        }
    }
}
