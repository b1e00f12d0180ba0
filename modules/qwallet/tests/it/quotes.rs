//! Quotes: what a payment costs by whom it goes to, and that it costs just that for five minutes.

use q_core::{IdentityKind, Span};
use q_testkit::{World, on_each_world};
use qwallet_api::{
    CreateIntent, CreateIntentRequest, CreatePayment, GetQuote, Intent, PaymentRequest, Quote, QuoteRequest,
    Transaction,
};

use crate::{
    fees,
    support::{Bank, Person, ask, code, fresh, problem, sign_it},
};

async fn quote(person: &Person, asked: QuoteRequest) -> Result<Quote, String> {
    match person.client.call::<GetQuote>(&asked).await {
        Ok(quote) => Ok(quote),
        refused => Err(code(refused)),
    }
}

fn to(payee: &Person, amount: &str) -> QuoteRequest {
    QuoteRequest { recipient: Some(payee.did.to_string()), ..QuoteRequest::of(amount, "QToken") }
}

fn order(bank: &Bank, payer: &Person, payee: &Person, amount: &str, quote: &Quote) -> PaymentRequest {
    let order = bank.order(payer, payee.did.as_str(), amount);
    bank.signed(PaymentRequest { quote_id: quote.quote_id.clone(), ..order }, payer)
}

async fn send(payer: &Person, order: &PaymentRequest, key: &str) -> Result<Transaction, String> {
    match payer.client.clone().with_key(key).call::<CreatePayment>(order).await {
        Ok(paid) => Ok(paid),
        refused => Err(code(refused)),
    }
}

async fn pay(
    bank: &Bank,
    payer: &Person,
    payee: &Person,
    amount: &str,
    quote: &Quote,
) -> Result<String, String> {
    let paid = send(payer, &order(bank, payer, payee, amount, quote), &fresh()).await?;
    Ok(paid.fees.total.as_str().to_owned())
}

fn intent(payee: &Person, amount: &str, quote: &Quote) -> CreateIntentRequest {
    CreateIntentRequest { quote_id: quote.quote_id.clone(), ..ask(payee, amount) }
}

async fn intend(payer: &Person, asked: &CreateIntentRequest, key: &str) -> Result<Intent, String> {
    match payer.client.clone().with_key(key).call::<CreateIntent>(asked).await {
        Ok(intent) => Ok(intent),
        refused => Err(code(refused)),
    }
}

on_each_world!(a_quote_holds_for_five_minutes_whatever_the_fees_become, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "5000").await, bank.person("bob", "0").await);
    let [first, second] = bank.approvers().await;
    fees::set(&ann, &fees::version(&bank, 100, 60, &[&first, &second])).await.unwrap();
    let cheap = quote(&ann, to(&bob, "100")).await.unwrap();
    assert_eq!((cheap.fees.total.as_str(), cheap.schedule_version), ("0.6", 1));
    assert_eq!(cheap.valid_until, Some(bank.now() + Span::seconds(300)));
    bank.world.clock.advance(Span::seconds(60));
    let dear = quote(&ann, to(&bob, "100")).await.unwrap();
    assert_eq!((dear.fees.total.as_str(), dear.schedule_version), ("1", 2));

    // Whoever names the quote pays by it, though more was signed as the most; who names none pays what holds.
    assert_eq!(pay(&bank, &ann, &bob, "100", &cheap).await, Ok("0.6".into()));
    let none = Quote { quote_id: None, ..cheap.clone() };
    assert_eq!(pay(&bank, &ann, &bob, "100", &none).await, Ok("1".into()));
    assert_eq!(pay(&bank, &ann, &bob, "100", &dear).await, Ok("1".into()));
    // Less was signed than was quoted.
    let stingy = PaymentRequest { max_fees: "0.99".into(), ..order(&bank, &ann, &bob, "100", &dear) };
    let stingy = bank.signed(stingy, &ann);
    assert_eq!(send(&ann, &stingy, &fresh()).await.unwrap_err(), "FEES_EXCEED_MAXIMUM");
    let made = intend(&ann, &intent(&bob, "100", &cheap), "intent-key").await.unwrap();
    assert_eq!(made.fees.total.as_str(), "0.6");

    // At its last instant it holds, and not after.
    bank.world.clock.advance(Span::seconds(240));
    let late = order(&bank, &ann, &bob, "100", &cheap);
    assert_eq!(send(&ann, &late, "late").await.unwrap().fees.total.as_str(), "0.6");
    bank.world.clock.advance(Span::micros(1));
    assert_eq!(pay(&bank, &ann, &bob, "100", &cheap).await, Err("QUOTE_EXPIRED".into()));
    let refused =
        ann.client.clone().with_key(fresh()).call::<CreateIntent>(&intent(&bob, "100", &cheap)).await;
    let refused = problem(refused);
    assert_eq!((refused.code.as_str(), refused.status), ("QUOTE_EXPIRED", 410));
    assert!(refused.hint.unwrap().contains("GET /quote"));

    // What was answered before is answered again, and happens once; the intent keeps its price.
    let again = send(&ann, &late, "late").await.unwrap();
    assert_eq!(again.fees.total.as_str(), "0.6");
    let same = intend(&ann, &intent(&bob, "100", &cheap), "intent-key").await.unwrap();
    assert_eq!(same.intent_id, made.intent_id);
    sign_it(&made, &ann).await.unwrap();
    assert_eq!(bank.balance(&ann).await.2, "100.6");
    assert_eq!(bank.balance(&bob).await.1, "400");
    assert_eq!(bank.findings().await, Vec::<String>::new());
    bank.close().await;
});

on_each_world!(a_quote_is_one_payers_for_one_amount_and_class, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "1000").await, bank.person("bob", "1000").await);
    let eve = bank.person("eve", "0").await;
    bank.stands("shop", IdentityKind::Enterprise, &[&bob]);
    let shop = bank.person("shop", "0").await;
    let own = quote(&ann, to(&eve, "10")).await.unwrap();
    let refused = async |payer: &Person, payee: &Person, amount: &str, id: String| {
        let bent = Quote { quote_id: Some(id), ..own.clone() };
        pay(&bank, payer, payee, amount, &bent).await.unwrap_err()
    };
    let id = own.quote_id.clone().unwrap();
    assert_eq!(refused(&bob, &eve, "10", id.clone()).await, "QUOTE_INVALID", "another identity's");
    assert_eq!(refused(&ann, &eve, "10.1", id.clone()).await, "QUOTE_INVALID", "another amount");
    assert_eq!(refused(&ann, &shop, "10", id.clone()).await, "QUOTE_INVALID", "another class");
    assert_eq!(refused(&ann, &eve, "10", "quote_AAAA".into()).await, "QUOTE_INVALID");
    assert_eq!(refused(&ann, &eve, "10", "x".repeat(5_000)).await, "QUOTE_INVALID");
    let mut bent = id.clone().into_bytes();
    let last = bent.len() - 8;
    bent[last] = if bent[last] == b'A' { b'B' } else { b'A' };
    assert_eq!(refused(&ann, &eve, "10", String::from_utf8(bent).unwrap()).await, "QUOTE_INVALID");
    let stolen = intend(&bob, &intent(&eve, "10", &own), &fresh()).await;
    assert_eq!(stolen.unwrap_err(), "QUOTE_INVALID");
    // The same to anybody of the class, more than once.
    assert_eq!(pay(&bank, &ann, &bob, "10", &own).await, Ok("0.06".into()));
    assert_eq!(pay(&bank, &ann, &eve, "10.0", &own).await, Ok("0.06".into()));
    let merchant = quote(&ann, to(&shop, "10")).await.unwrap();
    assert_eq!(merchant.class, "merchant");
    assert_eq!(pay(&bank, &ann, &shop, "10", &merchant).await, Ok("0.06".into()));
    bank.close().await;
});

on_each_world!(a_quote_says_what_it_costs_whom, async |world: World| {
    let bank = Bank::open(world).await;
    let ann = bank.person("ann", "100").await;
    bank.stands("robot", IdentityKind::Root, &[&ann]);
    let robot = bank.person("robot", "0").await;
    let own = quote(&ann, to(&robot, "10")).await.unwrap();
    assert_eq!((own.class.as_str(), own.fees.total.as_str()), ("module", "0"));
    assert_eq!(pay(&bank, &ann, &robot, "10", &own).await, Ok("0".into()));
    let of = || QuoteRequest::of("10", "QToken");
    let classes = [("p2p", "0.06"), ("merchant", "0.06"), ("module", "0")];
    for (class, total) in classes {
        let told = quote(&ann, QuoteRequest { class: Some(class.into()), ..of() }).await.unwrap();
        assert_eq!(
            (told.class.as_str(), told.fees.total.as_str(), told.network.as_str()),
            (class, total, "internal")
        );
    }
    // There are no rates, so none is told but that of a currency to itself.
    let same = QuoteRequest { to_currency: Some("QToken".into()), ..of() };
    assert_eq!(quote(&ann, same).await.unwrap().exchange_rate, Some("1".into()));
    let refused = [
        (QuoteRequest { to_currency: Some("PI".into()), ..of() }, "NO_RATE"),
        (QuoteRequest { to_currency: Some("EUR".into()), ..of() }, "CURRENCY_UNSUPPORTED"),
        (QuoteRequest { priority: Some("urgent".into()), ..of() }, "INVALID_REQUEST"),
        (QuoteRequest { class: Some("friend".into()), ..of() }, "INVALID_REQUEST"),
        (QuoteRequest { class: Some("p2p".into()), ..to(&robot, "10") }, "INVALID_REQUEST"),
        (QuoteRequest { wallet: Some(robot.wallet.wallet_ref.clone()), ..of() }, "WALLET_NOT_FOUND"),
        (QuoteRequest { recipient: Some("did:key:zNobody".into()), ..of() }, "RECIPIENT_UNKNOWN"),
        (to(&ann, "10"), "SELF_PAYMENT"),
        (QuoteRequest { network: Some("evm".into()), ..to(&robot, "10") }, "RAIL_UNSUPPORTED"),
        (QuoteRequest { network: Some("evm".into()), ..of() }, "RAIL_UNSUPPORTED"),
        (QuoteRequest::of("0", "QToken"), "AMOUNT_OUT_OF_RANGE"),
        (QuoteRequest::of("1e3", "QToken"), "AMOUNT_MALFORMED"),
    ];
    for (asked, refusal) in refused {
        assert_eq!(quote(&ann, asked.clone()).await.unwrap_err(), refusal, "{asked:?}");
    }
    for priority in ["low", "normal", "high"] {
        let told = quote(&ann, QuoteRequest { priority: Some(priority.into()), ..of() }).await.unwrap();
        assert_eq!(told.estimated_time, Some(1));
    }
    bank.close().await;
});
