//! Payments beyond a wallet's own limits: its parent or a guardian approves one of them, once.

use q_contract::Problem;
use q_core::{Caller, IdentityKind, PageLimit, Span};
use q_testkit::{World, on_each_world};
use qwallet::SETTINGS;
use qwallet_api::{
    AskedIntent, AskedIntentPath, CancelIntent, CreateIntentRequest, CreatePayment, DecideIntent,
    DecideIntentRequest, GetIntent, GetLimits, HOLD_TYP, Intent, IntentId, IntentPath, ListApprovals,
    ListApprovalsRequest, Pay, PayRequest, PaymentRequest, ReadAsked, SetLimits, SignIntent, SignRequest,
    WalletPath,
    signing::{APPROVAL_TYP, REJECTION_TYP},
};

use crate::{
    approvals,
    support::{Bank, Person, ask, code, fresh, intend_as, new_limits, problem, settings, sign_as, sign_it},
};

pub async fn limit(by: &Person, of: &Person, amount: &str) {
    let asked = new_limits(of, &[("daily", amount)]);
    by.client.clone().with_key(fresh()).call::<SetLimits>(&asked).await.unwrap();
}

/// What of a daily limit is used: the wallet's own, and its parent's.
async fn used(person: &Person) -> (String, String) {
    let path = WalletPath { squid_id: person.did.to_string() };
    let limits = person.client.call::<GetLimits>(&path).await.unwrap().items;
    let of = |inherited: bool| {
        let is_it = |limit: &&qwallet_api::SpendingLimit| {
            limit.kind == "daily" && limit.currency == "QToken" && limit.inherited == inherited
        };
        limits.iter().find(is_it).map_or_else(String::new, |limit| limit.used.as_str().to_owned())
    };
    (of(false), of(true))
}

async fn try_pay(bank: &Bank, payer: &Person, payee: &Person, amount: &str) -> Result<(), Problem> {
    let order = bank.signed(bank.order(payer, payee.did.as_str(), amount), payer);
    match payer.client.clone().with_key(fresh()).call::<CreatePayment>(&order).await {
        Ok(_) => Ok(()),
        refused => Err(problem(refused)),
    }
}

async fn drill(payer: &Person, payee: &Person, amount: &str) -> Intent {
    let asked = CreateIntentRequest { purpose: Some("a new drill".into()), ..ask(payee, amount) };
    intend_as(payer, &asked).await
}

pub async fn look(person: &Person, id: IntentId) -> Result<Intent, String> {
    match person.client.call::<GetIntent>(&IntentPath { intent_id: id }).await {
        Ok(intent) => Ok(intent),
        refused => Err(code(refused)),
    }
}

pub async fn decide(bank: &Bank, intent: &Intent, is_approved: bool, by: &Person) -> Result<Intent, String> {
    let (decision, typ) = if is_approved { ("APPROVE", APPROVAL_TYP) } else { ("REJECT", REJECTION_TYP) };
    let signature = sign_as(typ, intent.signing_input.as_bytes(), &by.did, &by.key);
    let asked = DecideIntentRequest { intent_id: intent.intent_id, decision: decision.into(), signature };
    let client = bank.world.client_as("qwallet", Caller::Anonymous).with_key(fresh());
    match client.call::<DecideIntent>(&asked).await {
        Ok(intent) => Ok(intent),
        refused => Err(code(refused)),
    }
}

/// Signs an intent whose money is held for its payee.
pub async fn sign_held(intent: &Intent, payer: &Person) {
    let signature = sign_as(HOLD_TYP, intent.signing_input.as_bytes(), &payer.did, &payer.key);
    let request = SignRequest { intent_id: intent.intent_id, signature };
    payer.client.clone().with_key(fresh()).call::<SignIntent>(&request).await.unwrap();
}

pub async fn spend(bank: &Bank, payer: &Person, payee: &Person, amount: &str) {
    try_pay(bank, payer, payee, amount).await.unwrap();
}

pub async fn waiting(person: &Person) -> Vec<IntentId> {
    let list = ListApprovalsRequest { cursor: None, limit: PageLimit::default() };
    let page = person.client.call::<ListApprovals>(&list).await.unwrap();
    page.items.iter().map(|intent| intent.intent_id).collect()
}

async fn opened(bank: &Bank, link: &str) -> Result<AskedIntent, String> {
    let (_, path) = link.split_once("/qwallet/a/").unwrap();
    let (id, code_of_link) = path.split_once('/').unwrap();
    let path = AskedIntentPath { intent_id: id.parse().unwrap(), code: code_of_link.to_owned() };
    match bank.world.client_as("qwallet", Caller::Anonymous).call::<ReadAsked>(&path).await {
        Ok(asked) => Ok(asked.answer),
        refused => Err(code(refused)),
    }
}

pub fn told(refused: &Problem, field: &str) -> String {
    refused.extra[field].as_str().unwrap_or_default().to_owned()
}

on_each_world!(a_program_asks_its_owner_for_one_payment_beyond_its_limits, async |world: World| {
    let bank = Bank::open_with(world, SETTINGS).await;
    let (ann, bob) = (bank.person("ann", "1000").await, bank.person("bob", "0").await);
    bank.stands("robot", IdentityKind::Root, &[&ann]);
    bank.stands("other", IdentityKind::Root, &[&ann]);
    let (robot, other) = (bank.person("robot", "100").await, bank.person("other", "0").await);
    limit(&ann, &robot, "10").await;

    let refused = try_pay(&bank, &robot, &bob, "25").await.unwrap_err();
    assert_eq!((refused.code.as_str(), refused.status), ("APPROVAL_REQUIRED", 409));
    assert_eq!(told(&refused, "kind"), "daily");
    let link = told(&refused, "link");
    assert!(refused.hint.as_ref().unwrap().contains(&link), "{refused}");
    assert_eq!(bank.balance(&robot).await, ("100".into(), "100".into(), "0".into()));
    // Asking again asks nobody twice.
    let again = try_pay(&bank, &robot, &bob, "25").await.unwrap_err();
    assert_eq!(told(&again, "intentId"), told(&refused, "intentId"));
    let order = PaymentRequest { purpose: Some("wine".into()), ..bank.order(&robot, bob.did.as_str(), "25") };
    let order = bank.signed(order, &robot);
    let wine = problem(robot.client.clone().with_key(fresh()).call::<CreatePayment>(&order).await);
    assert_ne!(told(&wine, "intentId"), told(&refused, "intentId"), "people approve what they read");
    let path = IntentPath { intent_id: told(&wine, "intentId").parse().unwrap() };
    robot.client.clone().with_key(fresh()).call::<CancelIntent>(&path).await.unwrap();
    let id: IntentId = told(&refused, "intentId").parse().unwrap();

    // Whoever has the link reads what is asked; whoever has the id alone does not.
    let asked = opened(&bank, &link).await.unwrap();
    let said = (asked.amount.as_str(), asked.payer, asked.recipient, asked.because.as_str(), asked.given);
    assert_eq!(said, ("25", robot.did.clone(), bob.did.to_string(), "limits", 0));
    assert_eq!(asked.purpose.as_deref(), Some("bread"));
    let guessed = format!("{}{}", &link[..link.len() - 32], "0".repeat(32));
    assert_eq!(opened(&bank, &guessed).await.unwrap_err(), "INTENT_NOT_FOUND");
    assert_eq!((waiting(&ann).await, waiting(&bob).await, waiting(&other).await), (vec![id], vec![], vec![]));

    // Nobody but the parent approves: not the program, nor another program of the same owner, nor the payee.
    let intent = look(&robot, id).await.unwrap();
    assert_eq!(intent.next_action, "approve(1 of 1)");
    assert_eq!(decide(&bank, &intent, true, &robot).await.unwrap_err(), "SELF_APPROVAL");
    assert_eq!(decide(&bank, &intent, true, &other).await.unwrap_err(), "NOT_AN_APPROVER");
    assert_eq!(decide(&bank, &intent, true, &bob).await.unwrap_err(), "NOT_AN_APPROVER");
    let refused = problem(sign_it(&intent, &robot).await);
    assert_eq!((refused.code.as_str(), told(&refused, "link")), ("APPROVAL_REQUIRED", link.clone()));
    let approved = decide(&bank, &look(&ann, id).await.unwrap(), true, &ann).await.unwrap();
    assert_eq!(approved.approvals.unwrap().given, 1);
    assert_eq!((opened(&bank, &link).await.unwrap().given, waiting(&ann).await), (1, vec![]));
    assert_eq!(look(&robot, id).await.unwrap().next_action, "sign");
    let refused = try_pay(&bank, &robot, &bob, "25").await.unwrap_err();
    assert!(refused.hint.unwrap().contains("POST /sign"), "what was approved is the intent");

    // It is paid once, counts against both limits, and nothing after it is lifted.
    let signed = sign_it(&intent, &robot).await.unwrap();
    let pay = PayRequest { transaction_id: signed.transaction_id };
    robot.client.clone().with_key(fresh()).call::<Pay>(&pay).await.unwrap();
    assert_eq!(bank.balance(&bob).await.1, "25");
    assert_eq!(used(&robot).await, ("25".into(), "25".into()));
    let next = try_pay(&bank, &robot, &bob, "25").await.unwrap_err();
    assert_eq!(next.code, "APPROVAL_REQUIRED");
    assert_ne!(told(&next, "intentId"), id.to_string());
    assert_eq!(decide(&bank, &intent, true, &ann).await.unwrap_err(), "INVALID_STATE");
    bank.world.clock.advance(Span::seconds(86_400));
    try_pay(&bank, &robot, &bob, "9").await.unwrap();
    assert_eq!(bank.findings().await, Vec::<String>::new());
    bank.close().await;
});

on_each_world!(who_has_an_order_that_was_paid_has_nobody_asked, async |world: World| {
    let bank = Bank::open_with(world, SETTINGS).await;
    let (ann, bob) = (bank.person("ann", "1000").await, bank.person("bob", "0").await);
    bank.stands("robot", IdentityKind::Root, &[&ann]);
    let robot = bank.person("robot", "100").await;
    limit(&ann, &robot, "10").await;
    let order = bank.signed(bank.order(&robot, bob.did.as_str(), "8"), &robot);
    robot.client.clone().with_key(fresh()).call::<CreatePayment>(&order).await.unwrap();

    // Neither the words beside an order nor its quote are signed.
    let purpose = Some("the rest, ann knows".to_owned());
    let order = PaymentRequest { purpose, quote_id: Some("none".into()), ..order };
    let nobody = bank.world.client_as("qwallet", Caller::Anonymous);
    for client in [&bob.client, &nobody] {
        let refused = problem(client.clone().with_key(fresh()).call::<CreatePayment>(&order).await);
        assert!(!refused.extra.contains_key("intentId") && !refused.extra.contains_key("link"), "{refused}");
    }
    assert_eq!(waiting(&ann).await, []);
    let asked = problem(robot.client.clone().with_key(fresh()).call::<CreatePayment>(&order).await);
    assert_eq!(waiting(&ann).await, [told(&asked, "intentId").parse().unwrap()]);
    bank.close().await;
});

on_each_world!(what_is_approved_is_bounded_by_the_parent_and_the_instance, async |world: World| {
    let bank = Bank::open_with(world, settings(&[("step_up", "none"), ("limit_transaction", "500")])).await;
    let (ann, bob) = (bank.person("ann", "1000").await, bank.person("bob", "0").await);
    bank.stands("robot", IdentityKind::Root, &[&ann]);
    let robot = bank.person("robot", "900").await;
    limit(&ann, &robot, "10").await;
    limit(&ann, &ann, "100").await;
    let intent = drill(&robot, &bob, "150").await;
    assert_eq!(intent.next_action, "approve(1 of 1)");
    decide(&bank, &intent, true, &ann).await.unwrap();
    let refused = problem(sign_it(&intent, &robot).await);
    assert_eq!((refused.code.as_str(), &refused.extra["inherited"]), ("DAILY_LIMIT_EXCEEDED", &true.into()));
    // Above what anybody may pay at once nobody is asked.
    let large = drill(&robot, &bob, "501").await;
    assert_eq!((large.next_action.as_str(), large.approvals.is_none()), ("sign", true));
    assert_eq!(decide(&bank, &large, true, &ann).await.unwrap_err(), "INVALID_STATE");
    assert_eq!(code(sign_it(&large, &robot).await), "TX_LIMIT_EXCEEDED");
    // Within its limits a program asks nobody; when they are used up meanwhile, it does.
    let small = drill(&robot, &bob, "8").await;
    assert_eq!(small.next_action, "sign");
    assert_eq!(decide(&bank, &small, true, &ann).await.unwrap_err(), "INVALID_STATE");
    try_pay(&bank, &robot, &bob, "5").await.unwrap();
    assert_eq!(code(sign_it(&small, &robot).await), "APPROVAL_REQUIRED");
    assert_eq!(waiting(&ann).await, [small.intent_id]);
    decide(&bank, &small, true, &ann).await.unwrap();
    let signed = sign_it(&small, &robot).await.unwrap();
    // What is taken back is not approved for another time.
    let path = IntentPath { intent_id: signed.intent_id };
    robot.client.clone().with_key(fresh()).call::<CancelIntent>(&path).await.unwrap();
    assert_eq!(used(&robot).await, ("5".into(), "5".into()));
    assert_eq!(code(sign_it(&small, &robot).await), "INVALID_STATE");
    // Nobody approves what somebody pays who is below nobody.
    let own = drill(&ann, &bob, "200").await;
    assert_eq!(decide(&bank, &own, true, &bob).await.unwrap_err(), "NOT_AN_APPROVER");
    assert_eq!(code(sign_it(&own, &ann).await), "DAILY_LIMIT_EXCEEDED");
    assert_eq!(bank.findings().await, Vec::<String>::new());
    bank.close().await;
});

on_each_world!(either_guardian_approves_and_all_of_them_reject, async |world: World| {
    let bank = Bank::open_with(world, SETTINGS).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    bank.stands("kid", IdentityKind::Consentida, &[&ann, &bob]);
    let (kid, shop) = (bank.person("kid", "50").await, bank.person("shop", "0").await);
    let intent = drill(&kid, &shop, "5").await;
    assert_eq!(intent.next_action, "approve(1 of 2)");
    assert_eq!((waiting(&ann).await, waiting(&bob).await), (vec![intent.intent_id], vec![intent.intent_id]));
    assert_eq!(look(&shop, intent.intent_id).await.unwrap_err(), "INTENT_NOT_FOUND");
    let shown = look(&bob, intent.intent_id).await.unwrap();
    assert_eq!(shown.purpose.as_deref(), Some("a new drill"));
    assert_eq!(decide(&bank, &shown, false, &ann).await.unwrap().status, "PENDING");
    assert_eq!(code(sign_it(&intent, &kid).await), "APPROVAL_REQUIRED");
    decide(&bank, &shown, true, &bob).await.unwrap();
    sign_it(&intent, &kid).await.unwrap();
    let other = drill(&kid, &shop, "6").await;
    decide(&bank, &other, false, &ann).await.unwrap();
    assert_eq!(decide(&bank, &other, false, &bob).await.unwrap().status, "CANCELLED");
    // A guardian who is none any more approves nothing, nor does what such a one approved before count.
    let last = drill(&kid, &shop, "7").await;
    decide(&bank, &last, true, &bob).await.unwrap();
    bank.stands("kid", IdentityKind::Consentida, &[&ann]);
    bank.module.service().keys.forget(&kid.did);
    assert_eq!(code(sign_it(&last, &kid).await), "APPROVAL_REQUIRED");
    assert_eq!(decide(&bank, &last, true, &bob).await.unwrap_err(), "NOT_AN_APPROVER");
    assert_eq!(bank.findings().await, Vec::<String>::new());
    bank.close().await;
});

on_each_world!(what_is_approved_under_a_rule_lifts_no_limit, async |world: World| {
    let bank = Bank::open_with(world, SETTINGS).await;
    let (ann, bob) = (bank.person("ann", "1000").await, bank.person("bob", "0").await);
    bank.stands("robot", IdentityKind::Root, &[&ann]);
    let robot = bank.person("robot", "100").await;
    let approver = (ann.did.clone(), ann.key.clone());
    approvals::set(&robot, &approvals::change(&robot, 0, approvals::rule(1, &[&approver], "5"))).await;
    limit(&ann, &robot, "10").await;
    let intent = drill(&robot, &bob, "8").await;
    assert_eq!(intent.approvals.as_ref().unwrap().because, "rule");
    decide(&bank, &intent, true, &ann).await.unwrap();
    assert_eq!(look(&robot, intent.intent_id).await.unwrap().next_action, "sign");
    // Meanwhile the limit is used up: about that nobody was asked.
    try_pay(&bank, &robot, &bob, "4").await.unwrap();
    bank.world.clock.advance(Span::seconds(1));
    for _ in 0..2 {
        let refused = problem(sign_it(&intent, &robot).await);
        assert_eq!((refused.code.as_str(), told(&refused, "kind")), ("APPROVAL_REQUIRED", "daily".into()));
    }
    let waits = look(&ann, intent.intent_id).await.unwrap().approvals.unwrap();
    assert_eq!((waits.because.as_str(), waits.given), ("limits", 0));
    assert_eq!(bank.balance(&robot).await.2, "0");
    decide(&bank, &intent, true, &ann).await.unwrap();
    sign_it(&intent, &robot).await.unwrap();
    assert_eq!(bank.findings().await, Vec::<String>::new());
    bank.close().await;
});

on_each_world!(a_tool_gets_the_link_and_no_tool_approves, async |world: World| {
    let bank = Bank::open_with(world, SETTINGS).await;
    let (ann, bob) = (bank.person("ann", "1000").await, bank.person("bob", "0").await);
    bank.stands("robot", IdentityKind::Root, &[&ann]);
    let robot = bank.person("robot", "100").await;
    limit(&ann, &robot, "10").await;
    let ask = async |method: &str, parameters: serde_json::Value| -> serde_json::Value {
        let message =
            serde_json::json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": parameters });
        let body = serde_json::to_vec(&message).unwrap().into();
        let client = robot.client.clone().with_key(fresh());
        let answer = client.send("POST", "/mcp", body, "application/json").await.unwrap();
        serde_json::from_slice(answer.body()).unwrap()
    };
    let order = bank.signed(bank.order(&robot, bob.did.as_str(), "25"), &robot);
    let paid = ask("tools/call", serde_json::json!({ "name": "wallet.pay_once", "arguments": order })).await;
    assert_eq!(paid["result"]["isError"], true, "{paid}");
    let refused = paid["result"]["content"][0]["text"].as_str().unwrap();
    let refused: serde_json::Value = serde_json::from_str(refused).unwrap();
    assert_eq!(refused["code"], "APPROVAL_REQUIRED");
    assert_eq!(opened(&bank, refused["link"].as_str().unwrap()).await.unwrap().amount.as_str(), "25");
    let asked = serde_json::json!({ "amount": "30", "currency": "QToken", "recipient": bob.did });
    let made = ask("tools/call", serde_json::json!({ "name": "wallet.intent", "arguments": asked })).await;
    let made = &made["result"]["structuredContent"];
    assert_eq!(made["nextAction"], "approve(1 of 1)", "{made}");
    assert!(made["approvals"]["link"].as_str().unwrap().contains("/qwallet/a/"));
    let tools = ask("tools/list", serde_json::json!({})).await;
    let names: Vec<&str> = tools["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    assert!(names.contains(&"wallet.pay_once"), "{names:?}");
    assert!(!names.iter().any(|name| name.contains("appro") || name.contains("reject")), "{names:?}");
    bank.close().await;
});
