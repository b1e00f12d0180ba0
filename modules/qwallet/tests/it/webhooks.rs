//! `/webhooks`: what happens is told, signed as others verify it, until it arrives; and nowhere else.

use futures_util::future::join;
use q_contract::Client;
use q_core::{PageLimit, Span};
use q_db::params;
use q_runtime::{Module, Setting};
use q_testkit::{Engine, World, on_each_world, oracle};
use qwallet::service::Service;
use qwallet_api::{
    CreatePayment, CreateWebhook, CreateWebhookRequest, DeleteWebhook, Delivery, DeliveryPath, GetWebhook,
    ListDeliveries, ListDeliveriesRequest, ListWebhooks, ListWebhooksRequest, Redeliver, RotateWebhook,
    UpdateWebhook, UpdateWebhookRequest, Webhook, WebhookId, WebhookPath,
};
use serde_json::{Value, json};

use crate::{
    receiver::{Receiver, Told},
    replicas::replica_with,
    support::{Bank, Person, code, fresh, settings},
};

const SETTLED: &str = "q.qwallet.tx.settled.v1";

/// A bank whose webhooks may go to receivers on this host.
fn open_to_loopback() -> &'static [Setting] {
    settings(&[
        ("limit_transaction", "none"),
        ("limit_daily", "none"),
        ("limit_monthly", "none"),
        ("webhook_allow", "127.0.0.1"),
    ])
}

fn wanting(url: String, event_types: &[&str]) -> CreateWebhookRequest {
    let event_types = event_types.iter().map(|&topic| topic.to_owned()).collect();
    CreateWebhookRequest { wallet: None, url, event_types, scheme: None }
}

async fn hook(person: &Person, request: &CreateWebhookRequest) -> Webhook {
    keyed(person).call::<CreateWebhook>(request).await.unwrap()
}

fn keyed(person: &Person) -> Client {
    person.client.clone().with_key(fresh())
}

async fn pay(bank: &Bank, payer: &Person, recipient: &Person, amount: &str) {
    let order = bank.signed(bank.order(payer, recipient.did.as_str(), amount), payer);
    keyed(payer).call::<CreatePayment>(&order).await.unwrap();
}

/// Sends what is due and waits for the attempts to end.
async fn deliver(bank: &Bank) {
    let service = bank.module.service();
    service.deliver().await.unwrap();
    service.deliveries_ended().await;
}

async fn deliveries(person: &Person, webhook_id: WebhookId) -> Vec<Delivery> {
    let request =
        ListDeliveriesRequest { webhook_id, status: None, cursor: None, limit: PageLimit::default() };
    person.client.call::<ListDeliveries>(&request).await.unwrap().items
}

/// What receivers that use other people's libraries say; `None` where those are not at hand.
fn verdicts(script: &str, key: &str, now: i64, told: &[Told]) -> Option<Vec<String>> {
    let mut script = oracle::script("standardwebhooks", env!("CARGO_MANIFEST_DIR"), script)?;
    let deliveries: Vec<Value> = told
        .iter()
        .map(|told| {
            json!({"id": told.id, "timestamp": told.timestamp, "signature": told.signature, "body": told.body})
        })
        .collect();
    let asked = json!({"key": key, "now": now, "deliveries": deliveries}).to_string();
    Some(serde_json::from_slice(&oracle::ask(&mut script, asked).unwrap()).unwrap())
}

on_each_world!(a_payment_arrives_as_two_libraries_verify_it, async |world: World| {
    let (bank, receiver) = (Bank::open_with(world, open_to_loopback()).await, Receiver::start().await);
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let made = hook(&bob, &wanting(receiver.url("/ok"), &["q.qwallet.tx.*"])).await;
    let secret = made.secret.clone().unwrap();
    assert!(secret.starts_with("whsec_") && made.public_key.is_none());
    pay(&bank, &ann, &bob, "10").await;
    deliver(&bank).await;

    let told = receiver.told();
    assert_eq!(told.len(), 1);
    let body = told[0].json();
    assert_eq!((&body["type"], &body["data"]["amount"]), (&SETTLED.into(), &"10".into()));
    assert_eq!(body["data"]["to"], bob.wallet.wallet_ref.as_str());
    assert!(told[0].id.starts_with("evt_"));
    let list = deliveries(&bob, made.webhook_id).await;
    assert_eq!(
        (list[0].status.as_str(), list[0].attempts, list[0].response_status),
        ("DELIVERED", 1, Some(204))
    );
    assert_eq!(list[0].event_id, told[0].id);

    let genuine = told[0].clone();
    let now = bank.now().seconds();
    let altered = [
        Told { body: genuine.body.replace("\"10\"", "\"99\""), ..genuine.clone() },
        Told { id: "evt_other".into(), ..genuine.clone() },
        Told { timestamp: genuine.timestamp + 1, ..genuine.clone() },
        Told { signature: genuine.signature.replace("v1,", "v2,"), ..genuine.clone() },
    ];
    for script in ["hooks.py", "hooks.mjs"] {
        let Some(verdict) = verdicts(script, &secret, now, std::slice::from_ref(&genuine)) else { continue };
        assert_eq!(verdict, ["verified"], "{script}");
        for verdict in verdicts(script, &secret, now, &altered).unwrap() {
            assert_ne!(verdict, "verified", "{script}");
        }
        // Recorded and sent again by somebody later.
        let old = verdicts(script, &secret, now + 301, std::slice::from_ref(&genuine)).unwrap();
        assert!(old[0].contains("too old"), "{script}: {old:?}");
        let other = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        assert_ne!(
            verdicts(script, other, now, std::slice::from_ref(&genuine)).unwrap(),
            ["verified"],
            "{script}"
        );
    }
    bank.close().await;
});

on_each_world!(a_new_key_signs_beside_the_old_one_for_a_day, async |world: World| {
    let (bank, receiver) = (Bank::open_with(world, open_to_loopback()).await, Receiver::start().await);
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    for scheme in ["v1", "v1a"] {
        let request = CreateWebhookRequest {
            scheme: Some(scheme.into()),
            ..wanting(receiver.url(&format!("/{scheme}")), &[SETTLED])
        };
        let made = hook(&bob, &request).await;
        let path = WebhookPath { webhook_id: made.webhook_id };
        let rotated = keyed(&bob).call::<RotateWebhook>(&path).await.unwrap();
        let key = |webhook: &Webhook| webhook.secret.clone().or_else(|| webhook.public_key.clone()).unwrap();
        let (old, new) = (key(&made), key(&rotated));
        assert_ne!(old, new);
        assert_eq!(rotated.secret.is_some(), scheme == "v1", "there is nothing secret for receivers in v1a");
        assert!(rotated.old_key_until.is_some());
        pay(&bank, &ann, &bob, "1").await;
        deliver(&bank).await;
        let both = receiver.told_at(&format!("/{scheme}"));
        assert_eq!(both[0].signature.split(' ').count(), 2);
        bank.world.clock.advance(Span::seconds(86_401));
        pay(&bank, &ann, &bob, "1").await;
        deliver(&bank).await;
        let one = receiver.told_at(&format!("/{scheme}")).pop().unwrap();
        assert_eq!(one.signature.split(' ').count(), 1);
        let shown = bob.client.call::<GetWebhook>(&path).await.unwrap();
        assert_eq!((shown.secret, shown.old_key_until), (None, None), "shown once");

        let scripts: &[&str] = if scheme == "v1" { &["hooks.py", "hooks.mjs"] } else { &["hooks.py"] };
        for script in scripts {
            for (key, told, is_good) in
                [(&old, &both[0], true), (&new, &both[0], true), (&old, &one, false), (&new, &one, true)]
            {
                let Some(verdict) = verdicts(script, key, told.timestamp, std::slice::from_ref(told)) else {
                    continue;
                };
                assert_eq!(verdict[0] == "verified", is_good, "{script} {scheme} {verdict:?}");
            }
        }
        keyed(&bob).call::<DeleteWebhook>(&path).await.unwrap();
    }
    bank.close().await;
});

on_each_world!(a_receiver_that_is_down_is_tried_for_three_days_and_then_given_up, async |world: World| {
    let (bank, receiver) = (Bank::open_with(world, open_to_loopback()).await, Receiver::start().await);
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let made = hook(&bob, &wanting(receiver.url("/down"), &[SETTLED])).await;
    pay(&bank, &ann, &bob, "1").await;
    deliver(&bank).await;
    for (attempts, pause) in (1..).zip([5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400]) {
        let waiting = &deliveries(&bob, made.webhook_id).await[0];
        assert_eq!((waiting.status.as_str(), waiting.attempts), ("WAITING", attempts));
        assert_eq!(waiting.next_attempt_at, Some(bank.now() + Span::seconds(pause)));
        bank.world.clock.advance(Span::seconds(pause - 1));
        deliver(&bank).await;
        assert_eq!(receiver.told().len(), usize::try_from(attempts).unwrap(), "not before it is due");
        bank.world.clock.advance(Span::seconds(1));
        deliver(&bank).await;
    }
    let given_up = &deliveries(&bob, made.webhook_id).await[0];
    assert_eq!((given_up.status.as_str(), given_up.attempts), ("FAILED", 10));
    assert_eq!(given_up.error.as_deref(), Some("answered 503"));
    let told = receiver.told();
    assert!(told.iter().all(|one| one.id == told[0].id), "one event, one id");
    assert!(told[9].timestamp > told[0].timestamp, "each attempt is signed anew");

    // Sent again by hand, to an address that answers now.
    let request = UpdateWebhookRequest {
        webhook_id: made.webhook_id,
        url: Some(receiver.url("/ok")),
        event_types: None,
        status: None,
    };
    keyed(&bob).call::<UpdateWebhook>(&request).await.unwrap();
    let path = DeliveryPath { delivery_id: given_up.delivery_id };
    assert_eq!(code(keyed(&ann).call::<Redeliver>(&path).await), "DELIVERY_NOT_FOUND");
    assert_eq!(keyed(&bob).call::<Redeliver>(&path).await.unwrap().status, "WAITING");
    deliver(&bank).await;
    assert_eq!(receiver.told_at("/ok")[0].id, told[0].id);
    assert_eq!(deliveries(&bob, made.webhook_id).await[0].status, "DELIVERED");
    bank.close().await;
});

on_each_world!(a_receiver_that_is_gone_is_left_alone, async |world: World| {
    let (bank, receiver) = (Bank::open_with(world, open_to_loopback()).await, Receiver::start().await);
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let made = hook(&bob, &wanting(receiver.url("/gone"), &[SETTLED])).await;
    pay(&bank, &ann, &bob, "1").await;
    deliver(&bank).await;
    let path = WebhookPath { webhook_id: made.webhook_id };
    assert_eq!(bob.client.call::<GetWebhook>(&path).await.unwrap().status, "DISABLED");
    pay(&bank, &ann, &bob, "1").await;
    deliver(&bank).await;
    assert_eq!(receiver.told().len(), 1);
    let failed = &deliveries(&bob, made.webhook_id).await[0];
    let again = keyed(&bob).call::<Redeliver>(&DeliveryPath { delivery_id: failed.delivery_id }).await;
    assert_eq!(code(again), "INVALID_STATE");

    let change = |status: &str, path: &str| UpdateWebhookRequest {
        webhook_id: made.webhook_id,
        url: Some(receiver.url(path)),
        event_types: None,
        status: Some(status.into()),
    };
    keyed(&bob).call::<UpdateWebhook>(&change("ACTIVE", "/ok")).await.unwrap();
    pay(&bank, &ann, &bob, "2").await;
    deliver(&bank).await;
    keyed(&bob).call::<UpdateWebhook>(&change("PAUSED", "/ok")).await.unwrap();
    pay(&bank, &ann, &bob, "3").await;
    deliver(&bank).await;
    keyed(&bob).call::<UpdateWebhook>(&change("ACTIVE", "/ok")).await.unwrap();
    pay(&bank, &ann, &bob, "4").await;
    deliver(&bank).await;
    let told: Vec<_> =
        receiver.told_at("/ok").iter().map(|told| told.json()["data"]["amount"].clone()).collect();
    assert_eq!(told, ["2", "4"], "what happened while nobody was to be told stays untold");
    bank.close().await;
});

on_each_world!(neither_redirects_nor_endless_answers_nor_slowness_hold_up_others, async |world: World| {
    let (bank, receiver) = (Bank::open_with(world, open_to_loopback()).await, Receiver::start().await);
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let mut hooks = Vec::new();
    for path in ["/slow", "/moved", "/big", "/ok"] {
        hooks.push(hook(&bob, &wanting(receiver.url(path), &[SETTLED])).await.webhook_id);
    }
    for _ in 0..6 {
        pay(&bank, &ann, &bob, "1").await;
    }
    let service = bank.module.service();
    service.deliver().await.unwrap();
    // Four of six to the slow one at once; all to the others meanwhile.
    receiver.reached(4 + 3 * 6).await;
    assert_eq!(receiver.told_at("/slow").len(), 4);
    let answered = async |at: usize| loop {
        let list = deliveries(&bob, hooks[at]).await;
        if list.iter().all(|delivery| delivery.attempts == 1) {
            break list;
        }
        tokio::task::yield_now().await;
    };
    assert!(answered(3).await.iter().all(|delivery| delivery.status == "DELIVERED"));
    assert!(
        answered(2).await.iter().all(|delivery| delivery.status == "DELIVERED"),
        "too long, but an answer"
    );
    let moved = answered(1).await;
    assert!(moved.iter().all(|delivery| delivery.status == "WAITING"));
    assert!(moved[0].error.as_deref().unwrap().contains("not followed"));
    // Nothing is sent a second time while the first attempts are under way.
    service.deliver().await.unwrap();
    assert_eq!(receiver.told_at("/slow").len(), 4);
    receiver.release.send_replace(true);
    service.deliveries_ended().await;
    assert_eq!(receiver.told_at("/slow").len(), 6);
    bank.close().await;
});

on_each_world!(an_address_must_be_public_unless_the_operator_allows_it, async |world: World| {
    let bank = Bank::open(world).await;
    let bob = bank.person("bob", "0").await;
    for url in [
        "http://example.org/hook",
        "https://127.0.0.1/hook",
        "https://[::1]/",
        "https://10.1.2.3/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::ffff:192.168.0.1]/",
        "https://user:secret@example.org/",
        "ftp://example.org/",
    ] {
        let refused = keyed(&bob).call::<CreateWebhook>(&wanting(url.into(), &["*"])).await;
        assert_eq!(code(refused), "WEBHOOK_URL_FORBIDDEN", "{url}");
    }
    for (request, field) in [
        (wanting("not a url".into(), &["*"]), "url"),
        (wanting("https://example.org/".into(), &[]), "eventTypes"),
        (wanting("https://example.org/".into(), &["q.squid.*"]), "eventTypes"),
        (
            CreateWebhookRequest {
                scheme: Some("v2".into()),
                ..wanting("https://example.org/".into(), &["*"])
            },
            "scheme",
        ),
    ] {
        let refused = crate::support::problem(keyed(&bob).call::<CreateWebhook>(&request).await);
        assert_eq!(refused.code, "INVALID_REQUEST");
        assert!(refused.detail.unwrap().contains(field), "{field}");
    }
    // A name that leads home is found out when it is asked: nothing is connected to.
    let receiver = Receiver::start().await;
    let url = format!("https://localhost:{}/ok", receiver.address.port());
    let made = hook(&bob, &wanting(url, &["q.qwallet.tx.*"])).await;
    let ann = bank.person("ann", "100").await;
    pay(&bank, &ann, &bob, "1").await;
    deliver(&bank).await;
    let tried = &deliveries(&bob, made.webhook_id).await[0];
    assert!(tried.error.as_deref().unwrap().contains("not a public one"), "{tried:?}");
    assert!(receiver.told().is_empty());
    bank.close().await;
});

on_each_world!(a_webhook_is_told_of_its_own_wallet_alone, async |world: World| {
    let (bank, receiver) = (Bank::open_with(world, open_to_loopback()).await, Receiver::start().await);
    let (ann, bob, cyd) =
        (bank.person("ann", "100").await, bank.person("bob", "0").await, bank.person("cyd", "0").await);
    let made = hook(&cyd, &wanting(receiver.url("/cyd"), &["*"])).await;
    hook(&ann, &wanting(receiver.url("/ann"), &["q.qwallet.balance.updated.v1"])).await;
    pay(&bank, &ann, &bob, "1").await;
    pay(&bank, &ann, &cyd, "2").await;
    deliver(&bank).await;
    let told = receiver.told_at("/cyd");
    let mut topics: Vec<Value> = told.iter().map(|told| told.json()["type"].clone()).collect();
    // Several are sent at once, so the order of their arrival says nothing.
    topics.sort_unstable_by_key(ToString::to_string);
    assert_eq!(topics, ["q.qwallet.balance.updated.v1", SETTLED]);
    let of_ann = receiver.told_at("/ann");
    assert_eq!(of_ann.len(), 2);
    assert!(of_ann.iter().all(|told| told.json()["data"]["walletRef"] == ann.wallet.wallet_ref.as_str()));

    // To everybody else it does not exist.
    let path = WebhookPath { webhook_id: made.webhook_id };
    let update =
        UpdateWebhookRequest { webhook_id: made.webhook_id, url: None, event_types: None, status: None };
    let list = ListDeliveriesRequest {
        webhook_id: made.webhook_id,
        status: None,
        cursor: None,
        limit: PageLimit::default(),
    };
    assert_eq!(code(bob.client.call::<GetWebhook>(&path).await), "WEBHOOK_NOT_FOUND");
    assert_eq!(code(keyed(&bob).call::<UpdateWebhook>(&update).await), "WEBHOOK_NOT_FOUND");
    assert_eq!(code(keyed(&bob).call::<DeleteWebhook>(&path).await), "WEBHOOK_NOT_FOUND");
    assert_eq!(code(keyed(&bob).call::<RotateWebhook>(&path).await), "WEBHOOK_NOT_FOUND");
    assert_eq!(code(bob.client.call::<ListDeliveries>(&list).await), "WEBHOOK_NOT_FOUND");
    let of_cyd = ListWebhooksRequest { wallet: Some(cyd.wallet.wallet_ref.clone()) };
    assert_eq!(code(bob.client.call::<ListWebhooks>(&of_cyd).await), "WALLET_NOT_FOUND");
    let own = bob.client.call::<ListWebhooks>(&ListWebhooksRequest { wallet: None }).await.unwrap();
    assert!(own.items.is_empty());
    bank.close().await;
});

on_each_world!(a_repetition_makes_nothing_and_shows_no_secret, async |world: World| {
    let bank = Bank::open_with(world, open_to_loopback()).await;
    let bob = bank.person("bob", "0").await;
    let request = wanting("https://example.org/hook?token=hidden".into(), &["*"]);
    let client = bob.client.clone().with_key("same");
    let first = client.call::<CreateWebhook>(&request).await.unwrap();
    let again = client.call::<CreateWebhook>(&request).await.unwrap();
    assert_eq!((again.webhook_id, again.secret), (first.webhook_id, None));
    let listed = bob.client.call::<ListWebhooks>(&ListWebhooksRequest { wallet: None }).await.unwrap();
    assert_eq!((listed.items.len(), listed.items[0].url.as_str()), (1, request.url.as_str()));
    // Neither the secret nor the address is readable in a stolen store.
    let raw = bank.module.db().read(|reader| {
        let row = reader.query_one("SELECT url, secret FROM webhooks", params![])?;
        Ok::<(Vec<u8>, Vec<u8>), q_db::DbError>((row.try_get(0)?, row.try_get(1)?))
    });
    let (url, secret) = raw.await.unwrap();
    assert!(!String::from_utf8_lossy(&url).contains("hidden"));
    assert!(!String::from_utf8_lossy(&secret).contains("whsec"));
    for _ in 1..20 {
        hook(&bob, &request).await;
    }
    assert_eq!(code(keyed(&bob).call::<CreateWebhook>(&request).await), "WEBHOOKS_MAX");
    let path = WebhookPath { webhook_id: first.webhook_id };
    let key = fresh();
    for _ in 0..2 {
        let removed = bob.client.clone().with_key(&key).call::<DeleteWebhook>(&path).await.unwrap();
        assert_eq!(removed.status, "REMOVED");
    }
    assert_eq!(code(bob.client.call::<GetWebhook>(&path).await), "WEBHOOK_NOT_FOUND");
    bank.close().await;
});

on_each_world!(replicas_send_each_event_once_and_a_dead_ones_are_sent_by_the_others, async |world: World| {
    let (bank, receiver) = (Bank::open_with(world, open_to_loopback()).await, Receiver::start().await);
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let made = hook(&bob, &wanting(receiver.url("/ok"), &[SETTLED])).await;
    for _ in 0..30 {
        pay(&bank, &ann, &bob, "1").await;
    }
    if bank.world.engine == Engine::Postgres {
        let other = replica_with(&bank, None, open_to_loopback()).await;
        let send = async |service: &std::sync::Arc<Service>| {
            service.deliver().await.unwrap();
            service.deliveries_ended().await;
        };
        join(send(bank.module.service()), send(other.service())).await;
        join(send(bank.module.service()), send(other.service())).await;
        other.settle().await.unwrap();
        other.db().close().await;
    } else {
        deliver(&bank).await;
    }
    let mut ids: Vec<String> = receiver.told().into_iter().map(|told| told.id).collect();
    assert_eq!(ids.len(), 30);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 30);

    // A process that took some in hand and died: they are due again when its claim has ended.
    pay(&bank, &ann, &bob, "1").await;
    let (webhook, now) = (made.webhook_id, bank.module.db().now());
    let service = bank.module.service();
    let deaf = UpdateWebhookRequest {
        webhook_id: webhook,
        url: Some(receiver.url("/down")),
        event_types: None,
        status: None,
    };
    keyed(&bob).call::<UpdateWebhook>(&deaf).await.unwrap();
    deliver(&bank).await;
    bank.world.clock.advance(Span::seconds(5));
    let taken = bank.module.db().write_locked(move |tx| {
        let until = tx.now() + Span::seconds(120);
        qwallet::store::webhooks::claim(tx, webhook, tx.now(), until, 10)
    });
    assert_eq!(taken.await.unwrap().len(), 1);
    assert!(now <= bank.module.db().now());
    deliver(&bank).await;
    assert_eq!(receiver.told_at("/down").len(), 1, "in another hand");
    bank.world.clock.advance(Span::seconds(120));
    service.deliver().await.unwrap();
    service.deliveries_ended().await;
    assert_eq!(receiver.told_at("/down").len(), 2);
    bank.close().await;
});

on_each_world!(nothing_is_lost_or_doubled_over_a_restart, async |world: World| {
    let (bank, receiver) = (Bank::open_with(world, open_to_loopback()).await, Receiver::start().await);
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    hook(&bob, &wanting(receiver.url("/ok"), &[SETTLED])).await;
    pay(&bank, &ann, &bob, "1").await;
    deliver(&bank).await;
    pay(&bank, &ann, &bob, "2").await;
    let world = bank.world.restart().await;
    let bank = Bank::open_with(world, open_to_loopback()).await;
    deliver(&bank).await;
    let amounts: Vec<Value> =
        receiver.told().iter().map(|told| told.json()["data"]["amount"].clone()).collect();
    assert_eq!(amounts, ["1", "2"], "what was queued before and after, each once");
    bank.close().await;
});
