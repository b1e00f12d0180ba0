//! Signed transactions against the reference SDK.

use q_core::{Amount, AmountError, Scale};
use q_oracle::{ask, script};
use qwallet_rail_stellar::{Network, Payment, Refused, address, sign};
use qwallet_rails::{Seed, Slot};
use serde_json::{Value, json};

const PI: Scale = Scale::new(8).expect("8 decimals are allowed");

fn payment(to: &str) -> Payment {
    Payment {
        to: to.to_owned(),
        amount: Amount::from_units(1_234_567_890),
        scale: PI,
        is_first: false,
        sequence: 4_294_967_297,
        fee: 100_000,
        valid_until: 1_795_300_000,
        memo: "order 7 – ü".to_owned(),
    }
}

#[test]
fn the_same_payment_makes_the_same_bytes_as_the_reference_sdk() {
    let seed = Seed::new([7; 64]);
    let house = Slot { seed: &seed, index: 0 };
    let to = address(Slot { seed: &seed, index: 5 }).expect("a key");
    let plain = payment(&to);
    let cases = [
        (Network::Stellar, plain.clone()),
        (Network::StellarTest, Payment { memo: String::new(), ..plain.clone() }),
        (Network::Pi, Payment { is_first: true, amount: Amount::from_units(10), ..plain.clone() }),
        (
            Network::PiTest,
            Payment {
                amount: Amount::from_units(i64::MAX.unsigned_abs().into()),
                scale: Scale::new(7).expect("7"),
                ..plain.clone()
            },
        ),
    ];
    let asked: Vec<Value> = cases
        .iter()
        .map(|(network, payment)| {
            json!({
                "passphrase": network.passphrase(), "seed": "07".repeat(64), "to": payment.to,
                "amount": payment.amount.display_full(payment.scale), "decimals": payment.scale.decimals(),
                "first": payment.is_first, "sequence": payment.sequence.to_string(), "fee": payment.fee.to_string(),
                "until": payment.valid_until, "memo": payment.memo,
            })
        })
        .collect();
    let signed: Vec<_> =
        cases.iter().map(|(network, payment)| sign(house, *network, payment).expect("it is right")).collect();
    let Some(mut command) = script("@stellar/stellar-sdk", env!("CARGO_MANIFEST_DIR"), "sdk.mjs") else {
        return;
    };
    let told = ask(&mut command, json!(asked).to_string()).expect("the SDK signs too");
    let told: Vec<Value> = serde_json::from_slice(&told).expect("the script tells JSON");
    let own = address(house).expect("a key");
    for (signed, told) in signed.iter().zip(&told) {
        assert_eq!(json!({ "address": own, "hash": signed.hash, "envelope": signed.envelope }), *told);
    }
    assert_eq!(told.len(), cases.len());
}

#[test]
fn what_the_chain_cannot_carry_is_refused() {
    let seed = Seed::new([7; 64]);
    let house = Slot { seed: &seed, index: 0 };
    let to = address(Slot { seed: &seed, index: 5 }).expect("a key");
    let refused = |payment: Payment| sign(house, Network::PiTest, &payment).expect_err("it is wrong");
    let amount = |units| Payment { amount: Amount::from_units(units), ..payment(&to) };
    assert_eq!(refused(amount(1)), Refused::Amount(AmountError::Precision), "the eighth decimal");
    assert_eq!(refused(amount(0)), Refused::Amount(AmountError::OutOfRange));
    assert_eq!(refused(amount(u128::MAX / 10 * 10)), Refused::Amount(AmountError::OutOfRange));
    assert_eq!(refused(Payment { memo: "x".repeat(29), ..payment(&to) }), Refused::Memo);
    let slip = to.replacen('G', "H", 1);
    assert_eq!(refused(payment(&slip)), Refused::Address(slip));
    assert!(matches!(
        sign(Slot { seed: &seed, index: 1 << 31 }, Network::Pi, &payment(&to)),
        Err(Refused::Key(_))
    ));
}
