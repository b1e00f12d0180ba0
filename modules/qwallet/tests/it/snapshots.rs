//! Snapshots of what many held.

use q_core::{Did, Span, Timestamp, hash};
use q_jose::jws;
use q_runtime::Module;
use q_testkit::{World, identity, on_each_world};
use qwallet_api::{
    CreatePayment, CreateSnapshot, CreateSnapshotRequest, GetSnapshot, GetSnapshotRequest, SNAPSHOT_TYP,
    Snapshot, SnapshotStatement,
};
use serde_json::json;

use crate::support::{Bank, code, fresh};

fn request(as_of: Timestamp, holders: Vec<Did>, proofs: bool) -> CreateSnapshotRequest {
    CreateSnapshotRequest { currency: "QToken".into(), as_of, holders, proofs }
}

/// Checks every entry as a stranger would, with what is told and the service's key.
fn check(snapshot: &Snapshot) {
    let key = identity("service-qwallet").1;
    let parsed = jws::Parsed::parse(&snapshot.jws, jws::JWS_BYTES_MAX).unwrap();
    assert_eq!(parsed.header.typ.as_deref(), Some(SNAPSHOT_TYP));
    let statement: SnapshotStatement = parsed.verify(&key.public()).unwrap().claims().unwrap();
    assert_eq!(
        (statement.merkle_root.as_str(), statement.count, statement.as_of, &statement.total),
        (snapshot.merkle_root.as_str(), snapshot.count, snapshot.as_of, &snapshot.total)
    );
    let digest = |text: &str| -> [u8; 32] {
        data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap().try_into().unwrap()
    };
    for entry in &snapshot.entries {
        let leaf = json!({"holder": entry.holder, "balance": entry.balance.as_str()});
        let leaf = q_tlog::leaf_hash(&hash::canonical_json(&leaf).unwrap());
        let path: Vec<_> = entry.path.as_ref().unwrap().iter().map(|hash| digest(hash)).collect();
        let root = digest(&snapshot.merkle_root);
        q_tlog::verify_inclusion(&leaf, entry.index, snapshot.count, &path, &root).unwrap();
    }
}

on_each_world!(a_snapshot_tells_what_was_held_and_proves_each_entry, async |world: World| {
    let bank = Bank::open(world).await;
    let before = bank.now();
    bank.world.clock.advance(Span::seconds(60));
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "5").await);
    let nobody = identity("nobody").0;
    let at_first = bank.now();
    bank.world.clock.advance(Span::seconds(60));
    let order = bank.signed(bank.order(&ann, bob.did.as_str(), "10"), &ann);
    ann.client.clone().with_key(fresh()).call::<CreatePayment>(&order).await.unwrap();
    let then = bank.now();
    bank.world.clock.advance(Span::seconds(60));
    let operator = identity("operator").0;
    bank.world.make_operator(&operator);
    let service = bank.world.client_as("qwallet", q_core::Caller::Service(principal(&bank), "dao".into()));
    let holders = vec![bob.did.clone(), nobody.clone(), ann.did.clone()];

    let take = async |as_of, proofs| {
        service
            .clone()
            .with_key(fresh())
            .call::<CreateSnapshot>(&request(as_of, holders.clone(), proofs))
            .await
    };
    let snapshot = take(then, true).await.unwrap();
    check(&snapshot);
    let held = |snapshot: &Snapshot, who: &Did| {
        let entry = snapshot.entries.iter().find(|entry| entry.holder == *who).unwrap();
        entry.balance.as_str().to_owned()
    };
    assert_eq!(snapshot.count, 3);
    assert_eq!(held(&snapshot, &bob.did), "15");
    assert_eq!(held(&snapshot, &nobody), "0");
    let earlier = take(at_first, false).await.unwrap();
    assert!(earlier.entries.iter().all(|entry| entry.path.is_none()));
    assert_eq!((held(&earlier, &ann.did), held(&earlier, &bob.did)), ("100".into(), "5".into()));
    assert_eq!(earlier.total.as_str(), "105");

    assert_eq!(code(take(before - Span::seconds(60), false).await), "SNAPSHOT_TOO_OLD");
    assert_eq!(code(take(bank.now(), false).await), "INVALID_REQUEST");
    let key = fresh();
    let twice = request(then, vec![ann.did.clone(), ann.did.clone()], false);
    assert_eq!(code(service.clone().with_key(&key).call::<CreateSnapshot>(&twice).await), "INVALID_REQUEST");
    let person = ann.client.clone().with_key(fresh());
    assert_eq!(
        code(person.call::<CreateSnapshot>(&request(then, holders.clone(), false)).await),
        "FORBIDDEN"
    );

    let own = GetSnapshotRequest {
        holder: None,
        ..serde_json::from_value(json!({"snapshotId": snapshot.snapshot_id})).unwrap()
    };
    let anns = ann.client.call::<GetSnapshot>(&own).await.unwrap();
    assert_eq!((anns.entries.len(), &anns.entries[0].holder), (1, &ann.did));
    check(&anns);
    let bobs = GetSnapshotRequest { holder: Some(bob.did.clone()), ..own.clone() };
    assert_eq!(code(ann.client.call::<GetSnapshot>(&bobs).await), "SNAPSHOT_NOT_FOUND");
    let stranger = bank.person("dora", "0").await;
    assert_eq!(code(stranger.client.call::<GetSnapshot>(&own).await), "SNAPSHOT_NOT_FOUND");
    check(&service.call::<GetSnapshot>(&bobs).await.unwrap());
    let paged = GetSnapshotRequest { limit: q_core::PageLimit::try_from(2).unwrap(), ..own.clone() };
    let page = service.call::<GetSnapshot>(&paged).await.unwrap();
    assert_eq!((page.entries.len(), page.next_cursor.as_deref()), (2, Some("2")));
    let rest = GetSnapshotRequest { cursor: page.next_cursor, ..paged };
    let rest = service.call::<GetSnapshot>(&rest).await.unwrap();
    assert_eq!((rest.entries.len(), rest.next_cursor), (1, None));

    assert_eq!(bank.module.verify().await.unwrap(), []);
    let touch = "UPDATE snapshot_entries SET balance = '999' WHERE balance = '15'";
    bank.module.db().write(move |tx| tx.execute(touch, &[])).await.unwrap();
    let findings = bank.module.verify().await.unwrap();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].place, format!("snapshots {}", snapshot.snapshot_id));
    bank.world.abandon().await;
});

fn principal(bank: &Bank) -> q_core::caller::Principal {
    q_core::caller::Principal::new(identity("service-dao").0, bank.now())
}
