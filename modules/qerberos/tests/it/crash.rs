//! Crashes between any two steps: no acknowledged event is lost, no place is given twice, no size has two roots.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use proptest::prelude::*;
use q_core::{Env, audit::AuditId};
use q_db::{
    Db,
    testing::{TestStores, run},
};
use q_runtime::Finding;
use q_testkit::frozen_env;
use q_tlog::{Checkpoint, Hash};
use qerberos::{Error, MIGRATIONS, Recorded, Trail, TrailOptions};
use qerberos_api::RecordEventRequest;
use serde_json::json;

use crate::sealer;

/// What may happen to a trail.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// So many events are recorded at once.
    Record(usize),
    /// The commit of so many events fails at the disk.
    RecordFails(usize),
    /// The last events that were sent are sent again.
    Repeat,
    /// The head is signed.
    Publish,
    /// The commit of a signature fails at the disk.
    PublishFails,
    /// The process dies between the signature's commit and the file beside the store.
    FileIsOld,
    /// The process dies and starts again.
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1_usize..300).prop_map(Step::Record),
        2 => (1_usize..50).prop_map(Step::RecordFails),
        2 => Just(Step::Repeat),
        3 => Just(Step::Publish),
        2 => Just(Step::PublishFails),
        1 => Just(Step::FileIsOld),
        2 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..16)
}

/// A trail, and what the world outside has seen of it.
struct Outside {
    stores: TestStores,
    folder: tempfile::TempDir,
    env: Env,
    trail: Arc<Trail>,
    acknowledged: BTreeMap<AuditId, Recorded>,
    roots: BTreeMap<u64, Hash>,
    sent: Vec<RecordEventRequest>,
}

fn file(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("qerberos.checkpoint")
}

async fn open(stores: &TestStores, env: &Env, file: PathBuf) -> Arc<Trail> {
    let db: Db = stores.open(&MIGRATIONS, env).await.unwrap();
    let options = TrailOptions {
        host: "q.example".into(),
        sealer: sealer(),
        checkpoint_file: Some(file),
        restored: None,
    };
    Trail::open(db, env.clone(), options).await.unwrap()
}

fn fresh(env: &Env) -> RecordEventRequest {
    serde_json::from_value(json!({
        "id": AuditId::new(env), "type": "data_access", "subtype": "read", "layer": "qdrive", "verdict": "ALLOW"
    }))
    .unwrap()
}

impl Outside {
    async fn new(stores: TestStores) -> Self {
        let (env, _) = frozen_env(11);
        let folder = tempfile::tempdir().unwrap();
        let trail = open(&stores, &env, file(&folder)).await;
        let (acknowledged, roots, sent) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        Self { stores, folder, env, trail, acknowledged, roots, sent }
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Record(count) => {
                self.sent = (0..count).map(|_| fresh(&self.env)).collect();
                self.record().await.unwrap();
            }
            Step::RecordFails(count) => {
                self.sent = (0..count).map(|_| fresh(&self.env)).collect();
                self.trail.db().faults().fail_next_commit();
                assert!(self.record().await.is_err(), "a commit that failed is not acknowledged");
                self.trail.db().resume_writes(None, "verification").await.unwrap();
            }
            Step::Repeat => self.record().await.unwrap(),
            Step::Publish => {
                self.trail.publish().await.unwrap();
            }
            Step::PublishFails => {
                self.trail.db().faults().fail_next_commit();
                let _ = self.trail.publish().await;
                // A publication without news commits nothing, so the fault waits: let it hit something harmless.
                let _: Result<(), q_db::DbError> = self.trail.db().write(|tx| tx.set_cursor("x", 1)).await;
                self.trail.db().resume_writes(None, "verification").await.unwrap();
            }
            Step::FileIsOld => {
                let kept = std::fs::read(file(&self.folder)).ok();
                self.trail.publish().await.unwrap();
                if let Some(kept) = kept {
                    std::fs::write(file(&self.folder), kept).unwrap();
                }
                self.restart().await;
            }
            Step::Restart => self.restart().await,
        }
        self.look().await;
    }

    async fn restart(&mut self) {
        self.trail.db().close().await;
        self.trail = open(&self.stores, &self.env, file(&self.folder)).await;
        assert!(!self.trail.is_rolled_back());
    }

    async fn record(&mut self) -> Result<(), Error> {
        for (event, outcome) in self.sent.iter().zip(self.trail.record(self.sent.clone()).await?) {
            let recorded = outcome.unwrap();
            let known = self.acknowledged.entry(event.id).or_insert(recorded);
            assert_eq!(*known, recorded, "an event has one place for ever");
        }
        Ok(())
    }

    /// What a monitor sees: the published checkpoint follows from the last one.
    async fn look(&mut self) {
        let Ok(note) = self.trail.checkpoint().await else { return };
        let seen = Checkpoint::open(&note, self.trail.verifier()).unwrap();
        let known = self.roots.entry(seen.size).or_insert(seen.root);
        assert_eq!(*known, seen.root, "two roots for {} leaves", seen.size);
        let newest = *self.roots.last_key_value().unwrap().0;
        assert_eq!(newest, seen.size, "checkpoints never shrink");
    }

    async fn end(mut self) {
        self.restart().await;
        self.trail.publish().await.unwrap();
        self.look().await;
        let mut places = std::collections::BTreeSet::new();
        for (id, recorded) in &self.acknowledged {
            let event = self.trail.event(*id).await.unwrap();
            assert_eq!(event.log_index, recorded.log_index);
            assert!(places.insert(event.log_index), "place {} was given twice", event.log_index);
        }
        let last = self.roots.last_key_value().map(|(size, root)| (*size, *root));
        if let Some((size, _)) = last {
            assert_eq!(places.len() as u64, size, "every event in the log was acknowledged at last");
        }
        let findings: Vec<Finding> = self.trail.verify().await.unwrap();
        assert_eq!(findings, []);
        self.trail.db().close().await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_trail_survives_every_order_of_crashes(steps in steps()) {
        run(async move {
            let mut outside = Outside::new(TestStores::sqlite()).await;
            for step in steps {
                outside.take(step).await;
            }
            // What failed last was not acknowledged; sent again, it is there.
            outside.record().await.unwrap();
            outside.end().await;
        });
    }
}

#[test]
fn callers_at_the_same_time_share_commits_and_get_different_places() {
    run(async {
        let mut outside = Outside::new(TestStores::sqlite()).await;
        let callers: Vec<_> = (0..200)
            .map(|_| {
                let (trail, event) = (outside.trail.clone(), fresh(&outside.env));
                tokio::spawn(async move {
                    (event.id, trail.record(vec![event]).await.unwrap().pop().unwrap().unwrap())
                })
            })
            .collect();
        for caller in callers {
            let (id, recorded) = caller.await.unwrap();
            outside.acknowledged.insert(id, recorded);
        }
        outside.take(Step::Publish).await;
        outside.end().await;
    });
}

#[test]
fn a_full_disk_is_said_before_anything_is_acknowledged() {
    run(async {
        let mut outside = Outside::new(TestStores::sqlite()).await;
        outside.take(Step::Record(3)).await;
        outside.trail.db().faults().set_disk_full(true);
        // Enough that the room left in the store's last pages does not do.
        outside.sent = (0..500).map(|_| fresh(&outside.env)).collect();
        let refused = outside.record().await;
        assert!(matches!(refused, Err(Error::Db(q_db::DbError::Full(_)))), "{refused:?}");
        outside.trail.db().faults().set_disk_full(false);
        outside.record().await.unwrap();
        outside.end().await;
    });
}

#[test]
fn a_store_from_an_old_backup_is_read_and_never_signed() {
    run(async {
        let mut outside = Outside::new(TestStores::sqlite()).await;
        outside.take(Step::Record(10)).await;
        outside.take(Step::Publish).await;
        outside.trail.db().close().await;
        let q_db::DbConfig::Sqlite { path } = outside.stores.config("qerberos") else { unreachable!() };
        let backup = std::fs::read(&path).unwrap();
        outside.restart().await;
        outside.take(Step::Record(5)).await;
        outside.take(Step::Publish).await;
        outside.trail.db().close().await;

        std::fs::write(&path, &backup).unwrap();
        for leftover in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{leftover}", path.display()));
        }
        let restored = open(&outside.stores, &outside.env, file(&outside.folder)).await;
        assert!(restored.is_rolled_back());
        assert!(matches!(restored.publish().await, Err(Error::RollbackDetected)));
        // Other events grow it past the old size: still another tree, still not signed.
        restored.record((0..20).map(|_| fresh(&outside.env)).collect()).await.unwrap();
        restored.db().close().await;
        let regrown = open(&outside.stores, &outside.env, file(&outside.folder)).await;
        assert!(matches!(regrown.publish().await, Err(Error::RollbackDetected)));
        let findings = regrown.verify().await.unwrap();
        assert_eq!(findings.iter().map(|one| one.code.as_str()).collect::<Vec<_>>(), ["rollback_detected"]);
        regrown.db().close().await;
    });
}

#[test]
fn a_head_that_its_tiles_do_not_have_is_neither_signed_nor_continued() {
    run(async {
        let mut outside = Outside::new(TestStores::sqlite()).await;
        outside.take(Step::Record(10)).await;
        let damage =
            |tx: &mut q_db::Tx<'_>| tx.execute("UPDATE head SET root = $1", q_db::params![[0_u8; 32]]);
        let touched: Result<u64, q_db::DbError> = outside.trail.db().write(damage).await;
        assert_eq!(touched.unwrap(), 1);
        assert!(matches!(outside.trail.publish().await, Err(Error::HeadDamaged)));
        outside.sent = vec![fresh(&outside.env)];
        assert!(matches!(outside.record().await, Err(Error::HeadDamaged)));
        assert!(matches!(outside.trail.checkpoint().await, Err(Error::ResourceNotFound)));
        outside.trail.db().close().await;
    });
}

#[test]
fn a_new_log_beside_an_old_checkpoint_begins_and_keeps_it() {
    run(async {
        let mut outside = Outside::new(TestStores::sqlite()).await;
        outside.take(Step::Record(10)).await;
        outside.take(Step::Publish).await;
        outside.trail.db().close().await;
        let fresh_stores = TestStores::sqlite();
        let (env, _) = frozen_env(12);
        let begun = open(&fresh_stores, &env, file(&outside.folder)).await;
        assert!(!begun.is_rolled_back());
        begun.record(vec![fresh(&env)]).await.unwrap();
        assert_eq!(begun.publish().await.unwrap(), 1);
        let files = std::fs::read_dir(outside.folder.path()).unwrap().count();
        assert_eq!(files, 2, "the old log's checkpoint is still there");
        begun.db().close().await;
    });
}

#[test]
fn two_replicas_on_one_database_never_fork_the_log() {
    let Some(stores) = TestStores::postgres() else { return };
    run(async move {
        let (env, other_env) = (frozen_env(1).0, frozen_env(2).0);
        let folder = tempfile::tempdir().unwrap();
        let one = open(&stores, &env, folder.path().join("one")).await;
        let two = open(&stores, &other_env, folder.path().join("two")).await;
        let work = |trail: Arc<Trail>, env: Env| {
            tokio::spawn(async move {
                let (mut recorded, mut notes) = (Vec::new(), Vec::new());
                for _ in 0..20 {
                    let events: Vec<_> = (0..7).map(|_| fresh(&env)).collect();
                    // A replica that loses every retry says so, and its caller sends the same events again.
                    let mut answer = trail.record(events.clone()).await;
                    while matches!(&answer, Err(Error::Db(error)) if error.is_transient()) {
                        answer = trail.record(events.clone()).await;
                    }
                    recorded.extend(answer.unwrap().into_iter().map(|one| one.unwrap().log_index));
                    let _ = trail.publish().await;
                    notes.extend(trail.checkpoint().await.ok());
                }
                (recorded, notes)
            })
        };
        let (first, second) = (work(one.clone(), env), work(two.clone(), other_env));
        let (first, second) = (first.await.unwrap(), second.await.unwrap());
        let mut places = [first.0, second.0].concat();
        places.sort_unstable();
        assert_eq!(places, (0..280).collect::<Vec<_>>(), "every place once");
        let mut roots = BTreeMap::new();
        for note in first.1.iter().chain(&second.1) {
            let seen = Checkpoint::open(note, one.verifier()).unwrap();
            assert_eq!(
                *roots.entry(seen.size).or_insert(seen.root),
                seen.root,
                "two roots for {}",
                seen.size
            );
        }
        assert_eq!(one.verifier(), two.verifier());
        assert_eq!(one.verify().await.unwrap(), []);
        one.db().close().await;
        two.db().close().await;
    });
}
