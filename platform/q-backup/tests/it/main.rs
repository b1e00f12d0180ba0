//! What an operator relies on: a backup is whole or not there, opens with its key and no other, and what was
//! answered before the last shipment comes back.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bucket;
mod damage;
mod foreign;
mod forgery;
mod life;
mod shipping;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use q_backup::{Archive, Making, Manifest, Place, Secret, Signer, Source, Target, Trust, Wanted};
use q_core::{Did, Env};
use q_db::{Db, DbConfig, Migrations, params, testing::TestStores};
use q_did::Keyring;

const SQL: &[q_db::Migration] =
    &[(1, "notes", "CREATE TABLE notes (id BIGINT NOT NULL PRIMARY KEY, text TEXT NOT NULL);")];
/// Two modules.
pub(crate) const FIRST: Migrations = Migrations::new("first", SQL, SQL);
pub(crate) const SECOND: Migrations = Migrations::new("second", SQL, SQL);

/// An instance of two modules, with folders of its own.
pub(crate) struct Scene {
    pub folder: tempfile::TempDir,
    pub stores: TestStores,
    pub first: Db,
    pub second: Db,
    pub secret: Secret,
    /// The identity of the instance.
    pub did: Did,
    pub env: Env,
}

impl Scene {
    pub async fn new(stores: TestStores) -> Self {
        let env = Env::system();
        let folder = tempfile::tempdir().unwrap();
        let open = async |migrations| stores.open(migrations, &env).await.unwrap();
        let (first, second) = (open(&FIRST).await, open(&SECOND).await);
        let (keyring, log, _) = Keyring::create("here.example", &env).unwrap();
        let did = keyring.did.clone();
        let scene = Self { first, second, secret: Secret::generate(), did, env, stores, folder };
        fs::create_dir_all(scene.data()).unwrap();
        fs::create_dir_all(scene.keys().join("keyring")).unwrap();
        fs::write(scene.data().join("instance.json"), "{\"did\":\"did:example:secret-name\"}").unwrap();
        fs::write(scene.keys().join("keyring/operator.json"), "the operator's very own key").unwrap();
        scene.keep(&keyring, &log.to_text());
        scene
    }

    pub async fn sqlite() -> Self {
        Self::new(TestStores::sqlite()).await
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("q-data")
    }

    pub fn keys(&self) -> PathBuf {
        self.folder.path().join("q-data.keys")
    }

    pub fn target(&self) -> PathBuf {
        self.folder.path().join("target")
    }

    pub fn source(&self) -> Source {
        Source {
            instance: self.did.to_string(),
            data: self.data(),
            keys: self.keys(),
            stores: ["first", "second"].map(|name| (name.to_owned(), self.stores.config(name))).into(),
            files: vec!["instance.json".into(), "q.toml".into()],
        }
    }

    /// Keeps the keys of the instance.
    pub fn keep(&self, keyring: &Keyring, log: &str) {
        let folder = self.keys().join("keyring");
        fs::write(folder.join("instance.json"), serde_json::to_vec(keyring).unwrap()).unwrap();
        fs::write(folder.join("instance.jsonl"), log).unwrap();
    }

    pub fn signer(&self) -> Signer {
        let folder = self.keys().join("keyring");
        Signer::at(&folder.join("instance.json"), &folder.join("instance.jsonl"))
    }

    /// What the machine itself believes.
    pub fn trust(&self) -> Trust {
        self.signer().trust().unwrap()
    }

    /// What somebody believes who was told the instance's identity and has nothing else of it.
    pub fn elsewhere(&self) -> Trust {
        Trust { log: None, ..self.trust() }
    }

    pub fn prune(&self, keep: &str, is_dry: bool) -> Result<q_backup::Pruned, q_backup::Error> {
        let target = Target::folder(&self.target());
        q_backup::prune(&self.data(), &target, &self.trust(), keep.parse().unwrap(), self.env.now(), is_dry)
    }

    pub fn place_in(&self, target: Target) -> Place {
        let making = Making::at(&self.keys().join("backup.json")).unwrap();
        Place { target, recipients: self.secret.recipients(), making, signer: self.signer() }
    }

    pub fn place(&self) -> Place {
        self.place_in(Target::folder(&self.target()))
    }

    /// Makes a backup in the folder.
    pub async fn back_up(&self) -> Manifest {
        loop {
            match self.try_back_up(self.place()).await {
                // The one of the schedule is under way.
                Err(q_backup::Error::Busy) => tokio::task::yield_now().await,
                made => return made.unwrap(),
            }
        }
    }

    pub async fn try_back_up(&self, place: Place) -> Result<Manifest, q_backup::Error> {
        let (source, env) = (self.source(), self.env.clone());
        tokio::task::spawn_blocking(move || q_backup::create(&source, &place, &env)).await.unwrap()
    }

    pub fn archive(&self) -> Archive {
        self.archive_for(&self.trust()).unwrap()
    }

    pub fn archive_for(&self, trust: &Trust) -> Result<Archive, q_backup::Error> {
        Archive::open(Target::folder(&self.target()), self.secret.clone(), trust)
    }

    /// Puts `wanted` into a new place and gives the stores there, by module.
    pub async fn restore(
        &self,
        wanted: Wanted,
        name: &str,
    ) -> Result<BTreeMap<String, DbConfig>, q_backup::Error> {
        self.restore_from(self.archive(), wanted, name).await
    }

    pub async fn restore_from(
        &self,
        archive: Archive,
        wanted: Wanted,
        name: &str,
    ) -> Result<BTreeMap<String, DbConfig>, q_backup::Error> {
        let into = self.folder.path().join(name);
        fs::create_dir_all(&into).unwrap();
        let place = |module: &str| match self.stores.config(&format!("{module}_{name}")) {
            DbConfig::Sqlite { .. } => DbConfig::sqlite(into.join(format!("{module}.sqlite"))),
            server @ DbConfig::Postgres { .. } => server,
        };
        let places: BTreeMap<_, _> =
            ["first", "second"].map(|module| (module.to_owned(), place(module))).into();
        let there = places.clone();
        let restored = tokio::task::spawn_blocking(move || {
            let plan = archive.plan(&wanted, None)?;
            archive.restore_stores(&plan, &there)
        });
        restored.await.unwrap().map(|()| places)
    }
}

/// The stores of the macro are of one engine; a scene owns its own ones of the same.
pub(crate) fn again(stores: &TestStores) -> TestStores {
    match stores.config("x") {
        DbConfig::Sqlite { .. } => TestStores::sqlite(),
        DbConfig::Postgres { .. } => TestStores::postgres().unwrap(),
    }
}

/// Writes note number `id`.
pub(crate) async fn note(db: &Db, id: i64) {
    let text = format!("note {id:0>200}");
    db.write(move |tx| tx.execute("INSERT INTO notes VALUES ($1, $2)", params![id, text.clone()]))
        .await
        .unwrap();
}

/// The notes of the store at `place`, which is opened as a module would.
pub(crate) async fn notes(place: &DbConfig, migrations: &Migrations) -> Vec<i64> {
    let db = Db::open_existing(place, migrations, &Env::system()).await.unwrap();
    assert_eq!(db.check().await.unwrap(), Vec::<String>::new());
    let rows = db.read(|reader| reader.query("SELECT id FROM notes ORDER BY id", &[])).await.unwrap();
    db.close().await;
    rows.iter().map(|row| row.try_get(0).unwrap()).collect()
}

/// Every file below `folder`.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}
