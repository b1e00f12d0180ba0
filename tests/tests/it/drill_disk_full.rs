//! The disk is full or broken: writes are refused with a word, reads go on, and everything goes on once there is room
//! or the disk is mended.

use q_tests::{Instance, Payer, Reader, SmallDisk, UNLIMITED, sound};
use qwallet_api::{PaymentRequest, TransactionId};

/// Payments of one instance; enough that the disk runs full in between and not at a convenient moment.
const PAYMENTS: usize = 400;
/// Room for the stores and for the program, which an instance keeps beside them for a rollback.
const DISK_MEBIBYTES: u64 = 768;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_writes_and_loses_nothing() {
    let Some(disk) = SmallDisk::mount(DISK_MEBIBYTES) else { return };
    let Some(mut house) = Instance::unstarted_in(&disk.path(), &UNLIMITED) else { return };
    house.start(&["up", "--demo"]);
    let (alice, bob) = (Payer::of(&house, "alice"), Payer::of(&house, "bob").wallet().to_owned());
    let reader = Reader::of(&house, "bob");
    let orders: Vec<_> = (0..PAYMENTS)
        .map(|number| format!("disk-full-{number}"))
        .map(|key| (alice.order(&bob, "0.01", &key), key))
        .collect();
    let mut answered = Vec::new();
    for (order, key) in &orders[..10] {
        answered.push(alice.pay(order, key).await.expect("there is room").transaction_id);
    }

    disk.fill();
    let mut refusal = None;
    for (order, key) in &orders[10..] {
        match alice.pay(order, key).await {
            Ok(paid) => answered.push(paid.transaction_id),
            Err(error) => {
                refusal = error.problem().cloned();
                break;
            }
        }
    }
    let refusal = refusal.expect("a full disk is noticed, and answered with a problem");
    assert_eq!((refusal.status, refusal.code.as_str()), (507, "STORAGE_FULL"), "{refusal:?}");
    assert!(refusal.hint.as_ref().is_some_and(|hint| hint.contains("Idempotency-Key")), "{refusal:?}");
    let (status, wallet) = reader.look().await.expect("reading goes on");
    assert_eq!(status, 200, "{wallet}");
    assert_eq!(house.get("qwallet", "/health/live").await.expect("it lives").0, 200);

    disk.free();
    // Every order again under its key: what was answered is answered alike, the rest happens now.
    for (number, (order, key)) in orders.iter().enumerate() {
        let paid = alice.pay(order, key).await.expect("there is room again");
        assert!(
            answered.get(number).is_none_or(|first| *first == paid.transaction_id),
            "{key} was paid twice"
        );
    }
    let balance = house.q(&["wallet", "balance", "--as", "bob", "--json"]).json();
    assert_eq!(balance["balances"]["QToken"]["available"], "16.5");
    sound(&house, "disk full", "507 STORAGE_FULL, reads went on, writes resumed, nothing lost or doubled");
    house.stop();
    assert_eq!(house.q(&["verify"]).code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_on_a_full_disk_it_starts_again_when_there_is_room() {
    let Some(disk) = SmallDisk::mount(DISK_MEBIBYTES) else { return };
    let Some(mut house) = Instance::unstarted_in(&disk.path(), &UNLIMITED) else { return };
    house.start(&["up", "--demo"]);
    let (alice, bob) = (Payer::of(&house, "alice"), Payer::of(&house, "bob").wallet().to_owned());
    disk.fill();
    let mut paid = 0;
    for number in 0..PAYMENTS {
        let key = format!("killed-full-{number}");
        if alice.pay(&alice.order(&bob, "0.01", &key), &key).await.is_err() {
            break;
        }
        paid += 1;
    }
    assert!(paid < PAYMENTS, "the disk is not full");
    house.kill();
    disk.free();
    house.start(&["up", "--demo"]);
    let balance = house.q(&["wallet", "balance", "--as", "bob", "--json"]).json();
    let available = balance["balances"]["QToken"]["available"].as_str().expect("an amount").to_owned();
    // The one that was refused may have reached the log: it is there wholly or not at all.
    let hundredths = |paid: usize| {
        let whole = 1_250 + paid;
        format!("{}.{:02}", whole / 100, whole % 100).trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    assert!([hundredths(paid), hundredths(paid + 1)].contains(&available), "{available} after {paid}");
    sound(&house, "kill -9 on a full disk", "starts again, every answered payment is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_disk_that_turns_read_only_nothing_is_accepted_and_nothing_lost() {
    let Some(disk) = SmallDisk::mount(DISK_MEBIBYTES) else { return };
    let Some(mut house) = Instance::unstarted_in(&disk.path(), &UNLIMITED) else { return };
    house.start(&["up", "--demo"]);
    let (alice, bob) = (Payer::of(&house, "alice"), Payer::of(&house, "bob").wallet().to_owned());
    let reader = Reader::of(&house, "bob");
    let orders: Vec<_> = (0..12)
        .map(|number| format!("read-only-{number}"))
        .map(|key| (alice.order(&bob, "0.01", &key), key))
        .collect();
    let mut answered = Vec::new();
    for (order, key) in &orders[..10] {
        answered.push(alice.pay(order, key).await.expect("the disk works").transaction_id);
    }
    if !disk.turn_read_only() {
        return;
    }
    // The first one meets the disk; then nothing is built on a store of which nobody knows what was kept.
    for ((order, key), codes) in
        orders[10..].iter().zip([&["STORAGE_UNAVAILABLE"][..], &["STORAGE_UNAVAILABLE", "WRITE_STOPPED"][..]])
    {
        let refused = alice.pay(order, key).await.expect_err("nothing can be written");
        let problem = refused.problem().expect("a problem, not a broken connection");
        assert_eq!(problem.status, 503, "{problem:?}");
        assert!(codes.contains(&problem.code.as_str()), "{problem:?}");
    }
    assert_eq!(reader.look().await.expect("reading goes on").0, 200);
    assert_eq!(house.get("qwallet", "/health/live").await.expect("it lives").0, 200);
    house.kill();
    disk.repair();
    house.start(&["up", "--demo"]);
    for (number, (order, key)) in orders.iter().enumerate() {
        let paid = alice_again(&house, order, key).await;
        assert!(answered.get(number).is_none_or(|first| *first == paid), "{key} was paid twice");
    }
    let balance = house.q(&["wallet", "balance", "--as", "bob", "--json"]).json();
    assert_eq!(balance["balances"]["QToken"]["available"], "12.62");
    sound(
        &house,
        "disk turned read-only",
        "503, reads went on; mended and started again nothing is lost or doubled",
    );
}

async fn alice_again(house: &Instance, order: &PaymentRequest, key: &str) -> TransactionId {
    let paid = Payer::of(house, "alice").pay(order, key).await;
    paid.expect("the disk works again").transaction_id
}
