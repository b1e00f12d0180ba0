//! Damage is named and refused, and never passes for anything else.

use std::{fs, path::PathBuf};

use q_backup::{Archive, Error, Secret, Target, Wanted};

use crate::{FIRST, Scene, files, note, notes};

/// One file of each kind that the backup `id` needs.
fn one_of_each(scene: &Scene, id: &str) -> Vec<PathBuf> {
    let piece = scene.archive().manifest(id).unwrap().modules["first"].content.pieces[0].clone();
    let cut = files(&scene.target().join("changes")).pop().expect("something was shipped");
    let kinds = ["backups", "pieces"].map(|kind| scene.target().join(kind).join(id));
    [kinds.into(), vec![cut, scene.target().join("chunks").join(&piece[..2]).join(piece)]].concat()
}

async fn scene_with_changes() -> Scene {
    let scene = Scene::sqlite().await;
    let mut shipping = crate::shipping::begin(&scene).await;
    for id in 0..50 {
        note(&scene.first, id).await;
    }
    scene.back_up().await;
    note(&scene.first, 50).await;
    crate::shipping::ship(&mut shipping, &scene).await;
    scene.first.close().await;
    scene.second.close().await;
    shipping.finish().await;
    scene
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_anywhere_is_refused_by_name() {
    let scene = scene_with_changes().await;
    let id = scene.archive().ids().unwrap().pop().unwrap();
    scene.archive().verify(&id).unwrap();
    for path in one_of_each(&scene, &id) {
        let sound = fs::read(&path).unwrap();
        // In the header that says for whom, in its middle, and at its end.
        for at in [30, 120, sound.len() / 2, sound.len() - 1] {
            let mut damaged = sound.clone();
            damaged[at.min(sound.len() - 1)] ^= 0x20;
            fs::write(&path, &damaged).unwrap();
            let refused = scene.archive().verify(&id).unwrap_err();
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(refused.to_string().contains(name), "{name} byte {at}: {refused}");
            assert!(matches!(refused, Error::Damaged { .. }), "{name} byte {at}: {refused}");
            if !path.starts_with(scene.target().join("pieces")) {
                let place = format!("{name}-{at}");
                let refused = scene.restore(Wanted::Newest, &place).await.unwrap_err();
                assert!(refused.to_string().contains(name), "{name} byte {at}: {refused}");
            }
        }
        fs::remove_file(&path).unwrap();
        if !path.starts_with(scene.target().join("changes")) {
            let refused = scene.archive().verify(&id).unwrap_err();
            assert!(
                matches!(refused, Error::Missing(_) | Error::Unknown(_)),
                "{}: {refused}",
                path.display()
            );
        }
        fs::write(&path, &sound).unwrap();
    }
    scene.archive().verify(&id).unwrap();
    let restored = scene.restore(Wanted::Newest, "sound").await.unwrap();
    assert_eq!(notes(&restored["first"], &FIRST).await.len(), 51);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_is_refused_when_it_cannot_know_what_is_in_use() {
    let scene = scene_with_changes().await;
    let pieces = files(&scene.target().join("pieces")).pop().unwrap();
    let mut damaged = fs::read(&pieces).unwrap();
    damaged[3] ^= 1;
    fs::write(&pieces, damaged).unwrap();
    let before = files(&scene.target());
    let refused = scene.prune("daily=1", false);
    assert!(matches!(refused, Err(Error::Damaged { .. })));
    assert_eq!(files(&scene.target()), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_in_each_others_places_are_found_out() {
    let scene = Scene::sqlite().await;
    for id in 0..50 {
        note(&scene.first, id).await;
    }
    let made = scene.back_up().await;
    let pieces = files(&scene.target().join("chunks"));
    let (one, other) = (fs::read(&pieces[0]).unwrap(), fs::read(&pieces[1]).unwrap());
    fs::write(&pieces[0], other).unwrap();
    fs::write(&pieces[1], one).unwrap();
    let refused = scene.archive().verify(&made.id).unwrap_err().to_string();
    assert!(refused.contains("another piece than its name says"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_is_told_apart_from_damage() {
    let scene = Scene::sqlite().await;
    note(&scene.first, 1).await;
    let made = scene.back_up().await;
    let other = Secret::generate();
    let archive = Archive::open(Target::folder(&scene.target()), other.clone(), &scene.trust()).unwrap();
    let refused = archive.verify(&made.id).unwrap_err();
    assert!(
        matches!(&refused, Error::WrongKey { given, .. } if *given == other.recipients().to_string()),
        "{refused}"
    );
    let said = refused.to_string();
    assert!(said.contains(&scene.secret.recipients().to_string()) && said.contains("--key"), "{said}");
    // The key file itself, damaged or missing.
    let path = scene.folder.path().join("some.key");
    let missing = Secret::read(&path).err().unwrap().to_string();
    assert!(missing.contains("--key"), "{missing}");
    fs::write(&path, "AGE-SECRET-KEY-1NOTREALLY\n").unwrap();
    assert!(Secret::read(&path).err().unwrap().to_string().contains("damaged key"));
}

/// A disk with hardly any room: a tmpfs of this test, where it may be mounted.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(place: PathBuf, size: &str) -> Option<Self> {
        fs::create_dir_all(&place).unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size},mode=0700"), "tmpfs"])
            .arg(&place)
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(place));
        }
        q_oracle::skip("a small disk (mounting one needs root)");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_named_and_earlier_backups_stay() {
    let scene = Scene::sqlite().await;
    let Some(disk) = SmallDisk::mount(scene.target(), "1m") else { return };
    for id in 0..100 {
        note(&scene.first, id).await;
    }
    let made = scene.back_up().await;
    // More than there is room for, and nothing that could be made smaller.
    for number in 0..64 {
        let noise: [u8; 32_768] = scene.env.random();
        fs::write(scene.keys().join(format!("noise-{number}")), noise).unwrap();
    }
    let refused = scene.try_back_up(scene.place()).await.err().unwrap();
    assert!(matches!(refused, Error::Full(_)), "{refused}");
    assert!(refused.to_string().contains("earlier backups are as they were"), "{refused}");
    let status = q_backup::status(&scene.data());
    assert_eq!(status.id.as_ref(), Some(&made.id));
    assert!(status.last_error.unwrap().contains("no room"));
    assert_eq!(scene.archive().ids().unwrap(), std::slice::from_ref(&made.id));
    scene.archive().verify(&made.id).unwrap();
    let restored = scene.restore(Wanted::Newest, "back").await.unwrap();
    assert_eq!(notes(&restored["first"], &FIRST).await.len(), 100);
    drop(disk);
}
