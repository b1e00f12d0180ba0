//! Large payments need a payer who proved a second key just now.

use q_contract::Client;
use q_core::Span;
use q_testkit::{World, on_each_world};
use qwallet::SETTINGS;
use qwallet_api::{
    CreateBatch, CreateEscrow, CreatePayment, ExecuteImport, ExecuteImportRequest, GetIntent, IntentPath,
    SignIntent,
};

use crate::support::{
    Bank, Person, code, fresh, intend, item, problem, settings, sign, signature, stepped_up,
};
use crate::{escrows, imports};

/// A bank that asks for a second key above 1,000 and has no other bounds.
pub async fn careful(world: World) -> Bank {
    let none = [("limit_transaction", "none"), ("limit_daily", "none"), ("limit_monthly", "none")];
    Bank::open_with(world, settings(&none)).await
}

/// The person's client after a step-up.
pub fn proven(bank: &Bank, person: &Person) -> Client {
    bank.world.client_as("qwallet", stepped_up(&person.did, bank.now())).with_key(fresh())
}

on_each_world!(above_the_amount_a_payment_needs_a_second_key, async |world: World| {
    let bank = careful(world).await;
    let (ann, bob) = (bank.person("ann", "9000").await, bank.person("bob", "0").await);
    let order = |amount: &str| bank.signed(bank.order(&ann, bob.did.as_str(), amount), &ann);
    let plain = || ann.client.clone().with_key(fresh());
    plain().call::<CreatePayment>(&order("1000")).await.unwrap();
    let refused = problem(plain().call::<CreatePayment>(&order("1000.000000000000000001")).await);
    assert_eq!((refused.code.as_str(), refused.status), ("MFA_REQUIRED", 403));
    let told = format!("{} {}", refused.detail.unwrap_or_default(), refused.hint.unwrap_or_default());
    assert!(told.contains("above 1000 QToken") && told.contains("q auth step-up"), "{told}");
    let large = order("1000.000000000000000001");
    // Somebody else's second key, or one proved too long ago, is none.
    let of_bob = bank.world.client_as("qwallet", stepped_up(&bob.did, bank.now())).with_key(fresh());
    assert_eq!(code(of_bob.call::<CreatePayment>(&large).await), "MFA_REQUIRED");
    let long_ago = bank.now();
    bank.world.clock.advance(Span::seconds(301));
    let stale = bank.world.client_as("qwallet", stepped_up(&ann.did, long_ago)).with_key(fresh());
    assert_eq!(code(stale.call::<CreatePayment>(&large).await), "MFA_REQUIRED");
    // The very order that was refused is good with it, once.
    proven(&bank, &ann).call::<CreatePayment>(&large).await.unwrap();
    assert_eq!(code(proven(&bank, &ann).call::<CreatePayment>(&large).await), "SIGNATURE_INVALID");
    assert_eq!(bank.balance(&bob).await.0, "2000.000000000000000001");
    bank.close().await;
});

on_each_world!(an_intent_tells_that_it_needs_a_second_key, async |world: World| {
    let bank = careful(world).await;
    let (ann, bob) = (bank.person("ann", "9000").await, bank.person("bob", "0").await);
    let intent = intend(&ann, &bob, "2000").await;
    assert_eq!(intent.next_action, "stepUp");
    let path = IntentPath { intent_id: intent.intent_id };
    assert_eq!(proven(&bank, &ann).call::<GetIntent>(&path).await.unwrap().next_action, "sign");
    let request = signature(&intent, &ann);
    let plain = ann.client.clone().with_key("s").call::<SignIntent>(&request).await;
    assert_eq!(code(plain), "MFA_REQUIRED");
    assert_eq!(bank.balance(&ann).await.2, "0");
    proven(&bank, &ann).call::<SignIntent>(&request).await.unwrap();
    assert_eq!(bank.balance(&ann).await.2, "2012");
    bank.close().await;
});

on_each_world!(many_small_payments_in_one_batch_are_one_large_one, async |world: World| {
    let bank = careful(world).await;
    let (ann, bob) = (bank.person("ann", "9000").await, bank.person("bob", "0").await);
    let batch = |amounts: &[&str]| {
        let items = amounts.iter().map(|amount| item(bob.did.as_str(), amount)).collect();
        bank.signed_batch(bank.batch(&ann, items), &ann)
    };
    let plain = || ann.client.clone().with_key(fresh());
    assert_eq!(plain().call::<CreateBatch>(&batch(&["600", "400"])).await.unwrap().committed, 2);
    let large = batch(&["600", "401"]);
    assert_eq!(code(plain().call::<CreateBatch>(&large).await), "MFA_REQUIRED");
    assert_eq!(proven(&bank, &ann).call::<CreateBatch>(&large).await.unwrap().committed, 2);
    bank.close().await;
});

on_each_world!(a_second_key_is_asked_for_before_limits_and_funds, async |world: World| {
    let bank = Bank::open_with(world, SETTINGS).await;
    let (ann, bob) = (bank.person("ann", "20").await, bank.person("bob", "0").await);
    let order = bank.signed(bank.order(&ann, bob.did.as_str(), "1500"), &ann);
    let plain = ann.client.clone().with_key(fresh());
    assert_eq!(code(plain.call::<CreatePayment>(&order).await), "MFA_REQUIRED");
    assert_eq!(code(proven(&bank, &ann).call::<CreatePayment>(&order).await), "DAILY_LIMIT_EXCEEDED");
    bank.close().await;
});

on_each_world!(what_the_house_is_to_hold_needs_a_second_key_as_a_payment_does, async |world: World| {
    let bank = careful(world).await;
    let (ann, bob) = (bank.person("ann", "9000").await, bank.person("bob", "0").await);
    let asked =
        |amount, order| escrows::signed(&bank, escrows::asked(&bank, &ann, &bob, amount, order), &ann);
    let plain = || ann.client.clone().with_key(fresh());
    plain().call::<CreateEscrow>(&asked("1000", "order-1")).await.unwrap();
    let large = asked("1000.01", "order-2");
    assert_eq!(code(plain().call::<CreateEscrow>(&large).await), "MFA_REQUIRED");
    assert_eq!(proven(&bank, &ann).call::<CreateEscrow>(&large).await.unwrap().status, "HELD");
    bank.close().await;
});

on_each_world!(a_payout_file_is_one_large_payment, async |world: World| {
    let none = [("limit_transaction", "none"), ("limit_daily", "none"), ("limit_monthly", "none")];
    let bank = Bank::open_with(world, settings(&[&none[..], &[("step_up", "3 QToken")]].concat())).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let payee = bob.wallet.wallet_ref.as_str();
    // 1.5 and 2.5: neither is above 3, and together they are.
    let document = imports::file(&ann.wallet.wallet_ref, [payee, payee], "M1");
    let import = imports::import(&ann, document, &fresh()).await.unwrap();
    let signature = sign(import.signing_input.as_bytes(), &ann.did, &ann.key);
    let request = ExecuteImportRequest { import_id: import.import_id, signature };
    let plain = ann.client.clone().with_key(fresh());
    assert_eq!(code(plain.call::<ExecuteImport>(&request).await), "MFA_REQUIRED");
    assert_eq!(proven(&bank, &ann).call::<ExecuteImport>(&request).await.unwrap().committed, 2);
    bank.close().await;
});
