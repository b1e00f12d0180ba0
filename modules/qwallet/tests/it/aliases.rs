//! Identities that are named with a host, as did:webvh: what they sign holds, and is theirs under their one name.

use q_runtime::Module;
use q_testkit::{World, identity, on_each_world};
use q_ucan::{Delegation, DelegationDraft};
use qwallet_api::{
    CreatePayment, CreateSchedule, CreateScheduleRequest, MANDATE_TYP, PaymentRequest, signing::signing_input,
};

use crate::{
    approvals::{change, decide, decision, rule, set},
    fees,
    invocations::{self, Agent},
    schedules,
    support::{Approver, Bank, fresh, intend, payment_input, problem, sign, sign_as, sign_it},
};

on_each_world!(what_is_signed_under_a_name_with_a_host_is_sound, async |world: World| {
    let bank = Bank::open(world).await;
    let ((ann, ann_alias), (one, one_alias), (two, two_alias)) =
        (bank.registered(), bank.registered(), bank.registered());
    let (ann, bob) = (bank.person_of(ann, "ann", "1000").await, bank.person("bob", "0").await);
    let order = bank.order(&ann, bob.did.as_str(), "10");
    let signature = sign(&payment_input(&bank.world.instance.did, &order), &ann_alias.0, &ann.key);
    let order = PaymentRequest { signature, ..order };
    ann.client.clone().with_key(fresh()).call::<CreatePayment>(&order).await.unwrap();

    let mandate = schedules::asked(&bank, &ann, &bob, "5", "FREQ=DAILY");
    let input = signing_input(&mandate.order(&bank.world.instance.did, None));
    let signature = sign_as(MANDATE_TYP, &input, &ann_alias.0, &ann.key);
    let mandate = CreateScheduleRequest { signature, ..mandate };
    ann.client.clone().with_key(fresh()).call::<CreateSchedule>(&mandate).await.unwrap();

    // Decisions about intents, one way and the other.
    set(&ann, &change(&ann, 0, rule(2, &[&one, &two], "100"))).await;
    let intent = intend(&ann, &bob, "200").await;
    decide(&bank, &decision(&intent, true, &one_alias)).await.unwrap();
    decide(&bank, &decision(&intent, true, &two_alias)).await.unwrap();
    sign_it(&intent, &ann).await.unwrap();
    let other = intend(&ann, &bob, "300").await;
    decide(&bank, &decision(&other, false, &one_alias)).await.unwrap();

    // A version of the fees, by two operators.
    let (instance, key) = identity("instance");
    for (did, _) in [&one, &two] {
        bank.grant(&instance, &key, did, &q_pdp::Resource::instance(&instance), "admin").await;
    }
    fees::set(&ann, &fees::version(&bank, 100, 60, &[&one_alias, &two_alias])).await.unwrap();
    assert_eq!(bank.module.verify().await.unwrap(), []);
    // It is looked at all the same: whose signature it is not, is found.
    let by = two.0.to_string();
    let turned = bank.module.db().write(move |tx| {
        let sql = "UPDATE intent_approvals SET approver = 'did:key:zSomebody' WHERE approver = $1";
        tx.execute(sql, q_db::params![by.as_str()])
    });
    assert_eq!(turned.await.unwrap(), 1);
    let codes: Vec<_> = bank.module.verify().await.unwrap().into_iter().map(|found| found.code).collect();
    assert_eq!(codes, ["approval_mismatch"]);
    bank.world.abandon().await;
});

fn agent((did, key): &Approver) -> Agent {
    Agent { did: did.clone(), key: key.clone() }
}

fn named(mut draft: DelegationDraft, by: &Approver) -> Delegation {
    draft.issuer.key = Some(by.1.public().to_multikey());
    draft.sign(&by.1).unwrap()
}

on_each_world!(an_invocation_names_everybody_by_their_one_name, async |world: World| {
    let bank = Bank::open(world).await;
    let ((ann_key, ann_alias), (bot_key, bot_alias)) = (bank.registered(), bank.registered());
    let ann = bank.person_of(ann_key.clone(), "ann", "100").await;
    let bob = bank.person("bob", "0").await;
    let (bot, alias) = (agent(&bot_key), agent(&bot_alias));
    let pay = async |by: &Agent, proofs: &[&Delegation]| {
        let order = invocations::order(&bank, &ann, &bob, "1");
        invocations::pay(&bank, &invocations::invoked(&bank, order, by, proofs)).await
    };
    let given = named(invocations::to_agent(&bank, &ann, &bot), &ann_key);
    pay(&bot, &[&given]).await.unwrap();
    // From itself to itself, under ever new names that nobody has counted yet.
    let handed_on = named(invocations::link(&bank, &bot.did, &alias.did, &ann.did), &bot_key);
    let at_once = named(invocations::to_agent(&bank, &ann, &alias), &ann_key);
    let by_alias = named(invocations::link(&bank, &ann_alias.0, &bot.did, &ann.did), &ann_key);
    let rows = [(&alias, vec![&given, &handed_on]), (&alias, vec![&at_once]), (&bot, vec![&by_alias])];
    for (by, proofs) in rows {
        let refused = problem(pay(by, &proofs).await);
        assert_eq!(refused.code, "UCAN_INVALID");
        assert!(serde_json::to_string(&refused).unwrap().contains("did:squid"), "{refused}");
    }
    assert_eq!(bank.balance(&bob).await.0, "1");
    bank.close().await;
});
