//! Objects of a target are ordinary files of other people's formats.

use std::{fs, process::Command};

use crate::{Scene, files, note};

#[tokio::test(flavor = "multi_thread")]
async fn the_reference_programs_open_what_we_seal() {
    let (Some(age), Some(zstd)) = (q_oracle::program("age"), q_oracle::program("zstd")) else { return };
    let (age, zstd) = (age.get_program().to_owned(), zstd.get_program().to_owned());
    let scene = Scene::sqlite().await;
    note(&scene.first, 1).await;
    let made = scene.back_up().await;
    let key = scene.folder.path().join("backup.key");
    scene.secret.write(&key, Some(&scene.did)).unwrap();
    let open = |path: &std::path::Path| {
        let opened = Command::new(&age).arg("-d").arg("-i").arg(&key).arg(path).output().unwrap();
        assert!(opened.status.success(), "{}", String::from_utf8_lossy(&opened.stderr));
        let packed = scene.folder.path().join("packed.zst");
        fs::write(&packed, opened.stdout).unwrap();
        let plain = Command::new(&zstd).arg("-dc").arg(&packed).output().unwrap();
        assert!(plain.status.success(), "{}", String::from_utf8_lossy(&plain.stderr));
        plain.stdout
    };
    let manifest = open(&scene.target().join("backups").join(&made.id));
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["id"], made.id.as_str());
    let store: Vec<u8> = made.modules["first"]
        .content
        .pieces
        .iter()
        .flat_map(|name| open(&scene.target().join("chunks").join(&name[..2]).join(name)))
        .collect();
    assert!(store.starts_with(b"SQLite format 3\0"));
    // And a key that age-keygen made is one of ours.
    if let Some(mut keygen) = q_oracle::program("age-keygen") {
        let made = keygen.output().unwrap();
        let path = scene.folder.path().join("other.key");
        fs::write(&path, made.stdout).unwrap();
        q_backup::Secret::read(&path).unwrap();
    }
    assert!(!files(&scene.target()).is_empty());
}
