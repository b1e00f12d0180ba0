//! A byte of a backup changed where it is kept: the check names the file, restoring refuses, and the last sound one is
//! found.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use q_tests::{Instance, sound};

/// The files below `folder`, the largest first.
fn files(folder: &Path) -> Vec<(u64, PathBuf)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let entry = entry.expect("an entry");
            let about = entry.metadata().expect("a file or folder");
            if about.is_dir() {
                folders.push(entry.path());
            } else {
                found.push((about.len(), entry.path()));
            }
        }
    }
    found.sort_unstable_by(|one, other| other.cmp(one));
    found
}

#[test]
fn a_corrupted_backup_is_named_and_refused() {
    let Some(mut house) = Instance::demo(&[]) else { return };
    let target = house.scratch().join("backups");
    let from = target.display().to_string();
    // A new instance makes its first backup by itself; two at once are refused.
    let asking_ends_at = Instant::now() + Duration::from_mins(1);
    loop {
        let made = house.q(&["backup", "create", "--to", &from]);
        if made.code == Some(0) {
            break;
        }
        assert!(made.complained.contains("right now"), "{}", made.complained);
        assert!(Instant::now() < asking_ends_at, "{}", made.complained);
    }
    house.stop();
    assert_eq!(house.q(&["backup", "verify", "--from", &from]).code, Some(0));
    let (length, largest) = files(&target).remove(0);
    let whole = fs::read(&largest).expect("a piece of the backup");
    let mut torn = whole.clone();
    torn[usize::try_from(length / 2).expect("a small file")] ^= 0x01;
    fs::write(&largest, &torn).expect("a corrupted piece");

    let verdict = house.q(&["backup", "verify", "--from", &from]);
    assert_eq!(verdict.code, Some(3), "{}{}", verdict.said, verdict.complained);
    let name = largest.file_name().expect("a name").to_string_lossy().into_owned();
    let named = format!("{}{}", verdict.said, verdict.complained);
    assert!(named.contains(&name), "{name} is not named: {named}");
    let into = house.scratch().join("restored/q-data").display().to_string();
    let refused = house.q(&["backup", "restore", "--from", &from, "--into", &into]);
    assert_ne!(refused.code, Some(0), "{}", refused.said);
    assert!(refused.complained.contains(&name), "no reason: {}", refused.complained);
    assert!(!Path::new(&into).join("instance.json").exists(), "something was put back all the same");
    let clean = house.q(&["backup", "list", "--clean", "--from", &from]);
    assert!(!clean.said.contains("sound"), "{}", clean.said);

    fs::write(&largest, &whole).expect("the piece as it was");
    let into = house.scratch().join("again/q-data").display().to_string();
    let restored = house.q(&["backup", "restore", "--from", &from, "--into", &into]);
    assert_eq!(restored.code, Some(0), "{}", restored.complained);
    sound(
        &house,
        "corrupted backup",
        "the piece is named, restoring refused with the reason and put nothing back",
    );
}
