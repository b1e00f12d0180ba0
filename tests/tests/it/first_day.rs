//! A first day with the house: pay, be paid, share, take back, verify.

use q_tests::Instance;

#[test]
fn an_identity_pays_another_and_both_see_it() {
    let Some(mut house) = Instance::demo(&[]) else { return };
    assert!(house.greeting.contains("alice pays bob 12.5 QToken"), "{}", house.greeting);

    let paid = house.q(&["wallet", "pay", "alice", "3", "--as", "bob", "--json"]).json();
    assert_eq!(paid["status"], "SETTLED");
    let bob = house.q(&["wallet", "balance", "--as", "bob", "--json"]).json();
    let alice = house.q(&["wallet", "balance", "--as", "alice", "--json"]).json();
    let available = |report: &serde_json::Value| report["balances"]["QToken"]["available"].clone();
    // The payer pays the fees on top; the payee gets the whole amount.
    assert_eq!(available(&alice).as_str().unwrap().split('.').next(), Some("9990"));
    assert!(available(&bob).as_str().unwrap().starts_with("9.4"), "{bob}");
    let books = house.q(&["wallet", "trial-balance", "--json"]).json();
    assert!(books["items"].as_array().unwrap().iter().all(|row| row["difference"] == "0"), "{books}");
    assert_eq!(house.q(&["verify"]).code, Some(0));
    house.stop();
    let offline = house.q(&["verify"]);
    assert_eq!(offline.code, Some(0), "{}{}", offline.said, offline.complained);
}

#[test]
fn a_payment_repeated_under_its_key_happens_once() {
    let Some(house) = Instance::demo(&[]) else { return };
    let pay = ["wallet", "pay", "bob", "5", "--as", "alice", "--idempotency-key", "rent-november", "--json"];
    let first = house.q(&pay).json();
    let second = house.q(&pay).json();
    assert_eq!(first["transactionId"], second["transactionId"]);
    let bob = house.q(&["wallet", "balance", "--as", "bob", "--json"]).json();
    assert_eq!(bob["balances"]["QToken"]["available"], "17.5");
}

#[test]
fn another_reads_a_wallet_only_while_it_is_granted() {
    let Some(house) = Instance::demo(&[]) else { return };
    let read = || house.q(&["wallet", "balance", "alice", "--as", "bob", "--json"]);
    let before = read();
    assert_eq!(before.code, Some(5), "{}", before.said);
    assert!(before.complained.contains("WALLET_NOT_FOUND"), "{}", before.complained);
    let granted = house.q(&["grant", "wallet", "bob", "--as", "alice", "--json"]);
    assert_eq!(granted.code, Some(0), "{}", granted.complained);
    assert!(read().json()["balances"]["QToken"]["available"].is_string());
    let revoked = house.q(&["grant", "revoke", "bob", "--as", "alice", "--json"]);
    assert_eq!(revoked.code, Some(0), "{}", revoked.complained);
    assert_eq!(read().code, Some(5));
}
