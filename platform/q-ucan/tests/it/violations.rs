//! Whoever is refused by a policy learns which statement it was, and on what.

use std::sync::Arc;

use q_ucan::{Ipld, Policy, Refusal, chain, dag_json};
use serde_json::{Value, json};

use crate::support::{draft, person};

fn policy(statements: &Value) -> Policy {
    Policy::from_ipld(&dag_json::from_json(statements).unwrap()).unwrap()
}

/// What is said of the first statement that does not hold.
fn said(statements: &Value, args: &Value) -> String {
    let args = dag_json::from_json(args).unwrap();
    let policy = policy(statements);
    let violation = policy.violation(&args);
    // It names something exactly when the policy does not hold.
    assert_eq!(violation.is_some(), policy.check(&args) == Err(Refusal::MatchError), "{statements}");
    violation.map_or_else(String::new, |violation| violation.to_string())
}

#[test]
fn each_operator_is_told_with_bound_and_value() {
    let args = json!({
        "amount": 1200, "price": 2.5, "text": "12.00", "to": "did:key:zB", "list": [1, 9], "deep": { "a": 1 },
    });
    for (statement, expected) in [
        (json!(["<=", ".amount", 1000]), "amount 1200 is over the delegation's 1000 (.amount <= 1000)"),
        (json!(["<", ".amount", 1200]), "amount 1200 is not under the delegation's 1200 (.amount < 1200)"),
        (json!([">=", ".price", 3]), "price 2.5 is under the delegation's 3 (.price >= 3)"),
        (json!([">", ".price", 2.5]), "price 2.5 is not over the delegation's 2.5 (.price > 2.5)"),
        (json!(["<=", ".text", 1000]), "text 12.00 is a text, which no number bounds (.text <= 1000)"),
        (json!(["<=", ".list", 1]), "list is no number (.list <= 1)"),
        (json!(["<=", ".other", 1]), "other is not given (.other <= 1)"),
        (
            json!(["==", ".to", "did:key:zA"]),
            "to did:key:zB is not the delegation's did:key:zA (.to == did:key:zA)",
        ),
        (json!(["==", ".deep.a", 2]), "deep.a 1 is not the delegation's 2 (.deep.a == 2)"),
        (
            json!(["!=", ".to", "did:key:zB"]),
            "to did:key:zB is what the delegation excludes (.to != did:key:zB)",
        ),
        (
            json!(["like", ".to", "did:squid:*"]),
            "to did:key:zB is not like the delegation's did:squid:* (.to like did:squid:*)",
        ),
        // The first of an `and`, and the only one of an `or`, are what decides.
        (
            json!(["and", [["==", ".amount", 1200], ["or", [["<=", ".price", 2]]]]]),
            "price 2.5 is over the delegation's 2 (.price <= 2)",
        ),
        (
            json!(["or", [["==", ".to", "a"], ["==", ".to", "b"]]]),
            r#"what is asked for is not as the delegation says (["or",[["==",".to","a"],["==",".to","b"]]])"#,
        ),
        (
            json!(["not", [">", ".amount", 1000]]),
            r#"what is asked for is not as the delegation says (["not",[">",".amount",1000]])"#,
        ),
        (
            json!(["all", ".list", ["<", ".", 5]]),
            r#"list is not as the delegation says (["all",".list",["<",".",5]])"#,
        ),
    ] {
        assert_eq!(said(&json!([statement]), &args), expected);
    }
    assert_eq!(said(&json!([]), &args), "");
    // Of several, the first that fails; of what is not asked about, nothing is told.
    let two = json!([["<=", ".amount", 2000], ["<=", ".amount", 1100], ["<=", ".amount", 1]]);
    assert_eq!(said(&two, &args), "amount 1200 is over the delegation's 1100 (.amount <= 1100)");
}

#[test]
fn what_is_told_is_short_and_ends_soon() {
    let long = "ä".repeat(50_000);
    let told = said(&json!([["==", ".a", "b"]]), &json!({ "a": long }));
    assert!(told.contains("ää… is not the delegation's b") && told.chars().count() < 250, "{told}");
    // What runs out of steps is named as well, and no other.
    let wide: Vec<Vec<u32>> = vec![(0..200).collect(); 200];
    let statement = json!(["not", ["not", ["all", ".a", ["all", ".", ["<", ".", 1000]]]]]);
    let told = said(&json!([["==", ".b", 1], statement]), &json!({ "a": wide, "b": 1 }));
    assert!(told.contains("not as the delegation says"), "{told}");
}

#[test]
fn of_a_chain_the_link_that_fails_is_named() {
    let (alice, bob, carol) = (person(1), person(2), person(3));
    let bounded = |from, to: &q_core::Did, most: u32| {
        let mut draft = draft(from, to, Some(&person(1).did), "/qwallet/wallet/pay");
        draft.policy = policy(&json!([["<=", ".amount", most]]));
        draft
    };
    let links = [
        Arc::new(bounded(&alice, &bob.did, 1000).sign(&alice.key).unwrap()),
        Arc::new(bounded(&bob, &carol.did, 10).sign(&bob.key).unwrap()),
    ];
    let of =
        |amount: i128| chain::violation(&links, &q_ucan::policy::args([("amount", Ipld::Integer(amount))]));
    assert!(of(10).is_none());
    for (amount, at, bound) in [(11, 1, 10), (1001, 0, 1000)] {
        let (link, violation) = of(amount).unwrap();
        assert_eq!(link, links[at].cid());
        let told =
            (violation.selector(), violation.operator(), violation.bound(), violation.given().cloned());
        let integer = |number: i128| Some(Ipld::Integer(number));
        assert_eq!(told, (Some(".amount"), "<=", integer(bound), integer(amount)));
    }
}
