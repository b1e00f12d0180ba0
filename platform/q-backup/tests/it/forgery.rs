//! Whoever may write to a target can put anything there that opens: the public key lies beside it. What the instance
//! has not signed is refused with the reason, and neither put back nor counted.

use std::fs;

use q_backup::{Archive, Content, Error, Manifest, Place, Signer, Target, Trust, Wanted};
use q_core::{Env, Timestamp, hash};
use q_db::on_each_engine;
use q_did::Keyring;
use q_jose::jws::{self, Header};
use serde_json::json;

use crate::{FIRST, Scene, files, note, notes};

/// The sum of some bytes, as statements write it.
fn sum(bytes: &[u8]) -> String {
    hash::hex(&hash::sha256(bytes))
}

/// What somebody puts into the target of `scene` who knows this program, and no secret: a backup like `genuine`, named
/// `id`, of `at`. Gives what a signature of it would have to say.
fn forge(scene: &Scene, genuine: &Manifest, id: &str, at: Timestamp) -> serde_json::Value {
    let forged = Manifest { id: id.to_owned(), at, ..genuine.clone() };
    let list: String = forged.pieces().iter().flat_map(|name| [name, "\n"]).collect();
    let list = format!("{list}{}", sum(list.as_bytes()));
    let sealed = scene.secret.recipients().seal(&serde_json::to_vec(&forged).unwrap());
    fs::write(scene.target().join("pieces").join(id), &list).unwrap();
    fs::write(scene.target().join("backups").join(id), &sealed).unwrap();
    json!({"id": id, "at": at, "manifest": sum(&sealed), "pieces": sum(list.as_bytes())})
}

fn put_signature(scene: &Scene, id: &str, text: &str) {
    fs::write(scene.target().join("signatures").join(id), text).unwrap();
}

fn signature(scene: &Scene, id: &str) -> String {
    fs::read_to_string(scene.target().join("signatures").join(id)).unwrap()
}

/// A name of an instant a moment after everything there is.
fn later(scene: &Scene) -> (String, Timestamp) {
    let at = scene.env.now() + q_core::Span::seconds(2);
    let text: String = at.to_string().chars().filter(|sign| !matches!(sign, '-' | ':')).take(15).collect();
    (format!("{text}{:03}Z-e3b0ffffff", at.millis().rem_euclid(1_000)), at)
}

/// Another instance, which knows the public key of this one.
fn other(scene: &Scene) -> (Keyring, Signer) {
    let (keyring, log, _) = Keyring::create("elsewhere.example", &scene.env).unwrap();
    let place = |name: &str| scene.folder.path().join(name);
    fs::write(place("other.json"), serde_json::to_vec(&keyring).unwrap()).unwrap();
    fs::write(place("other.jsonl"), log.to_text()).unwrap();
    (keyring, Signer::at(&place("other.json"), &place("other.jsonl")))
}

/// A clock that stands still.
struct At(Timestamp);

impl q_core::Clock for At {
    fn now(&self) -> Timestamp {
        self.0
    }
}

async fn refused(scene: &Scene, trust: &Trust, wanted: Wanted, place: &str) -> String {
    let archive = scene.archive_for(trust).unwrap();
    scene.restore_from(archive, wanted, place).await.unwrap_err().to_string()
}

on_each_engine!(what_nobody_signed_is_refused_unless_it_is_asked_for, async |stores| {
    let scene = Scene::new(crate::again(stores)).await;
    note(&scene.first, 1).await;
    let made = scene.back_up().await;
    // As a version wrote it that did not sign.
    fs::remove_file(scene.target().join("signatures").join(&made.id)).unwrap();
    let (here, elsewhere) = (scene.trust(), scene.elsewhere());
    for (number, trust) in [&here, &elsewhere].into_iter().enumerate() {
        let why = refused(&scene, trust, Wanted::Newest, &format!("no_{number}")).await;
        assert!(why.contains(&made.id) && why.contains("not signed"), "{why}");
        assert!(why.contains("--accept-unsigned"), "{why}");
        let archive = scene.archive_for(trust).unwrap();
        assert!(matches!(archive.verify(&made.id), Err(Error::Unsigned(_))));
    }
    let knowing = Trust { accepts_unsigned: true, ..scene.elsewhere() };
    let archive = scene.archive_for(&knowing).unwrap();
    assert!(!archive.judged(&made.id).unwrap().1);
    let restored = scene.restore_from(archive, Wanted::Newest, "old").await.unwrap();
    assert_eq!(notes(&restored["first"], &FIRST).await, [1]);
});

on_each_engine!(a_backup_that_another_instance_made_is_refused, async |stores| {
    let scene = Scene::new(crate::again(stores)).await;
    note(&scene.first, 1).await;
    let genuine = scene.back_up().await;
    note(&scene.first, 2).await;
    let (keyring, signer) = other(&scene);
    let mut source = scene.source();
    source.instance = keyring.did.to_string();
    let place = Place { signer, ..scene.place() };
    let env = scene.env.clone();
    let make = move || q_backup::create(&source, &place, &env);
    let theirs = tokio::task::spawn_blocking(make).await.unwrap().unwrap();
    for (number, trust) in [scene.trust(), scene.elsewhere()].into_iter().enumerate() {
        let why = refused(&scene, &trust, Wanted::Newest, &format!("theirs_{number}")).await;
        assert!(why.contains(&theirs.id) && why.contains(keyring.did.as_str()), "{why}");
        assert!(why.contains(scene.did.as_str()), "{why}");
        // Also for whoever takes what is not signed: this is signed by somebody else.
        let knowing = Trust { accepts_unsigned: true, ..trust };
        let asked = Wanted::Backup(theirs.id.clone());
        let why = refused(&scene, &knowing, asked, &format!("asked_{number}")).await;
        assert!(why.contains("is expected"), "{why}");
    }
    // Nobody said whose to expect: the one it names is shown, and not believed.
    let nobody = Trust { signer: None, log: None, ..scene.trust() };
    let why = refused(&scene, &nobody, Wanted::Newest, "nobody").await;
    assert!(why.contains("--signer") && why.contains(keyring.did.as_str()), "{why}");
    // By its signer's name it is one of theirs; and a manifest of ours does not become theirs by their signature.
    let theirs_trust = Trust { signer: Some(keyring.did.clone()), ..scene.elsewhere() };
    scene.archive_for(&theirs_trust).unwrap().verify(&theirs.id).unwrap();
    let restored = scene.restore(Wanted::Backup(genuine.id.clone()), "ours").await.unwrap();
    assert_eq!(notes(&restored["first"], &FIRST).await, [1]);
    let statement: serde_json::Value = {
        let text = signature(&scene, &genuine.id);
        jws::Parsed::parse(&text, 1 << 16).unwrap().unverified_claims().unwrap()
    };
    let header = Header::typ("q-backup+jws").kid(keyring.key_id());
    put_signature(&scene, &genuine.id, &jws::sign_json(&header, &statement, &keyring.current));
    let why = scene.archive_for(&theirs_trust).unwrap().verify(&genuine.id).unwrap_err().to_string();
    assert!(why.contains("of the instance"), "{why}");
});

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_signature_is_refused_however_it_is_made() {
    let scene = Scene::sqlite().await;
    note(&scene.first, 1).await;
    let genuine = scene.back_up().await;
    let (keyring, _) = other(&scene);
    let ours = scene.did.clone();
    let current: Keyring =
        serde_json::from_slice(&fs::read(scene.keys().join("keyring/instance.json")).unwrap()).unwrap();
    let (id, at) = later(&scene);
    let statement = forge(&scene, &genuine, &id, at);
    let header = |typ: &str, kid: &str| Header::typ(typ).kid(kid);
    let their_key_of_ours = format!("{ours}#{}", keyring.current.public().to_multikey());
    let cases = [
        // Our name, their key.
        (
            jws::sign_json(&header("q-backup+jws", &current.key_id()), &statement, &keyring.current),
            "signature does not hold",
        ),
        (
            jws::sign_json(&header("q-backup+jws", &their_key_of_ours), &statement, &keyring.current),
            "never had",
        ),
        (jws::sign_json(&Header::typ("q-backup+jws"), &statement, &keyring.current), "who signed it"),
        // Something else that we once signed.
        (
            jws::sign_json(&header("q-restored+jws", &current.key_id()), &statement, &current.current),
            "for something else",
        ),
        // The signature of an earlier one.
        (signature(&scene, &genuine.id), "is the signature of"),
        ("eyJ".to_owned(), "JWS"),
        (String::new(), "JWS"),
    ];
    for (number, (text, reason)) in cases.into_iter().enumerate() {
        put_signature(&scene, &id, &text);
        let why = refused(&scene, &scene.trust(), Wanted::Newest, &format!("case_{number}")).await;
        assert!(why.contains(reason) && why.contains(&id), "{reason}: {why}");
        let knowing = Trust { accepts_unsigned: true, ..scene.elsewhere() };
        let why = refused(&scene, &knowing, Wanted::Newest, &format!("knowing_{number}")).await;
        assert!(why.contains(reason), "{reason}: {why}");
    }
    // A name that tells another instant than the signer does: the newest is the newest that was signed.
    let (id, _) = later(&scene);
    let text = forge(&scene, &genuine, &id, genuine.at);
    put_signature(
        &scene,
        &id,
        &jws::sign_json(&header("q-backup+jws", &current.key_id()), &text, &current.current),
    );
    let why = refused(&scene, &scene.trust(), Wanted::Newest, "instant").await;
    assert!(why.contains("is the signature of"), "{why}");
    // The genuine one is there as ever.
    scene.restore(Wanted::Backup(genuine.id), "genuine").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_file_is_refused() {
    let scene = Scene::sqlite().await;
    note(&scene.first, 1).await;
    let earlier = scene.back_up().await;
    note(&scene.first, 2).await;
    let newest = scene.back_up().await;
    let object = |kind: &str, id: &str| scene.target().join(kind).join(id);
    // Under a signature that was made for something else, however well it opens.
    let sound = fs::read(object("backups", &newest.id)).unwrap();
    forge(&scene, &earlier, &newest.id, newest.at);
    let why = refused(&scene, &scene.trust(), Wanted::Newest, "manifest").await;
    assert!(why.contains(&newest.id) && why.contains("not what was signed"), "{why}");
    fs::write(object("backups", &newest.id), &sound).unwrap();
    // A list that lets a removal take what is needed.
    let why = scene.prune("daily=1", false).unwrap_err().to_string();
    assert!(why.contains(&format!("pieces/{}", newest.id)) && why.contains("not what was signed"), "{why}");
    assert_eq!(files(&scene.target().join("backups")).len(), 2);
    // The earlier one under the name of the newest, with its own signature: it says which one it is.
    for kind in ["backups", "pieces", "signatures"] {
        fs::copy(object(kind, &earlier.id), object(kind, &newest.id)).unwrap();
    }
    let why = refused(&scene, &scene.trust(), Wanted::Newest, "replayed").await;
    assert!(why.contains("is the signature of") && why.contains(&earlier.id), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_backup_takes_the_place_of_none_that_is_kept() {
    let scene = Scene::sqlite().await;
    note(&scene.first, 1).await;
    let genuine = scene.back_up().await;
    let (keyring, _) = other(&scene);
    let (id, at) = later(&scene);
    let statement = forge(&scene, &genuine, &id, at);
    let header = Header::typ("q-backup+jws").kid(keyring.key_id());
    put_signature(&scene, &id, &jws::sign_json(&header, &statement, &keyring.current));
    let unsigned = format!("{}fffff0", &id[..id.len() - 6]);
    forge(&scene, &genuine, &unsigned, at);
    fs::write(scene.target().join("backups/stray"), "a stray file").unwrap();
    let pruned = scene.prune("daily=1", false).unwrap();
    assert!(pruned.kept.contains(&genuine.id), "{pruned:?}");
    assert!(pruned.removed.is_empty(), "{pruned:?}");
    assert_eq!(pruned.refused.keys().collect::<Vec<_>>(), [&id, "stray"]);
    assert!(pruned.refused[&id].contains("is expected"), "{pruned:?}");
    scene.archive().verify(&genuine.id).unwrap();
    // Where nothing is known as one's own, nothing is removed.
    fs::remove_file(scene.target().join("backups").join(&genuine.id)).unwrap();
    let before = files(&scene.target());
    let why = scene.prune("daily=1", false).unwrap_err().to_string();
    assert!(why.contains("nothing is removed"), "{why}");
    assert_eq!(files(&scene.target()), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shipped_in_between_is_signed_too() {
    let scene = Scene::sqlite().await;
    let mut shipping = crate::shipping::begin(&scene).await;
    scene.back_up().await;
    note(&scene.first, 1).await;
    crate::shipping::ship(&mut shipping, &scene).await;
    scene.first.close().await;
    scene.second.close().await;
    shipping.finish().await;
    let newest = scene.restore(Wanted::Newest, "newest").await.unwrap();
    assert_eq!(notes(&newest["first"], &FIRST).await, [1]);
    // Secrets that somebody would like to see put back.
    let object = format!("secrets/{:020}", (scene.env.now() + q_core::Span::seconds(9)).micros());
    let plain = serde_json::to_vec(&(&object, json!({"keyring/operator.json": b"mine"}))).unwrap();
    fs::create_dir_all(scene.target().join("secrets")).unwrap();
    fs::write(scene.target().join(&object), scene.secret.recipients().seal(&plain)).unwrap();
    let archive = scene.archive();
    let plan = archive.plan(&Wanted::Newest, None).unwrap();
    let keys = scene.folder.path().join("keys");
    let why = archive.restore_secrets(&plan, &keys, |_| false).unwrap_err().to_string();
    assert!(why.contains(&object) && why.contains("not signed"), "{why}");
    assert!(!keys.join("keyring/operator.json").exists());
    let id = archive.ids().unwrap().pop().unwrap();
    assert!(matches!(archive.verify(&id), Err(Error::Unsigned(_))));
    let knowing = scene.archive_for(&Trust { accepts_unsigned: true, ..scene.trust() }).unwrap();
    knowing.restore_secrets(&knowing.plan(&Wanted::Newest, None).unwrap(), &keys, |_| false).unwrap();
    assert_eq!(fs::read_to_string(keys.join("keyring/operator.json")).unwrap(), "mine");
    fs::remove_file(scene.target().join(&object)).unwrap();
    // A cut of somebody else in the place of the last one.
    let cut = files(&scene.target().join("changes")).pop().unwrap();
    let name = cut.strip_prefix(scene.target()).unwrap().display().to_string();
    let plain = [format!("{name}\n").as_bytes(), &2_u32.to_le_bytes(), b"[]"].concat();
    fs::write(&cut, scene.secret.recipients().seal(&plain)).unwrap();
    let why = scene.archive().plan(&Wanted::Newest, None).err().unwrap().to_string();
    assert!(why.contains(&name) && why.contains("not signed"), "{why}");
    scene
        .archive_for(&Trust { accepts_unsigned: true, ..scene.trust() })
        .unwrap()
        .plan(&Wanted::Newest, None)
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_key_signs_on_and_the_one_before_it_no_more() {
    let scene = Scene::sqlite().await;
    let hour = q_core::Span::seconds(3_600);
    let keyring: Keyring =
        serde_json::from_slice(&fs::read(scene.keys().join("keyring/instance.json")).unwrap()).unwrap();
    let log_text = fs::read_to_string(scene.keys().join("keyring/instance.jsonl")).unwrap();
    note(&scene.first, 1).await;
    let first = scene.back_up().await;
    // An hour later, by the clock of whoever rotates.
    let then = scene.env.now() + hour;
    let env = Env { clock: std::sync::Arc::new(At(then)), ..Env::system() };
    let mut log = q_did::Log::verify(&log_text, then, q_did::Policy::House).unwrap();
    let (next, entry) = keyring.rotate(&log, None, &env).unwrap();
    log.append(entry, then, q_did::Policy::House).unwrap();
    // The keyring alone is not enough: nobody could tell that the key is ours.
    fs::write(scene.keys().join("keyring/instance.json"), serde_json::to_vec(&next).unwrap()).unwrap();
    let why = scene.try_back_up(scene.place()).await.err().unwrap().to_string();
    assert!(why.contains("q id rotate instance"), "{why}");
    scene.keep(&next, &log.to_text());
    let after = Trust { signer: Some(scene.did.clone()), log: Some(log.to_text()), accepts_unsigned: false };
    // What the old key signed while it was the key is as good as ever; what it signs afterwards is not.
    scene.archive_for(&after).unwrap().verify(&first.id).unwrap();
    let (id, at) = {
        let at = then + hour;
        let text: String =
            at.to_string().chars().filter(|sign| !matches!(sign, '-' | ':')).take(15).collect();
        (format!("{text}{:03}Z-e3b0ffffff", at.millis().rem_euclid(1_000)), at)
    };
    let statement = forge(&scene, &first, &id, at);
    for (key, reason) in [(&keyring, Some("was not that of")), (&next, None)] {
        let header = Header::typ("q-backup+jws").kid(key.key_id());
        put_signature(&scene, &id, &jws::sign_json(&header, &statement, &key.current));
        let judged = scene.archive_for(&after).unwrap().judged(&id);
        match reason {
            Some(reason) => {
                let why = judged.err().unwrap().to_string();
                assert!(why.contains(reason), "{why}");
            }
            None => assert!(judged.unwrap().1),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_replaced_signs_no_change_under_an_older_date() {
    let scene = Scene::sqlite().await;
    let mut shipping = crate::shipping::begin(&scene).await;
    scene.back_up().await;
    note(&scene.first, 1).await;
    crate::shipping::ship(&mut shipping, &scene).await;
    scene.first.close().await;
    scene.second.close().await;
    shipping.finish().await;
    let old: Keyring =
        serde_json::from_slice(&fs::read(scene.keys().join("keyring/instance.json")).unwrap()).unwrap();
    let log_text = fs::read_to_string(scene.keys().join("keyring/instance.jsonl")).unwrap();
    let before = scene.env.now();
    let then = before + q_core::Span::seconds(3_600);
    let after = then + q_core::Span::seconds(3_600);
    let env = Env { clock: std::sync::Arc::new(At(then)), ..Env::system() };
    let mut log = q_did::Log::verify(&log_text, then, q_did::Policy::House).unwrap();
    let (new, entry) = old.rotate(&log, None, &env).unwrap();
    log.append(entry, then, q_did::Policy::House).unwrap();
    let trust = Trust { signer: Some(scene.did.clone()), log: Some(log.to_text()), accepts_unsigned: false };
    let put = |object: &str, key: &Keyring, at: Timestamp, body: &[u8]| {
        let claims = json!({"object": object, "at": at, "sha256": sum(body)});
        let header = Header::typ("q-backup-part+jws").kid(key.key_id());
        let plain = [jws::sign_json(&header, &claims, &key.current).as_bytes(), b"\n", body].concat();
        let path = scene.target().join(object);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, scene.secret.recipients().seal(&plain)).unwrap();
    };
    let last = files(&scene.target().join("changes")).pop().unwrap();
    let last = last.strip_prefix(scene.target()).unwrap().to_str().unwrap().to_owned();
    let (generation, name) = last.rsplit_once('/').unwrap();
    let last: u64 = name.split('-').next().unwrap().parse().unwrap();
    let cut = |number: u64, at: Timestamp| {
        format!("{generation}/{:010}-{:010}-{}", last + number, last + number - 1, at.micros())
    };
    let body = [&2_u32.to_le_bytes()[..], b"[]"].concat();
    let plan = || scene.archive_for(&trust).unwrap().plan(&Wanted::Newest, None);
    let (first, second) = (cut(1, after), cut(2, before));
    for (key, at, reason) in
        [(&old, before, "was not that of"), (&old, after, "was not that of"), (&new, before, "its name says")]
    {
        put(&first, key, at, &body);
        let why = plan().err().unwrap().to_string();
        assert!(why.contains(&first) && why.contains(reason), "{reason}: {why}");
    }
    put(&first, &new, after, &body);
    plan().unwrap();
    // Older by its name too, and yet it follows what was made after the rotation.
    put(&second, &old, before, &body);
    let why = plan().err().unwrap().to_string();
    assert!(why.contains(&second) && why.contains("was not that of"), "{why}");
    // A clock that was set back takes nothing from whoever has the key.
    put(&second, &new, before, &body);
    plan().unwrap();
    // The folder of secrets is bound to its instant in the same way.
    let object = format!("secrets/{:020}", after.micros());
    let keys = scene.folder.path().join("keys");
    for (key, at, reason) in [
        (&old, before, Some("was not that of")),
        (&old, after, Some("was not that of")),
        (&new, before, Some("its name says")),
        (&new, after, None),
    ] {
        put(&object, key, at, br#"{"note":[1]}"#);
        let archive = scene.archive_for(&trust).unwrap();
        let put_back =
            archive.restore_secrets(&archive.plan(&Wanted::Newest, None).unwrap(), &keys, |_| false);
        match reason {
            Some(reason) => {
                let why = put_back.err().unwrap().to_string();
                assert!(why.contains(&object) && why.contains(reason), "{reason}: {why}");
                assert!(!keys.join("note").exists());
            }
            None => assert_eq!((put_back.unwrap(), fs::read(keys.join("note")).unwrap()).1, [1]),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_with_a_command_for_psql_is_not_fed_to_it() {
    let Some(stores) = q_db::testing::TestStores::postgres() else { return };
    let scene = Scene::new(stores).await;
    note(&scene.first, 1).await;
    let genuine = scene.back_up().await;
    let marker = scene.folder.path().join("ran");
    let evil = format!("SET a.b = 1;\n\\! touch {}\n", marker.display());
    // In a backup that nobody signed, which an operator takes all the same.
    let name = genuine.making.name(evil.as_bytes());
    let place = scene.target().join("chunks").join(&name[..2]);
    fs::create_dir_all(&place).unwrap();
    fs::write(place.join(&name), scene.secret.recipients().seal(evil.as_bytes())).unwrap();
    let mut forged = genuine.clone();
    forged.modules.get_mut("first").unwrap().content =
        Content { bytes: evil.len() as u64, sha256: sum(evil.as_bytes()), pieces: vec![name] };
    let (id, at) = later(&scene);
    forge(&scene, &forged, &id, at);
    let archive = Archive::open(
        Target::folder(&scene.target()),
        scene.secret.clone(),
        &Trust { accepts_unsigned: true, ..scene.elsewhere() },
    );
    let why = scene.restore_from(archive.unwrap(), Wanted::Backup(id), "evil").await.unwrap_err();
    assert!(matches!(why, Error::Dump(_)), "{why}");
    let why = why.to_string();
    assert!(why.contains("line 2") && why.contains("backslash"), "{why}");
    assert!(!marker.exists());
    // Nothing is left of it: the genuine one goes into the same database.
    let restored = scene.restore(Wanted::Backup(genuine.id), "evil").await.unwrap();
    assert_eq!(notes(&restored["first"], &FIRST).await, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_a_process_of_ours_has_open_is_not_restored_into() {
    let Some(stores) = q_db::testing::TestStores::postgres() else { return };
    let scene = Scene::new(stores).await;
    note(&scene.first, 1).await;
    scene.back_up().await;
    // A replica whose tables are gone, and which has not noticed yet.
    let place = scene.stores.config("first_open");
    let open = q_db::Db::open(&place, &FIRST, &scene.env).await.unwrap();
    let why = scene.restore(Wanted::Newest, "open").await.unwrap_err().to_string();
    assert!(why.contains("is in use") && why.contains("q stop"), "{why}");
    open.close().await;
    let why = loop {
        // The server takes a moment to notice that a session has ended.
        let why = scene.restore(Wanted::Newest, "open").await.unwrap_err().to_string();
        if !why.contains("is in use") {
            break why;
        }
        tokio::task::yield_now().await;
    };
    assert!(why.contains("tables already"), "{why}");
}
