//! Requests for money: what is asked for is what is paid, and once where once is meant.

use futures_util::future::join_all;
use q_core::{Caller, Span};
use q_testkit::{World, on_each_world};
use qwallet_api::{
    CancelRequest, CreatePayment, CreateRequest, CreateRequestRequest, DrawRequest, GetRequest, ListRequests,
    ListRequestsRequest, MoneyRequest, PaymentRequest, ReadRequest, RequestPath,
};

use crate::support::{Bank, Person, code, fresh};

pub async fn request(payee: &Person, amount: Option<&str>, single_use: bool) -> MoneyRequest {
    let asked = CreateRequestRequest {
        amount: amount.map(Into::into),
        currency: "QToken".into(),
        memo: "lunch & tea".into(),
        expires_at: None,
        single_use,
    };
    payee.client.clone().with_key(fresh()).call::<CreateRequest>(&asked).await.unwrap()
}

pub const fn path(request: &MoneyRequest) -> RequestPath {
    RequestPath { request_id: request.request_id }
}

pub fn order(bank: &Bank, payer: &Person, request: &MoneyRequest, amount: &str) -> PaymentRequest {
    let order = bank.order(payer, &request.wallet_ref, amount);
    let client_ref = request.request_id.to_string();
    bank.signed(PaymentRequest { client_ref, ..order }, payer)
}

on_each_world!(a_request_is_paid_once_and_tells_its_payee, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let asked = request(&bob, Some("12.5"), true).await;
    assert_eq!(asked.request_id.to_string().len(), 35, "it fits the reference of a payment");
    assert!(asked.payto_uri.starts_with("payto://x-q/"), "{}", asked.payto_uri);
    let query = format!(
        "/{}?amount=QToken:12.5&message=lunch%20%26%20tea&instruction={}",
        bob.wallet.wallet_ref, asked.request_id
    );
    assert!(asked.payto_uri.ends_with(&query), "{}", asked.payto_uri);
    // Whoever has the link sees what to pay, and nobody else's requests.
    let stranger = bank.world.client_as("qwallet", Caller::Anonymous);
    let public = stranger.call::<ReadRequest>(&path(&asked)).await.unwrap().answer;
    assert_eq!((public.status.as_str(), public.memo.as_str()), ("OPEN", "lunch & tea"));
    assert_eq!(code(ann.client.call::<GetRequest>(&path(&asked)).await), "REQUEST_NOT_FOUND");
    let drawing = stranger.call::<DrawRequest>(&path(&asked)).await.unwrap().0;
    assert!(drawing.contains("<svg") && drawing.len() > 1_000);
    let wrong = order(&bank, &ann, &asked, "12");
    assert_eq!(
        code(ann.client.clone().with_key(fresh()).call::<CreatePayment>(&wrong).await),
        "REQUEST_STATE"
    );
    // Many pay at once, one is taken.
    let attempts = (0..16).map(|_| {
        let order = order(&bank, &ann, &asked, "12.5");
        let client = ann.client.clone().with_key(fresh());
        async move { client.call::<CreatePayment>(&order).await.is_ok() }
    });
    let paid = join_all(attempts).await.into_iter().filter(|is_paid| *is_paid).count();
    assert_eq!((paid, bank.balance(&bob).await.1.as_str()), (1, "12.5"));
    let told = bob.client.call::<GetRequest>(&path(&asked)).await.unwrap();
    assert_eq!((told.status.as_str(), told.payments, told.transaction_id.is_some()), ("PAID", 1, true));
    let back = bob.client.clone().with_key(fresh()).call::<CancelRequest>(&path(&asked)).await;
    assert_eq!(code(back), "REQUEST_STATE");
    bank.close().await;
});

on_each_world!(a_request_without_amount_is_paid_again_until_it_is_taken_back, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let asked = request(&bob, None, false).await;
    for amount in ["1", "2.25"] {
        let order = order(&bank, &ann, &asked, amount);
        ann.client.clone().with_key(fresh()).call::<CreatePayment>(&order).await.unwrap();
    }
    assert_eq!(bob.client.call::<GetRequest>(&path(&asked)).await.unwrap().payments, 2);
    let gone = bob.client.clone().with_key(fresh()).call::<CancelRequest>(&path(&asked)).await.unwrap();
    assert_eq!(gone.status, "CANCELLED");
    let late = order(&bank, &ann, &asked, "1");
    assert_eq!(
        code(ann.client.clone().with_key(fresh()).call::<CreatePayment>(&late).await),
        "REQUEST_STATE"
    );
    let soon = CreateRequestRequest {
        amount: None,
        currency: "QToken".into(),
        memo: String::new(),
        expires_at: Some(bank.now() + Span::seconds(60)),
        single_use: true,
    };
    let soon = bob.client.clone().with_key(fresh()).call::<CreateRequest>(&soon).await.unwrap();
    bank.world.clock.advance(Span::seconds(60));
    let late = order(&bank, &ann, &soon, "1");
    assert_eq!(
        code(ann.client.clone().with_key(fresh()).call::<CreatePayment>(&late).await),
        "REQUEST_STATE"
    );
    let all = ListRequestsRequest { cursor: None, limit: q_core::PageLimit::default() };
    let list = bob.client.call::<ListRequests>(&all).await.unwrap();
    let mut states: Vec<&str> = list.items.iter().map(|item| item.status.as_str()).collect();
    states.sort_unstable();
    assert_eq!(states, ["CANCELLED", "EXPIRED"]);
    // A reference that only looks like a request of this payee is a reference.
    let other = PaymentRequest {
        client_ref: format!("rq_{}", "0".repeat(32)),
        ..bank.order(&ann, bob.did.as_str(), "1")
    };
    let other = bank.signed(other, &ann);
    ann.client.clone().with_key(fresh()).call::<CreatePayment>(&other).await.unwrap();
    bank.close().await;
});
