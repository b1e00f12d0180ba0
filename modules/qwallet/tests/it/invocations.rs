//! `POST /payments` with a UCAN invocation in place of a signature.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use q_contract::CallError;
use q_core::{Caller, Did, Span};
use q_jose::{SecretKey, base64url};
use q_pdp::{Change, Conditions, DelegationRegistered, GrantRevoked};
use q_testkit::{World, identity, on_each_world};
use q_ucan::{
    Delegation, DelegationDraft, Invocation, InvocationDraft, Ipld, Policy, TokenCid, container, dag_json,
};
use qwallet::domain::receipt;
use qwallet_api::{
    CreatePayment, CreateRequest, CreateRequestRequest, GetReceipt, GetTransaction, GetUses, PaymentRequest,
    Transaction, TransactionPath, UsesPath, signing::PAYMENT_COMMAND,
};
use serde_json::json;

use crate::support::{Bank, Person, code, fresh, payment_input, problem, settings, stepped_up};

/// Somebody with a key and without a wallet.
pub struct Agent {
    pub did: Did,
    pub key: SecretKey,
}

pub fn agent(name: &str) -> Agent {
    let (did, key) = identity(name);
    Agent { did, key }
}

pub async fn pay(bank: &Bank, order: &PaymentRequest) -> Result<Transaction, CallError> {
    let anonymous = bank.world.client_as("qwallet", Caller::Anonymous);
    anonymous.with_key(fresh()).call::<CreatePayment>(order).await
}

/// The arguments that invoke an order: the members of its signing input.
fn args_of(bank: &Bank, order: &PaymentRequest) -> BTreeMap<String, Ipld> {
    let input = payment_input(&bank.world.instance.did, order);
    match dag_json::from_json(&serde_json::from_slice(&input).unwrap()).unwrap() {
        Ipld::Map(args) => args,
        other => panic!("an order is a map, not {other:?}"),
    }
}

fn nonce() -> Vec<u8> {
    format!("{:>16}", fresh()).into_bytes()
}

fn draft(bank: &Bank, order: &PaymentRequest, invoker: &Did, proofs: &[&Delegation]) -> InvocationDraft {
    InvocationDraft {
        issuer: invoker.clone().into(),
        audience: Some(bank.world.instance.did.clone()),
        subject: order.payer.clone(),
        command: PAYMENT_COMMAND.parse().unwrap(),
        args: args_of(bank, order),
        proofs: proofs.iter().map(|link| link.cid()).collect(),
        nonce: nonce(),
        issued_at: None,
        expires_at: Some(bank.now() + Span::seconds(300)),
    }
}

fn packed(order: PaymentRequest, invocation: &Invocation, proofs: &[&Delegation]) -> PaymentRequest {
    let links = proofs.iter().map(|link| link.bytes());
    let signature = container::encode_text(std::iter::once(invocation.bytes()).chain(links));
    PaymentRequest { signature, ..order }
}

/// The order, invoked by its payer.
pub fn own(bank: &Bank, order: PaymentRequest, payer: &Person) -> PaymentRequest {
    let invocation = draft(bank, &order, &payer.did, &[]).sign(&payer.key).unwrap();
    packed(order, &invocation, &[])
}

/// An order to pay from `payer`'s wallet, which is named by its id.
pub fn order(bank: &Bank, payer: &Person, payee: &Person, amount: &str) -> PaymentRequest {
    let order = bank.order(payer, payee.did.as_str(), amount);
    PaymentRequest { wallet: payer.wallet.wallet_id.to_string(), ..order }
}

/// The order, invoked by `agent` under `proofs`, root first.
pub fn delegated(
    bank: &Bank,
    order: PaymentRequest,
    agent: &Agent,
    proofs: &[&Delegation],
) -> PaymentRequest {
    let invocation = draft(bank, &order, &agent.did, proofs).sign(&agent.key).unwrap();
    packed(order, &invocation, proofs)
}

/// The order, invoked by `agent`, whose key is named.
pub fn invoked(bank: &Bank, order: PaymentRequest, agent: &Agent, proofs: &[&Delegation]) -> PaymentRequest {
    let mut draft = draft(bank, &order, &agent.did, proofs);
    draft.issuer.key = Some(agent.key.public().to_multikey());
    packed(order, &draft.sign(&agent.key).unwrap(), proofs)
}

/// What `from` allows `to` of what `owner` owns.
pub fn link(bank: &Bank, from: &Did, to: &Did, owner: &Did) -> DelegationDraft {
    DelegationDraft {
        issuer: from.clone().into(),
        audience: to.clone(),
        subject: Some(owner.clone()),
        command: PAYMENT_COMMAND.parse().unwrap(),
        policy: Policy::default(),
        nonce: nonce(),
        not_before: None,
        expires_at: Some(bank.now() + Span::seconds(3_600)),
        meta: BTreeMap::new(),
    }
}

pub fn to_agent(bank: &Bank, owner: &Person, agent: &Agent) -> DelegationDraft {
    link(bank, &owner.did, &agent.did, &owner.did)
}

fn policy(statements: &serde_json::Value) -> Policy {
    Policy::from_ipld(&dag_json::from_json(statements).unwrap()).unwrap()
}

async fn keeps_its_receipt(payer: &Person, paid: &Transaction, keys: &[&Did]) {
    let path = TransactionPath { transaction_id: paid.transaction_id };
    let text = payer.client.call::<GetReceipt>(&path).await.unwrap().jws;
    let (service, key) = identity("service-qwallet");
    let proven =
        receipt::verify(&text, |kid, _| kid.starts_with(service.as_str()).then(|| key.public())).unwrap();
    // In the order of the container, which is that of the tokens' bytes.
    let named: BTreeSet<_> =
        proven.order_keys.iter().map(|id| id.split_once('#').unwrap().0.to_owned()).collect();
    assert_eq!(named, keys.iter().map(ToString::to_string).collect());
    // Who paid in the payer's place, and by which delegations, the payer's own first.
    let in_place = keys.first().filter(|_| keys.len() > 1);
    let links = proven.delegated.iter().flat_map(|of| &of.delegations);
    let signers: Vec<&str> = links.map(|link| link.key.split_once('#').unwrap().0).collect();
    assert_eq!(signers, keys.iter().skip(1).map(|did| did.as_str()).collect::<Vec<_>>());
    let by = proven.delegated.as_ref().map(|of| of.by.split_once('#').unwrap().0);
    assert_eq!(by, in_place.map(|did| did.as_str()));
    let told = payer.client.call::<GetTransaction>(&path).await.unwrap().delegated;
    assert_eq!(told.as_ref().map(|of| &of.by), in_place.copied());
    assert_eq!(told.map_or(0, |of| of.delegations.len()), keys.len() - 1);
    // Whatever is changed of it proves nothing, though the instance itself signs it anew.
    let payload = base64url::decode(text.split('.').nth(1).unwrap()).unwrap();
    let lies: [fn(&mut qwallet_api::ReceiptContent); 3] = [
        |content| content.order.as_mut().unwrap().input = "{}".into(),
        |content| content.order.as_mut().unwrap().signer = "did:key:zOther".into(),
        |content| content.order.as_mut().unwrap().signatures = "CoQ".into(),
    ];
    let signer = q_runtime::Signer::new(service.clone(), key.clone());
    for lie in lies {
        let mut content = serde_json::from_slice(&payload).unwrap();
        lie(&mut content);
        let order = content.order.as_ref().unwrap();
        content.transaction.order_digest = q_core::hash::hex(&qwallet::domain::chain::order_digest(
            order.kind,
            &order.signer,
            &order.input,
            &order.signatures,
        ));
        let text = signer.sign(qwallet_api::RECEIPT_TYP, &serde_json::to_vec(&content).unwrap());
        let fault = receipt::verify(&text, |_, _| Some(key.public())).unwrap_err();
        assert_eq!(fault, receipt::Fault::Order);
    }
}

on_each_world!(one_signature_pays_and_no_token, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let by_reference = bank.order(&ann, bob.did.as_str(), "10");
    let paid = pay(&bank, &own(&bank, by_reference, &ann)).await.unwrap();
    assert_eq!((paid.status.as_str(), paid.from.owner.as_ref()), ("SETTLED", Some(&ann.did)));
    assert_eq!(bank.balance(&bob).await.0, "10");
    keeps_its_receipt(&ann, &paid, &[&ann.did]).await;
    bank.close().await;
});

on_each_world!(two_thousand_repetitions_pay_once, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let plain = bank.order(&ann, bob.did.as_str(), "1");
    let order = own(&bank, plain.clone(), &ann);
    let anonymous = bank.world.client_as("qwallet", Caller::Anonymous);
    let again = |_| {
        let client = anonymous.clone().with_key("same");
        let order = &order;
        async move { client.call::<CreatePayment>(order).await }
    };
    let answers = join_all((0..1_000).map(again)).await;
    let first = answers[0].as_ref().unwrap();
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap() == first));
    let replays = join_all((0..1_000).map(|_| pay(&bank, &order))).await;
    assert!(replays.into_iter().all(|answer| code(answer) == "SIGNATURE_INVALID"));
    // The same order invoked again, or signed in the other way, is the same order.
    let anew = own(&bank, plain.clone(), &ann);
    assert_ne!(anew.signature, order.signature);
    assert_eq!(code(pay(&bank, &anew).await), "SIGNATURE_INVALID");
    assert_eq!(code(pay(&bank, &bank.signed(plain, &ann)).await), "SIGNATURE_INVALID");
    assert_eq!(bank.balance(&bob).await.0, "1");
    bank.close().await;
});

type Deviation = fn(&mut InvocationDraft, &Bank);

on_each_world!(what_deviates_pays_nothing, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob, eve) =
        (bank.person("ann", "100").await, bank.person("bob", "0").await, bank.person("eve", "0").await);
    let rows: [(&str, Deviation); 12] = [
        ("SIGNATURE_INVALID", |it, _| it.audience = Some(identity("elsewhere").0)),
        ("SIGNATURE_INVALID", |it, _| it.audience = None),
        ("SIGNATURE_INVALID", |it, _| it.subject = identity("bob").0),
        ("SIGNATURE_INVALID", |it, _| it.issuer = identity("eve").0.into()),
        ("SIGNATURE_INVALID", |it, _| drop(it.args.insert("amount".into(), Ipld::String("2".into())))),
        ("SIGNATURE_INVALID", |it, _| drop(it.args.insert("more".into(), Ipld::Bool(true)))),
        ("SIGNATURE_INVALID", |it, _| drop(it.args.remove("maxFees"))),
        ("SIGNATURE_INVALID", |it, _| drop(it.args.insert("v".into(), Ipld::String("1".into())))),
        ("UCAN_INVALID", |it, _| it.command = "/qwallet/wallet/read".parse().unwrap()),
        ("UCAN_INVALID", |it, _| it.command = "/qwallet/wallet/payment".parse().unwrap()),
        ("UCAN_INVALID", |it, _| it.expires_at = None),
        ("UCAN_INVALID", |it, bank| it.expires_at = Some(bank.now() + Span::seconds(86_401))),
    ];
    for (row, (expected, change)) in rows.into_iter().enumerate() {
        let order = order(&bank, &ann, &bob, "1");
        let mut draft = draft(&bank, &order, &ann.did, &[]);
        change(&mut draft, &bank);
        let sent = packed(order, &draft.sign(&ann.key).unwrap(), &[]);
        assert_eq!(code(pay(&bank, &sent).await), expected, "row {row}");
    }
    let order = bank.order(&ann, bob.did.as_str(), "1");
    let late = InvocationDraft { expires_at: Some(bank.now()), ..draft(&bank, &order, &ann.did, &[]) };
    assert_eq!(code(pay(&bank, &packed(order, &late.sign(&ann.key).unwrap(), &[])).await), "INTENT_EXPIRED");
    // However soon the invocation ends: an order that ends in centuries would be remembered for centuries.
    let order = bank.order(&ann, bob.did.as_str(), "1");
    let lasting = own(&bank, PaymentRequest { expires_at: "9999-01-01T00:00:00Z".into(), ..order }, &ann);
    assert_eq!(code(pay(&bank, &lasting).await), "INVALID_REQUEST");
    // Arguments of another instance, whatever the audience says.
    let order = bank.order(&ann, bob.did.as_str(), "1");
    let mut elsewhere = draft(&bank, &order, &ann.did, &[]);
    elsewhere.args.insert("aud".into(), Ipld::String(identity("elsewhere").0.to_string()));
    assert_eq!(
        code(pay(&bank, &packed(order, &elsewhere.sign(&ann.key).unwrap(), &[])).await),
        "SIGNATURE_INVALID"
    );
    // What was invoked, and then changed on the way.
    let good = own(&bank, bank.order(&ann, bob.did.as_str(), "1"), &ann);
    for sent in [
        PaymentRequest { amount: "100".into(), ..good.clone() },
        PaymentRequest { recipient: eve.did.to_string(), ..good.clone() },
        PaymentRequest { max_fees: "50".into(), ..good.clone() },
        PaymentRequest { nonce: "another-nonce".into(), ..good.clone() },
        PaymentRequest { expires_at: (bank.now() + Span::seconds(601)).to_string(), ..good.clone() },
    ] {
        assert_eq!(code(pay(&bank, &sent).await), "SIGNATURE_INVALID");
    }
    let theirs =
        PaymentRequest { payer: eve.did.clone(), wallet: eve.wallet.wallet_ref.clone(), ..good.clone() };
    assert_eq!(code(pay(&bank, &theirs).await), "SIGNATURE_INVALID");
    // No container, two invocations, one that is damaged, one that is large.
    let invocation = draft(&bank, &good, &ann.did, &[]).sign(&ann.key).unwrap();
    let other = draft(&bank, &good, &ann.did, &[]).sign(&ann.key).unwrap();
    let mut damaged = invocation.bytes().to_vec();
    damaged[10] ^= 1;
    for (signature, expected) in [
        ("C".to_owned(), "UCAN_INVALID"),
        ("B====".to_owned(), "UCAN_INVALID"),
        (container::encode_text([]), "UCAN_INVALID"),
        (container::encode_text([invocation.bytes(), other.bytes()]), "UCAN_INVALID"),
        (container::encode_text([damaged.as_slice()]), "SIGNATURE_INVALID"),
        (format!("C{}", "A".repeat(16 * 1024)), "UCAN_INVALID"),
        (format!("M{}", "A".repeat(100)), "SIGNATURE_INVALID"),
    ] {
        let sent = PaymentRequest { signature, ..good.clone() };
        assert_eq!(code(pay(&bank, &sent).await), expected, "{}", sent.signature);
    }
    assert_eq!(bank.balance(&ann).await.1, "100");
    pay(&bank, &good).await.unwrap();
    bank.close().await;
});

on_each_world!(a_delegate_pays_as_far_as_the_owner_says, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob, eve) =
        (bank.person("ann", "1000").await, bank.person("bob", "0").await, bank.person("eve", "100").await);
    let bot = agent("bot");
    let bounds = json!([
        ["==", ".resource", format!("qwallet:wallet:{}", ann.wallet.wallet_id)],
        ["==", ".currency", "QToken"],
        ["==", ".recipient", bob.did.as_str()],
        ["<=", ".costMicros", 35_000_000],
    ]);
    let mut given = to_agent(&bank, &ann, &bot);
    given.policy = policy(&bounds);
    let given = given.sign(&ann.key).unwrap();
    let ask = |amount: &str| delegated(&bank, order(&bank, &ann, &bob, amount), &bot, &[&given]);
    // 25 and fees of at most 10.
    let paid = pay(&bank, &ask("25")).await.unwrap();
    assert_eq!((paid.from.owner.as_ref(), paid.to.owner.as_ref()), (Some(&ann.did), Some(&bob.did)));
    keeps_its_receipt(&ann, &paid, &[&bot.did, &ann.did]).await;
    let refused = problem(pay(&bank, &ask("25.000000000000000001")).await);
    assert_eq!((refused.code.as_str(), refused.status), ("UCAN_POLICY_VIOLATION", 403));
    let said = "amount 25.000000000000000001 and fees of at most 10 together are over the delegation's 35 QToken \
                (.costMicros <= 35000000, in millionths)";
    assert_eq!(refused.detail.as_deref(), Some(said));
    let facts = json!({
        "delegation": given.cid().to_string(),
        "selector": ".costMicros", "operator": "<=", "bound": 35_000_000, "given": 35_000_001,
    });
    assert_eq!((&refused.extra["violation"], &refused.extra["rule"]), (&facts, &json!("MatchError")));
    let to_eve = delegated(&bank, order(&bank, &ann, &eve, "1"), &bot, &[&given]);
    let refused = problem(pay(&bank, &to_eve).await);
    assert_eq!(refused.code, "UCAN_POLICY_VIOLATION");
    let said = format!("recipient {} is not the delegation's {}", eve.did, bob.did);
    assert!(refused.detail.as_ref().unwrap().starts_with(&said), "{refused}");
    // Somebody else's wallet, by itself or under the owner's name.
    let of_eve = delegated(&bank, order(&bank, &eve, &bob, "1"), &bot, &[&given]);
    assert_eq!(code(pay(&bank, &of_eve).await), "SIGNATURE_INVALID");
    let eves_wallet =
        PaymentRequest { wallet: eve.wallet.wallet_id.to_string(), ..order(&bank, &ann, &bob, "1") };
    let wrong_wallet = delegated(&bank, eves_wallet, &bot, &[&given]);
    assert_eq!(code(pay(&bank, &wrong_wallet).await), "WALLET_NOT_FOUND");
    // Who holds nothing, and who stole the delegation.
    let thief = agent("thief");
    assert_eq!(
        code(pay(&bank, &delegated(&bank, order(&bank, &ann, &bob, "1"), &thief, &[])).await),
        "UCAN_INVALID"
    );
    let stolen = delegated(&bank, order(&bank, &ann, &bob, "1"), &thief, &[&given]);
    assert_eq!(code(pay(&bank, &stolen).await), "SIGNATURE_INVALID");
    // The delegation is named and did not come, or the wallet is named otherwise.
    let plain = order(&bank, &ann, &bob, "1");
    let invocation = draft(&bank, &plain, &bot.did, &[&given]).sign(&bot.key).unwrap();
    let missing = problem(pay(&bank, &packed(plain, &invocation, &[])).await);
    assert_eq!((missing.code.as_str(), missing.status), ("MISSING_PROOFS", 422));
    assert_eq!(serde_json::to_value(&missing).unwrap()["prf"], json!([given.cid().to_string()]));
    let by_reference = delegated(&bank, bank.order(&ann, bob.did.as_str(), "1"), &bot, &[&given]);
    assert_eq!(code(pay(&bank, &by_reference).await), "UCAN_INVALID");
    assert_eq!(bank.balance(&bob).await.0, "25");

    // Handed on, it is never more.
    let helper = agent("helper");
    let mut further = link(&bank, &bot.did, &helper.did, &ann.did);
    further.policy = policy(&json!([["<=", ".costMicros", 11_000_000]]));
    let further = further.sign(&bot.key).unwrap();
    let ask = |amount: &str| delegated(&bank, order(&bank, &ann, &bob, amount), &helper, &[&given, &further]);
    let paid = pay(&bank, &ask("1")).await.unwrap();
    keeps_its_receipt(&ann, &paid, &[&helper.did, &ann.did, &bot.did]).await;
    let refused = problem(pay(&bank, &ask("2")).await);
    assert_eq!(refused.code, "UCAN_POLICY_VIOLATION");
    let said = refused.detail.unwrap();
    assert!(said.contains("over the delegation's 11 QToken"), "{said}");
    assert!(
        said.ends_with(&format!("says the delegation {}", further.cid())),
        "of many the one is named: {said}"
    );
    // Whoever proves nothing learns nothing of what a delegation says.
    let stolen = delegated(&bank, order(&bank, &ann, &bob, "900"), &thief, &[&given]);
    let refused = problem(pay(&bank, &stolen).await);
    assert_eq!((refused.code.as_str(), refused.extra.get("violation")), ("SIGNATURE_INVALID", None));
    bank.close().await;
});

on_each_world!(a_delegation_of_something_else_pays_nothing, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let bot = agent("bot");
    for (command, expected) in [
        ("/qwallet/wallet/read", Err("UCAN_POLICY_VIOLATION")),
        ("/qwallet/wallet/pa", Err("UCAN_POLICY_VIOLATION")),
        ("/qwal", Err("UCAN_POLICY_VIOLATION")),
        ("/qwallet/wallet/pay/once", Err("UCAN_POLICY_VIOLATION")),
        ("/qdrive", Err("UCAN_POLICY_VIOLATION")),
        ("/qwallet", Ok(())),
        ("/", Ok(())),
    ] {
        let given = DelegationDraft { command: command.parse().unwrap(), ..to_agent(&bank, &ann, &bot) };
        let given = given.sign(&ann.key).unwrap();
        let outcome = pay(&bank, &delegated(&bank, order(&bank, &ann, &bob, "1"), &bot, &[&given])).await;
        assert_eq!(
            outcome.map(drop).map_err(|error| code::<()>(Err(error))),
            expected.map_err(str::to_owned),
            "{command}"
        );
    }
    let elsewhere = DelegationDraft { command: "/qdrive".parse().unwrap(), ..to_agent(&bank, &ann, &bot) };
    let elsewhere = elsewhere.sign(&ann.key).unwrap();
    let sent = delegated(&bank, order(&bank, &ann, &bob, "1"), &bot, &[&elsewhere]);
    let refused = problem(pay(&bank, &sent).await);
    let said = "the delegation allows /qdrive, and not /qwallet/wallet/pay";
    assert_eq!(refused.detail.as_deref(), Some(said));
    assert_eq!(refused.extra["violation"]["delegation"], json!(elsewhere.cid().to_string()));
    // At other times than it counts.
    let window = json!({ "timeWindow": { "start": "03:00", "end": "03:01", "tz": "UTC", "days": ["MON"] } });
    let meta = BTreeMap::from([("q/conditions".to_owned(), dag_json::from_json(&window).unwrap())]);
    let rare = DelegationDraft { meta, ..to_agent(&bank, &ann, &bot) }.sign(&ann.key).unwrap();
    let refused = problem(pay(&bank, &delegated(&bank, order(&bank, &ann, &bob, "1"), &bot, &[&rare])).await);
    assert_eq!(
        (refused.code.as_str(), &refused.extra["rule"]),
        ("UCAN_POLICY_VIOLATION", &json!("OUTSIDE_TIME_WINDOW"))
    );
    let said = "the delegation counts MON from 03:00 to 03:01 in UTC, and not now";
    assert_eq!(refused.detail.as_deref(), Some(said));
    // By whom it is not, for nobody in particular, and without end.
    let forged = to_agent(&bank, &ann, &bot).sign(&bot.key).unwrap();
    let powerline = DelegationDraft { subject: None, ..to_agent(&bank, &ann, &bot) }.sign(&ann.key).unwrap();
    let endless = DelegationDraft { expires_at: None, ..to_agent(&bank, &ann, &bot) }.sign(&ann.key).unwrap();
    let unreadable = BTreeMap::from([("q/conditions".to_owned(), Ipld::Bool(true))]);
    let unreadable =
        DelegationDraft { meta: unreadable, ..to_agent(&bank, &ann, &bot) }.sign(&ann.key).unwrap();
    for (given, expected) in [
        (&forged, "SIGNATURE_INVALID"),
        (&powerline, "UCAN_INVALID"),
        (&endless, "UCAN_INVALID"),
        (&unreadable, "UCAN_INVALID"),
    ] {
        let sent = delegated(&bank, order(&bank, &ann, &bob, "1"), &bot, &[given]);
        assert_eq!(code(pay(&bank, &sent).await), expected);
    }
    // What qonsent signs in an owner's name is never worth money.
    let (authority, key) = identity("qonsent");
    let standing = link(&bank, &ann.did, &authority, &ann.did).sign(&ann.key).unwrap();
    let passed_on = link(&bank, &authority, &bot.did, &ann.did).sign(&key).unwrap();
    let sent = delegated(&bank, order(&bank, &ann, &bob, "1"), &bot, &[&standing, &passed_on]);
    assert_eq!(code(pay(&bank, &sent).await), "UCAN_INVALID");
    assert_eq!(bank.balance(&bob).await.0, "2");
    bank.close().await;
});

async fn revoke(bank: &Bank, owner: &Did, cid: TokenCid, epoch: u64) {
    let cids = vec![cid];
    let revoked = GrantRevoked {
        resource: None,
        identity: None,
        revoked_permissions: Vec::new(),
        revoked_by: owner.clone(),
        reason: "owner".into(),
        cids,
        epoch,
    };
    bank.projector.take_in(Change::Revoked(revoked)).await.unwrap();
}

on_each_world!(a_delegation_ends, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let bot = agent("bot");
    let ask = |given: &Delegation| delegated(&bank, order(&bank, &ann, &bob, "1"), &bot, &[given]);
    let soon = |seconds| Some(bank.now() + Span::seconds(seconds));
    let early =
        DelegationDraft { not_before: soon(120), ..to_agent(&bank, &ann, &bot) }.sign(&ann.key).unwrap();
    assert_eq!(code(pay(&bank, &ask(&early)).await), "UCAN_TOO_EARLY");
    let given =
        DelegationDraft { expires_at: soon(5), ..to_agent(&bank, &ann, &bot) }.sign(&ann.key).unwrap();
    pay(&bank, &ask(&given)).await.unwrap();
    bank.world.clock.advance(Span::seconds(5));
    // The grace that clocks have elsewhere is none where money is paid.
    assert_eq!(code(pay(&bank, &ask(&given)).await), "INTENT_EXPIRED");
    let past = DelegationDraft { expires_at: soon(-66), ..to_agent(&bank, &ann, &bot) };
    assert_eq!(code(pay(&bank, &ask(&past.sign(&ann.key).unwrap())).await), "UCAN_EXPIRED");
    bank.close().await;
});

on_each_world!(what_is_taken_back_pays_nothing, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let (bot, helper) = (agent("bot"), agent("helper"));
    let given = to_agent(&bank, &ann, &bot).sign(&ann.key).unwrap();
    let further = link(&bank, &bot.did, &helper.did, &ann.did).sign(&bot.key).unwrap();
    let by_bot = || delegated(&bank, order(&bank, &ann, &bob, "1"), &bot, &[&given]);
    let by_helper = || delegated(&bank, order(&bank, &ann, &bob, "1"), &helper, &[&given, &further]);
    let registered = DelegationRegistered { cids: vec![given.cid()], epoch: 1 };
    bank.projector.take_in(Change::Registered(registered)).await.unwrap();
    pay(&bank, &by_bot()).await.unwrap();
    pay(&bank, &by_helper()).await.unwrap();
    // Whoever handed it on may be stopped, or may take it back.
    bank.projector.pdp().set_active(&bot.did, false);
    assert_eq!(code(pay(&bank, &by_bot()).await), "SIGNATURE_INVALID");
    assert_eq!(code(pay(&bank, &by_helper()).await), "SIGNATURE_INVALID");
    bank.projector.pdp().set_active(&bot.did, true);
    revoke(&bank, &bot.did, further.cid(), 2).await;
    assert_eq!(code(pay(&bank, &by_helper()).await), "UCAN_REVOKED");
    pay(&bank, &by_bot()).await.unwrap();
    revoke(&bank, &ann.did, given.cid(), 3).await;
    let refused = problem(pay(&bank, &by_bot()).await);
    assert_eq!((refused.code.as_str(), refused.status), ("UCAN_REVOKED", 409));
    assert_eq!(bank.balance(&bob).await.0, "3");
    // Without news of revocations nobody pays for somebody else, and owners pay on.
    let other = to_agent(&bank, &ann, &helper).sign(&ann.key).unwrap();
    bank.world.clock.advance(Span::seconds(31));
    let sent = delegated(&bank, order(&bank, &ann, &bob, "1"), &helper, &[&other]);
    let stale = problem(pay(&bank, &sent).await);
    assert_eq!((stale.code.as_str(), stale.status), ("QONSENT_STALE", 503));
    pay(&bank, &own(&bank, order(&bank, &ann, &bob, "1"), &ann)).await.unwrap();
    bank.close().await;
});

on_each_world!(uses_are_counted_with_the_payment, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let bot = agent("bot");
    let conditions = Conditions { max_uses: Some(3), time_window: None };
    let given = DelegationDraft { meta: conditions.to_meta().unwrap(), ..to_agent(&bank, &ann, &bot) };
    let given = given.sign(&ann.key).unwrap();
    let ask = |amount: &str| delegated(&bank, order(&bank, &ann, &bob, amount), &bot, &[&given]);
    let path = UsesPath { cid: given.cid().to_string() };
    let used = async || ann.client.call::<GetUses>(&path).await.unwrap().used;
    // What is refused uses nothing.
    assert_eq!(code(pay(&bank, &ask("500")).await), "INSUFFICIENT_FUNDS");
    assert_eq!(used().await, 0);
    // A request for money is fulfilled under a delegation as well.
    let wanted = CreateRequestRequest {
        amount: Some("2".into()),
        currency: "QToken".into(),
        memo: String::new(),
        expires_at: None,
        single_use: true,
    };
    let wanted = bob.client.clone().with_key(fresh()).call::<CreateRequest>(&wanted).await.unwrap();
    let named = PaymentRequest { client_ref: wanted.request_id.to_string(), ..order(&bank, &ann, &bob, "2") };
    pay(&bank, &delegated(&bank, named.clone(), &bot, &[&given])).await.unwrap();
    let again = PaymentRequest { nonce: format!("nonce-{}", fresh()), ..named };
    assert_eq!(code(pay(&bank, &delegated(&bank, again, &bot, &[&given])).await), "REQUEST_STATE");
    assert_eq!(used().await, 1);
    let orders: Vec<_> = (0..20).map(|_| ask("1")).collect();
    let outcomes = join_all(orders.iter().map(|order| pay(&bank, order))).await;
    let (paid, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!(paid.len(), 2);
    assert!(refused.into_iter().all(|outcome| code(outcome) == "UCAN_USED_UP"));
    assert_eq!((used().await, bank.balance(&bob).await.0.as_str()), (3, "4"));
    bank.close().await;
});

on_each_world!(a_delegate_is_bound_as_the_owner_is, async |world: World| {
    let none = [("limit_transaction", "none"), ("limit_monthly", "none"), ("limit_daily", "1500")];
    let bank = Bank::open_with(world, settings(&none)).await;
    let (ann, bob) = (bank.person("ann", "9000").await, bank.person("bob", "0").await);
    let bot = agent("bot");
    let given = to_agent(&bank, &ann, &bot).sign(&ann.key).unwrap();
    let ask = |amount: &str| delegated(&bank, order(&bank, &ann, &bob, amount), &bot, &[&given]);
    let large = own(&bank, order(&bank, &ann, &bob, "1001"), &ann);
    for sent in [&large, &ask("1001")] {
        let refused = problem(pay(&bank, sent).await);
        assert_eq!((refused.code.as_str(), refused.status), ("MFA_REQUIRED", 403));
        assert!(refused.hint.unwrap().contains("an invocation proves one key"));
    }
    let proven = bank.world.client_as("qwallet", stepped_up(&ann.did, bank.now())).with_key(fresh());
    assert_eq!(code(proven.call::<CreatePayment>(&ask("1001")).await), "MFA_REQUIRED");
    let proven = bank.world.client_as("qwallet", stepped_up(&ann.did, bank.now())).with_key(fresh());
    proven.call::<CreatePayment>(&large).await.unwrap();
    let refused = problem(pay(&bank, &ask("600")).await);
    assert_eq!(refused.code, "DAILY_LIMIT_EXCEEDED");
    // How much the owner has spent is not the agent's to know.
    assert!(!serde_json::to_string(&refused).unwrap().contains("9000"));
    pay(&bank, &ask("400")).await.unwrap();
    bank.close().await;
});

on_each_world!(a_foreign_program_invokes_and_delegates, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let bot = agent("bot");
    let by = |plain: &PaymentRequest, agent: Option<&Agent>| {
        let mut node = q_oracle::script("npm iso-ucan", env!("CARGO_MANIFEST_DIR"), "invoke.mjs")?;
        let input = payment_input(&bank.world.instance.did, plain);
        let asked = json!({
            "owner": base64url::encode(ann.key.seed()),
            "agent": agent.map(|agent| base64url::encode(agent.key.seed())),
            "at": bank.now().seconds(),
            "order": serde_json::from_slice::<serde_json::Value>(&input).unwrap(),
            "policy": [["==", ".currency", "QToken"], ["==", ".wallet", ann.wallet.wallet_id.to_string()]],
        });
        let answer = q_oracle::ask(&mut node, asked.to_string()).unwrap_or_else(|why| panic!("{why}"));
        Some(PaymentRequest { signature: String::from_utf8(answer).unwrap(), ..plain.clone() })
    };
    let plain = order(&bank, &ann, &bob, "3");
    if let Some(invoked) = by(&plain, None) {
        let paid = pay(&bank, &invoked).await.unwrap();
        keeps_its_receipt(&ann, &paid, &[&ann.did]).await;
        let invoked = by(&order(&bank, &ann, &bob, "4"), Some(&bot)).unwrap();
        let paid = pay(&bank, &invoked).await.unwrap();
        keeps_its_receipt(&ann, &paid, &[&bot.did, &ann.did]).await;
        assert_eq!(
            code(pay(&bank, &PaymentRequest { amount: "5".into(), ..invoked }).await),
            "SIGNATURE_INVALID"
        );
        assert_eq!(bank.balance(&bob).await.0, "7");
    }
    bank.close().await;
});
