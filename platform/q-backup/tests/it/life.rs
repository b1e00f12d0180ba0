//! From making to removing.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    sync::atomic::{AtomicU32, Ordering::SeqCst},
};

use q_backup::{Error, Lock, Target, Wanted};
use q_db::on_each_engine;

use crate::{FIRST, SECOND, Scene, files, note, notes};

on_each_engine!(what_was_backed_up_comes_back, async |_stores| {
    let scene = Scene::new(crate::again(_stores)).await;
    for id in 0..300 {
        note(&scene.first, id).await;
    }
    note(&scene.second, 7).await;
    let first = scene.back_up().await;
    note(&scene.first, 300).await;
    let second = scene.back_up().await;
    assert_eq!(first.modules["first"].position.audit, 0);
    assert_eq!(scene.archive().ids().unwrap(), [first.id.clone(), second.id.clone()]);
    for manifest in [&first, &second] {
        let verified = scene.archive().verify(&manifest.id).unwrap();
        assert_eq!(verified.bytes, manifest.bytes);
    }
    let earlier = scene.restore(Wanted::Backup(first.id.clone()), "earlier").await.unwrap();
    assert_eq!(notes(&earlier["first"], &FIRST).await, (0..300).collect::<Vec<_>>());
    assert_eq!(notes(&earlier["second"], &SECOND).await, [7]);
    let newest = scene.restore(Wanted::Newest, "newest").await.unwrap();
    assert_eq!(notes(&newest["first"], &FIRST).await, (0..=300).collect::<Vec<_>>());
    // Nothing is overwritten.
    let again = scene.restore(Wanted::Newest, "newest").await.unwrap_err().to_string();
    assert!(again.contains("already"), "{again}");
    let unknown = scene.restore(Wanted::Backup("x".into()), "unknown").await.unwrap_err();
    assert!(matches!(unknown, Error::Unknown(_)), "{unknown}");
});

on_each_engine!(a_backup_that_is_not_wanted_any_more_is_given_up, async |_stores| {
    let scene = Scene::new(crate::again(_stores)).await;
    for id in 0..300 {
        note(&scene.first, id).await;
    }
    let made = scene.back_up().await;
    let (mut steps, mut given_up) = (0, 0);
    // Each time a step later, until it is through.
    loop {
        let (source, place, env) = (scene.source(), scene.place(), scene.env.clone());
        let left = AtomicU32::new(steps);
        let is_wanted = move || left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
        let making = move || q_backup::create_while(&is_wanted, &source, &place, &env);
        match tokio::task::spawn_blocking(making).await.unwrap() {
            Err(Error::GivenUp) => given_up += 1,
            whole => break drop(whole.unwrap()),
        }
        let status = q_backup::status(&scene.data());
        assert_eq!((status.id.as_ref(), status.last_error), (Some(&made.id), None));
        assert_eq!(scene.archive().ids().unwrap(), std::slice::from_ref(&made.id));
        steps += 1;
    }
    assert!(given_up > 3, "{given_up}");
    assert_eq!(scene.archive().ids().unwrap().len(), 2);
    let newest = scene.restore(Wanted::Newest, "newest").await.unwrap();
    assert_eq!(notes(&newest["first"], &FIRST).await, (0..300).collect::<Vec<_>>());
});

#[tokio::test(flavor = "multi_thread")]
async fn a_further_backup_writes_what_is_new() {
    let scene = Scene::sqlite().await;
    let many = scene.first.write(|tx| {
        for id in 0..20_000 {
            let text = format!("note {id:0>200}");
            tx.execute("INSERT INTO notes VALUES ($1, $2)", q_db::params![id, text])?;
        }
        Ok::<_, q_db::DbError>(())
    });
    many.await.unwrap();
    let whole = scene.back_up().await;
    note(&scene.first, 20_001).await;
    let further = scene.back_up().await;
    assert!(whole.bytes > 4_000_000, "{}", whole.bytes);
    // Names, and a few pieces around what has changed; compressed, so compared in pieces.
    let fresh = further.pieces().difference(&whole.pieces()).count();
    assert!(fresh * 3 <= further.pieces().len(), "{fresh} of {}", further.pieces().len());
    assert!(further.written < whole.written, "{} of {}", further.written, whole.written);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_readable_leaves_and_nobody_else_may_read_it() {
    let scene = Scene::sqlite().await;
    note(&scene.first, 4_711).await;
    scene.back_up().await;
    let written = files(&scene.target());
    assert!(written.len() > 4);
    for path in written {
        let content = fs::read(&path).unwrap();
        for secret in ["note 0000", "very own key", "secret-name", "SQLite format", "first"] {
            let is_there = content.windows(secret.len()).any(|part| part == secret.as_bytes());
            assert!(!is_there, "{secret} stands in {}", path.display());
        }
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", path.display());
        let folder = fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777;
        assert_eq!(folder, 0o700, "{}", path.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_at_a_time() {
    let scene = Scene::sqlite().await;
    let held = Lock::take(&scene.data(), &Target::folder(&scene.target())).unwrap();
    assert!(matches!(scene.try_back_up(scene.place()).await, Err(Error::Busy)));
    let prune = || scene.prune("daily=1", false);
    assert!(matches!(prune(), Err(Error::Busy)));
    drop(held);
    scene.back_up().await;
    prune().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_needs_nothing_of_what_is_removed() {
    let scene = Scene::sqlite().await;
    let mut made = Vec::new();
    for round in 0..4 {
        for id in 0..200 {
            note(&scene.first, round * 1_000 + id).await;
        }
        made.push(scene.back_up().await.id);
    }
    // What a killed backup left behind.
    fs::create_dir_all(scene.target().join("chunks/zz")).unwrap();
    fs::write(scene.target().join("chunks/zz/zz1.7-0.draft"), "half").unwrap();
    fs::write(scene.target().join("chunks/zz/zz2"), "of a backup that was never finished").unwrap();
    let dry = scene.prune("daily=1", true).unwrap();
    assert_eq!(scene.archive().ids().unwrap().len(), 4);
    let pruned = scene.prune("daily=1", false).unwrap();
    assert_eq!((&pruned.removed, &pruned.kept), (&dry.removed, &dry.kept));
    assert_eq!(pruned.kept, [made[3].clone()]);
    assert!(!scene.target().join("chunks/zz/zz2").exists());
    assert!(!scene.target().join("chunks/zz/zz1.7-0.draft").exists());
    scene.archive().verify(&made[3]).unwrap();
    let restored = scene.restore(Wanted::Newest, "kept").await.unwrap();
    assert_eq!(notes(&restored["first"], &FIRST).await.len(), 800);
    assert_eq!(q_backup::status(&scene.data()).id.as_ref(), Some(&made[3]));
}
