//! Events of other modules: in the commit they describe, none missing, none twice.

use std::sync::Arc;

use q_bus::AuditBatch;
use q_core::{AuditEntry, Timestamp, audit::AuditId};
use q_db::AuditRow;
use q_testkit::{World, identity, on_each_world};
use qerberos::Qerberos;
use qerberos_api::{GapsRequest, GetGaps, SearchEvents, SearchEventsRequest};

use crate::{Diary, as_operator, raise};

on_each_world!(what_a_module_did_is_in_the_trail_and_what_it_undid_is_not, async |mut world: World| {
    raise(&mut world).await;
    let diary = Diary::raise(&mut world).await;
    world.start();
    let ada = identity("ada").0;
    let mut written = Vec::new();
    for number in 0..10 {
        written.extend(diary.write(&format!("{number}"), &ada, number % 3 == 0).await.ok());
    }
    world.settle().await;
    let request = SearchEventsRequest { layer: Some("diary".into()), ..SearchEventsRequest::default() };
    let page = as_operator(&world).call::<SearchEvents>(&request).await.unwrap();
    let found: Vec<_> = page.events.iter().rev().map(|event| event.id).collect();
    assert_eq!(found, written, "in the order of the commits");
    let seqs: Vec<_> = page.events.iter().rev().map(|event| event.seq).collect();
    assert_eq!(seqs, (1..=written.len() as u64).collect::<Vec<_>>());
    assert_eq!(page.events[0].actor.as_ref().unwrap().squid_id, ada);
    assert_eq!(page.events[0].reference.as_deref(), Some("page:8"));
    let gaps = as_operator(&world).call::<GetGaps>(&GapsRequest {}).await.unwrap();
    let diary = gaps.producers.iter().find(|one| one.producer == "diary").unwrap();
    assert_eq!((diary.expected_seq, diary.seen, diary.conflicts), (7, 6, 0));
    assert!(diary.missing.is_empty());
    world.close().await;
});

fn rows(positions: impl IntoIterator<Item = i64>) -> AuditBatch {
    let row = |position: i64| AuditRow {
        position,
        id: AuditId::from_bytes([position as u8; 16]),
        at: Timestamp::from_seconds(1_795_251_600),
        entry: AuditEntry::change("page.write", None, format!("page:{position}")),
        trace: None,
    };
    let rows = positions.into_iter().map(row).collect();
    AuditBatch { producer: "diary".into(), cursor: "audit of diary".into(), rows, head: 0 }
}

async fn gaps_of(qerberos: &Arc<Qerberos>) -> (u64, Vec<(u64, u64)>, u64) {
    let report = qerberos.trail().gaps().await.unwrap();
    let diary = report.producers.into_iter().find(|one| one.producer == "diary").unwrap();
    (diary.seen, diary.missing.iter().map(|gap| (gap.from, gap.to)).collect(), diary.conflicts)
}

on_each_world!(
    a_second_delivery_adds_nothing_and_a_gap_is_shown_until_it_closes,
    async |mut world: World| {
        let qerberos = raise(&mut world).await;
        let trail = qerberos.trail();
        trail.ingest(rows(1..=3)).await.unwrap();
        trail.ingest(rows(1..=3)).await.unwrap();
        assert_eq!(gaps_of(&qerberos).await, (3, vec![], 0));
        trail.ingest(rows(2..=5)).await.unwrap();
        assert_eq!(gaps_of(&qerberos).await, (5, vec![], 0));
        trail.ingest(rows([9])).await.unwrap();
        assert_eq!(gaps_of(&qerberos).await, (6, vec![(6, 8)], 0));
        let named = q_runtime::Module::verify(&*qerberos).await.unwrap();
        assert_eq!(named.iter().map(|one| one.code.as_str()).collect::<Vec<_>>(), ["sequence_gap"]);
        let mut reused = rows([4]);
        reused.rows[0].id = AuditId::from_bytes([99; 16]);
        trail.ingest(reused).await.unwrap();
        assert_eq!(
            gaps_of(&qerberos).await,
            (6, vec![(6, 8)], 1),
            "another event under a used number is not taken"
        );
        trail.ingest(rows(6..=8)).await.unwrap();
        assert_eq!(gaps_of(&qerberos).await, (9, vec![], 1));
        assert_eq!(trail.db().cursor("audit of diary").await.unwrap(), 8);
        world.close().await;
    }
);

on_each_world!(a_producer_that_was_rolled_back_is_known_by_its_rows, async |mut world: World| {
    let qerberos = raise(&mut world).await;
    let diary = Diary::raise(&mut world).await;
    world.start();
    let ada = identity("ada").0;
    for number in 0..4 {
        diary.write(&format!("{number}"), &ada, false).await.unwrap();
    }
    world.settle().await;
    let trail = qerberos.trail();
    assert_eq!(trail.rolled_back(&diary.0, 4).await.unwrap(), None);
    assert_eq!(trail.rolled_back(&diary.0, 9).await.unwrap(), None, "the trail may be behind");
    let older = trail.rolled_back(&diary.0, 3).await.unwrap().unwrap();
    assert_eq!((older.module.as_str(), older.head, older.trail), ("diary", 3, 4));
    assert!(older.to_string().contains("ends at audit row 3, the trail has 4"), "{older}");
    // As many rows again, and yet another store: the fourth row is not the one that was heard.
    let other = AuditId::from_bytes([7; 16]).to_string();
    let forget = move |tx: &mut q_db::Tx<'_>| {
        tx.execute("UPDATE q_audit SET id = $1 WHERE position = 4", &[other.as_str().into()])
    };
    diary.0.write(forget).await.unwrap();
    let forked = trail.rolled_back(&diary.0, 4).await.unwrap().unwrap();
    assert!(forked.to_string().contains("went on from an older copy"), "{forked}");
    world.close().await;
});

on_each_world!(a_rollback_is_noticed_while_the_trail_runs, async |mut world: World| {
    let qerberos = raise(&mut world).await;
    let trail = qerberos.trail();
    trail.ingest(rows(1..=5)).await.unwrap();
    let told = |head| AuditBatch { head, ..rows([]) };
    trail.ingest(told(5)).await.unwrap();
    assert!(q_runtime::Module::verify(&*qerberos).await.unwrap().is_empty());
    trail.ingest(told(3)).await.unwrap();
    let report = trail.gaps().await.unwrap();
    assert_eq!(report.producers[0].rolled_back_to, Some(3));
    let findings = q_runtime::Module::verify(&*qerberos).await.unwrap();
    assert_eq!((findings[0].code.as_str(), findings[0].place.as_str()), ("rolled_back", "producers diary"));
    let check = &q_runtime::Module::checks(&*qerberos)[0];
    assert!((check.run)().await.unwrap_err().contains("rolled back to event 3"));
    world.abandon().await;
});
