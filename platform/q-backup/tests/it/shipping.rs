//! What changes between two backups, and any instant in between.

use std::time::Duration;

use q_backup::{Keep, Schedule, Service, Wanted};
use q_core::Timestamp;
use q_db::DbConfig;

use crate::{FIRST, SECOND, Scene, note, notes};

/// The service of a process, without a schedule of its own: backups are made by hand, shipments by [`ship`].
pub(crate) struct Shipping {
    service: Service,
}

impl Shipping {
    pub async fn finish(self) {
        self.service.finish().await;
    }
}

pub(crate) async fn begin(scene: &Scene) -> Shipping {
    let schedule = Schedule {
        every: Duration::from_hours(24),
        ship_every: Duration::from_millis(20),
        keep: "hourly=48".parse::<Keep>().unwrap(),
    };
    let stores = [scene.first.clone(), scene.second.clone()];
    let service = Service::start(scene.source(), scene.place(), schedule, &stores, &scene.env).await.unwrap();
    Shipping { service }
}

/// Waits until everything committed before the call is in the target; gives an instant at which it was.
pub(crate) async fn ship(_shipping: &mut Shipping, scene: &Scene) -> Timestamp {
    let asked = scene.env.now();
    let began = std::time::Instant::now();
    loop {
        let status = q_backup::status(&scene.data());
        if status.shipped_until.is_some_and(|until| until > asked) {
            return scene.env.now();
        }
        assert!(began.elapsed() < Duration::from_secs(20), "nothing was shipped: {status:?}");
        tokio::task::yield_now().await;
    }
}

async fn whole(scene: &Scene) {
    let began = std::time::Instant::now();
    while q_backup::status(&scene.data()).id.is_none() {
        assert!(began.elapsed() < Duration::from_secs(20), "no backup was made");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_instant_comes_back_and_nothing_is_lost_at_a_clean_end() {
    let scene = Scene::sqlite().await;
    let mut shipping = begin(&scene).await;
    whole(&scene).await;
    let mut instants = Vec::new();
    for round in 0..6 {
        for id in 0..40 {
            note(&scene.first, round * 40 + id).await;
        }
        note(&scene.second, round).await;
        instants.push((ship(&mut shipping, &scene).await, round));
        if round == 2 {
            // A whole one in between; instants before it still come from the one before.
            scene.back_up().await;
        }
    }
    note(&scene.second, 99).await;
    scene.first.close().await;
    scene.second.close().await;
    shipping.finish().await;
    for (at, round) in instants {
        let restored = scene.restore(Wanted::At(at), &format!("round-{round}")).await.unwrap();
        let expected: Vec<i64> = (0..(round + 1) * 40).collect();
        assert_eq!(notes(&restored["first"], &FIRST).await, expected, "round {round}");
        assert_eq!(notes(&restored["second"], &SECOND).await, (0..=round).collect::<Vec<_>>());
    }
    let newest = scene.restore(Wanted::Newest, "newest").await.unwrap();
    assert_eq!(notes(&newest["second"], &SECOND).await, [0, 1, 2, 3, 4, 5, 99]);
    let before = scene.restore(Wanted::At(Timestamp::from_seconds(1)), "never").await.unwrap_err();
    assert!(before.to_string().contains("no backup reaches back"), "{before}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_during_load_and_the_shipments_after_it_fit_together() {
    let scene = Scene::sqlite().await;
    let mut shipping = begin(&scene).await;
    whole(&scene).await;
    let (first, stop) = (scene.first.clone(), std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false)));
    let stopped = stop.clone();
    let writing = tokio::spawn(async move {
        let mut id = 0;
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            note(&first, id).await;
            id += 1;
        }
        id
    });
    for round in 0..5 {
        scene.back_up().await;
        let at = ship(&mut shipping, &scene).await;
        let restored = scene.restore(Wanted::At(at), &format!("busy-{round}")).await.unwrap();
        let found = notes(&restored["first"], &FIRST).await;
        // A state the store had: every note up to the last.
        assert_eq!(found, (0..i64::try_from(found.len()).unwrap()).collect::<Vec<_>>());
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let count = writing.await.unwrap();
    ship(&mut shipping, &scene).await;
    // No clean end: as after a kill, only what was shipped is left.
    let restored = scene.restore(Wanted::Newest, "killed").await.unwrap();
    assert_eq!(i64::try_from(notes(&restored["first"], &FIRST).await.len()).unwrap(), count);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_ends_what_can_be_put_back_before_it() {
    let scene = Scene::sqlite().await;
    let mut shipping = begin(&scene).await;
    whole(&scene).await;
    for id in 0..4 {
        note(&scene.first, id).await;
        ship(&mut shipping, &scene).await;
    }
    scene.first.close().await;
    scene.second.close().await;
    shipping.finish().await;
    let cuts = crate::files(&scene.target().join("changes"));
    assert!(cuts.len() >= 4, "{cuts:?}");
    std::fs::remove_file(&cuts[cuts.len() - 3]).unwrap();
    let restored = scene.restore(Wanted::Newest, "before").await.unwrap();
    let found = notes(&restored["first"], &FIRST).await;
    assert!(
        found.len() < 4 && found == (0..i64::try_from(found.len()).unwrap()).collect::<Vec<_>>(),
        "{found:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_on_servers_are_dumped_and_not_shipped() {
    let Some(stores) = q_db::testing::TestStores::postgres() else { return };
    let scene = Scene::new(stores).await;
    note(&scene.first, 1).await;
    let shipping = begin(&scene).await;
    whole(&scene).await;
    assert!(crate::files(&scene.target().join("changes")).is_empty());
    scene.first.close().await;
    scene.second.close().await;
    shipping.finish().await;
    let restored = scene.restore(Wanted::Newest, "newest").await.unwrap();
    assert!(matches!(restored["first"], DbConfig::Postgres { .. }));
    assert_eq!(notes(&restored["first"], &FIRST).await, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_made_after_the_backup_is_shipped_too() {
    let scene = Scene::sqlite().await;
    let mut shipping = begin(&scene).await;
    whole(&scene).await;
    let made = scene.keys().join("keyring/bob.json");
    std::fs::write(&made, "bob's key").unwrap();
    note(&scene.first, 1).await;
    ship(&mut shipping, &scene).await;
    let before = scene.archive().ids().unwrap().pop().unwrap();
    let archive = scene.archive();
    for (wanted, is_there) in [(Wanted::Newest, true), (Wanted::Backup(before), false)] {
        let keys = scene.folder.path().join(format!("keys-{is_there}"));
        let plan = archive.plan(&wanted, None).unwrap();
        archive.restore_secrets(&plan, &keys, |_| false).unwrap();
        assert_eq!(keys.join("keyring/bob.json").exists(), is_there);
        assert_eq!(
            std::fs::read_to_string(keys.join("keyring/operator.json")).unwrap(),
            "the operator's very own key"
        );
        // What is there and differs is set aside, or stays where it is newer by nature.
        std::fs::write(keys.join("keyring/operator.json"), "another").unwrap();
        assert!(
            archive.restore_secrets(&plan, &keys, |name| name == "keyring/operator.json").unwrap().is_empty()
        );
        let replaced = archive.restore_secrets(&plan, &keys, |_| false).unwrap();
        assert_eq!(replaced, ["keyring/operator.json"]);
        let aside = keys.join(format!("replaced-{}/keyring/operator.json", plan.base.id));
        assert_eq!(std::fs::read_to_string(aside).unwrap(), "another");
    }
    shipping.finish().await;
}
