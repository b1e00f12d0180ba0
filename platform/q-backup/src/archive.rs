//! Reading backups: what is there, whether it is sound, and putting it back.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read as _, Write as _},
    path::Path,
};

use q_core::Timestamp;
use q_db::{DbConfig, backup::Position, dump::Checker};
use serde::Serialize;

use crate::{
    Error, Manifest, ModuleCopy, Secret, Target,
    chunks::{Content, Opening, Reader},
    files,
    manifest::MADE_FOR,
    name::instant_of,
    secrets::{self, Secrets},
    shipping::{Cut, CutName},
    signing::{GRACE, Trust, Verifier},
};

/// A target, the secret that opens what is in it, and whom it is believed of.
pub struct Archive {
    target: Target,
    opening: Opening,
    verifier: Verifier,
}

/// Which state is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The newest there is: the newest backup and everything shipped since.
    Newest,
    /// This backup, as it was made.
    Backup(String),
    /// The state at an instant.
    At(Timestamp),
}

/// What will be put back.
pub struct Plan {
    /// The backup it begins with.
    pub base: Manifest,
    /// The modules that are put back.
    pub modules: BTreeSet<String>,
    /// The cuts that follow it, by generation.
    cuts: BTreeMap<String, Vec<CutName>>,
    /// The folder of secrets, where it was shipped after the backup.
    secrets: Option<String>,
    /// How far each module will have come.
    pub positions: BTreeMap<String, Position>,
    /// The instant each module's state is of.
    pub reached: BTreeMap<String, Timestamp>,
}

/// What was looked at and found sound.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    /// The backup.
    pub id: String,
    /// Pieces opened and compared with their names.
    pub pieces: usize,
    /// Bytes of everything in it.
    pub bytes: u64,
    /// Cuts that follow it, opened.
    pub cuts: usize,
}

impl Archive {
    /// Opens `target` with `secret`; nothing in it is believed but what `trust` says.
    pub fn open(target: Target, secret: Secret, trust: &Trust) -> Result<Self, Error> {
        let made_for = match target.get(MADE_FOR) {
            Ok(text) => Some(String::from_utf8_lossy(&text).into_owned()),
            Err(Error::Missing(_)) => None,
            Err(error) => return Err(error),
        };
        let opening = Opening { secret, made_for };
        let verifier = Verifier::new(trust, &target, Some(&opening))?;
        Ok(Self { target, opening, verifier })
    }

    /// Where it reads.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The names of the backups, oldest first, whoever made them. A name tells an instant, and a manifest is only
    /// believed when its signer says so too: the newest name is the newest signed instant.
    pub fn ids(&self) -> Result<Vec<String>, Error> {
        let mut ids = Manifest::ids(&self.target)?;
        ids.sort();
        Ok(ids)
    }

    /// One backup's manifest.
    pub fn manifest(&self, id: &str) -> Result<Manifest, Error> {
        self.judged(id).map(|(manifest, _)| manifest)
    }

    /// One backup's manifest, and whether it is signed: only where the unsigned are accepted it may not be.
    pub fn judged(&self, id: &str) -> Result<(Manifest, bool), Error> {
        Manifest::read(&self.target, &self.opening, &self.verifier, id)
    }

    fn reader<'a>(&'a self, manifest: &'a Manifest) -> Reader<'a> {
        Reader { target: &self.target, opening: &self.opening, making: &manifest.making }
    }

    /// Opens everything that the backup `id` needs, and the cuts after it, and compares each with its name and hash.
    pub fn verify(&self, id: &str) -> Result<Verified, Error> {
        let manifest = self.manifest(id)?;
        let reader = self.reader(&manifest);
        let mut verified = Verified { id: id.to_owned(), ..Verified::default() };
        let stores = manifest.modules.iter().map(|(name, copy)| (name, &copy.content));
        for (name, content) in stores.chain(&manifest.files).chain(&manifest.secrets) {
            reader.read(content, |_| Ok(())).map_err(|error| named(error, name))?;
            verified.pieces += content.pieces.len();
            verified.bytes += content.bytes;
        }
        if Manifest::pieces_of(&self.target, id, None)?.iter().map(String::as_str).collect::<BTreeSet<_>>()
            != manifest.pieces()
        {
            return Err(Error::damaged(&format!("pieces/{id}"), "it does not list what the backup needs"));
        }
        let all: BTreeSet<String> = manifest.modules.keys().cloned().collect();
        let cuts = self.cuts(&manifest, &all, None)?;
        for name in cuts.values().flatten() {
            Cut::open(&self.target, &self.opening, &self.verifier, name)?;
            verified.cuts += 1;
        }
        if let Some(object) = secrets::newest(&self.target, manifest.at, None)? {
            Secrets::open(&self.target, &self.opening, &self.verifier, &object)?;
        }
        Ok(verified)
    }

    /// The cuts that follow `base` without a gap, up to `until`.
    fn cuts(
        &self,
        base: &Manifest,
        modules: &BTreeSet<String>,
        until: Option<Timestamp>,
    ) -> Result<BTreeMap<String, Vec<CutName>>, Error> {
        let mut generations = BTreeMap::<&str, (u64, u64)>::new();
        for copy in modules.iter().filter_map(|module| base.modules.get(module)) {
            let Some(chain) = &copy.chain else { continue };
            let bounds = generations.entry(&chain.generation).or_insert((chain.first, chain.least));
            *bounds = (bounds.0.min(chain.first), bounds.1.max(chain.least));
        }
        let mut cuts = BTreeMap::new();
        for (generation, (first, least)) in generations {
            let mut followed = Vec::<CutName>::new();
            let mut listed = CutName::list(&self.target, generation)?;
            listed.sort_by_key(|cut| cut.number);
            let (mut before, mut since) = (None, base.at);
            for mut cut in listed.into_iter().filter(|cut| cut.number >= first) {
                let follows = match before {
                    Some(before) => cut.previous == before,
                    None => cut.previous < first,
                };
                if !follows || until.is_some_and(|until| cut.at > until) {
                    break;
                }
                before = Some(cut.number);
                // It ended before the backup began, which has it.
                if cut.number < least && cut.at + GRACE < base.at {
                    continue;
                }
                cut.since = since.max(cut.at);
                since = cut.since;
                followed.push(cut);
            }
            // Cuts that end within the copy would take it back to an instant it was never at.
            if followed.last().is_some_and(|cut| cut.number >= least) {
                cuts.insert(generation.to_owned(), followed);
            }
        }
        Ok(cuts)
    }

    /// Finds out what has to be put back for the state that is `wanted` of `modules` (all when not said).
    pub fn plan(&self, wanted: &Wanted, modules: Option<&[String]>) -> Result<Plan, Error> {
        let ids = self.ids()?;
        let newest = || ids.last().cloned().ok_or_else(|| Error::Unknown("in the target".into()));
        let (id, until, with_cuts) = match wanted {
            Wanted::Newest => (newest()?, None, true),
            Wanted::Backup(id) => (id.clone(), None, false),
            Wanted::At(at) => {
                let before = ids.iter().rev().find(|id| instant_of(id).is_some_and(|made| made <= *at));
                let id = before.cloned().ok_or_else(|| Error::TooOld(at.to_string()))?;
                (id, Some(*at), true)
            }
        };
        let base = self.manifest(&id)?;
        if let Wanted::At(at) = wanted
            && base.at > *at
        {
            // Of the same millisecond, and yet later.
            let earlier = ids.iter().rev().find(|other| **other < id).cloned();
            let earlier = earlier.ok_or_else(|| Error::TooOld(at.to_string()))?;
            return self.plan_from(self.manifest(&earlier)?, modules, until, true);
        }
        self.plan_from(base, modules, until, with_cuts)
    }

    fn plan_from(
        &self,
        base: Manifest,
        modules: Option<&[String]>,
        until: Option<Timestamp>,
        with_cuts: bool,
    ) -> Result<Plan, Error> {
        let modules: BTreeSet<String> = match modules {
            None => base.modules.keys().cloned().collect(),
            Some(names) => names.iter().cloned().collect(),
        };
        if let Some(unknown) = modules.iter().find(|module| !base.modules.contains_key(*module)) {
            let there = base.modules.keys().cloned().collect::<Vec<_>>().join(", ");
            return Err(Error::Text(format!(
                "the backup {} has no store of {unknown}; it has {there}",
                base.id
            )));
        }
        let mut plan = Plan {
            secrets: if with_cuts { secrets::newest(&self.target, base.at, until)? } else { None },
            cuts: if with_cuts { self.cuts(&base, &modules, until)? } else { BTreeMap::new() },
            positions: BTreeMap::new(),
            reached: BTreeMap::new(),
            modules,
            base,
        };
        // Processes ship on their own: one whose stores have heard what another one's stores do not know goes back a
        // step, until nobody is ahead. The backup itself is of one instant, so this ends there at the latest.
        loop {
            self.locate(&mut plan)?;
            let Some(ahead) = plan.ahead() else { return Ok(plan) };
            let generation = plan.base.modules[&ahead].chain.as_ref().map(|chain| chain.generation.clone());
            let Some(cuts) = generation.and_then(|generation| plan.cuts.get_mut(&generation)) else {
                return Err(Error::damaged(&plan.base.id, format!("{ahead} is ahead of what it has heard")));
            };
            cuts.pop();
            let least = plan.base.modules[&ahead].chain.as_ref().map_or(0, |chain| chain.least);
            if cuts.last().is_none_or(|cut| cut.number < least) {
                cuts.clear();
            }
        }
    }

    /// How far each module will have come.
    fn locate(&self, plan: &mut Plan) -> Result<(), Error> {
        for module in &plan.modules {
            let copy = &plan.base.modules[module];
            plan.positions.insert(module.clone(), copy.position.clone());
            plan.reached.insert(module.clone(), plan.base.at);
        }
        for last in plan.cuts.values().filter_map(|cuts| cuts.last()) {
            for (module, part) in Cut::open(&self.target, &self.opening, &self.verifier, last)?.modules {
                if plan.modules.contains(&module) {
                    plan.reached.insert(module.clone(), last.at);
                    plan.positions.insert(module, part.position);
                }
            }
        }
        Ok(())
    }

    /// Puts the stores of `plan` where `places` says; refuses what is in the way, and checks every hash on the way.
    pub fn restore_stores(&self, plan: &Plan, places: &BTreeMap<String, DbConfig>) -> Result<(), Error> {
        for module in &plan.modules {
            match places.get(module) {
                Some(DbConfig::Sqlite { path }) if fs::symlink_metadata(path).is_ok() => {
                    return Err(Error::InTheWay(path.display().to_string()));
                }
                Some(DbConfig::Postgres { url }) => q_db::backup::is_free(module, url)?,
                _ => {}
            }
        }
        let reader = self.reader(&plan.base);
        for module in &plan.modules {
            let copy = &plan.base.modules[module];
            let place = places.get(module);
            match (copy.engine.as_str(), place) {
                ("sqlite", Some(DbConfig::Sqlite { path })) => {
                    write_content(&reader, &copy.content, path).map_err(|error| named(error, module))?;
                }
                ("postgres", Some(DbConfig::Postgres { url })) => {
                    load(&reader, copy, module, url).map_err(|error| named(error, module))?;
                }
                (engine, place) => {
                    let place = place.map_or_else(|| "nowhere".to_owned(), ToString::to_string);
                    return Err(Error::Text(format!(
                        "the store of {module} was kept by {engine} and cannot be put into {place}: set its database_url as it was"
                    )));
                }
            }
        }
        for name in plan.cuts.values().flatten() {
            let cut = Cut::open(&self.target, &self.opening, &self.verifier, name)?;
            for (module, part) in &cut.modules {
                if let (true, Some(DbConfig::Sqlite { path })) =
                    (plan.modules.contains(module), places.get(module))
                {
                    part.apply(path)?;
                }
            }
        }
        for module in &plan.modules {
            if let Some(DbConfig::Sqlite { path }) = places.get(module) {
                let synced = fs::File::open(path).and_then(|file| file.sync_all());
                synced.map_err(|error| Error::io("written", path, error))?;
                path.parent().map_or(Ok(()), files::sync_folder)?;
            }
        }
        Ok(())
    }

    /// Puts one file of the data folder back, if the backup has it; one that is there with another content is in the way.
    pub fn restore_file(&self, plan: &Plan, data: &Path, name: &str) -> Result<(), Error> {
        let Some(content) = plan.base.files.get(name) else { return Ok(()) };
        let path = data.join(checked(name)?);
        let whole = self.reader(&plan.base).whole(content)?;
        match fs::read(&path) {
            Ok(there) if there == whole => Ok(()),
            Ok(_) => Err(Error::InTheWay(path.display().to_string())),
            Err(_) => files::write(&path, &whole),
        }
    }

    /// Puts the secrets back. What is there and differs is kept below `replaced-…`, except what `is_newer` names:
    /// that stays as it is.
    pub fn restore_secrets(
        &self,
        plan: &Plan,
        keys: &Path,
        is_newer: impl Fn(&str) -> bool,
    ) -> Result<Vec<String>, Error> {
        let reader = self.reader(&plan.base);
        let mut all = BTreeMap::new();
        for (name, content) in &plan.base.secrets {
            all.insert(name.clone(), reader.whole(content)?);
        }
        if let Some(object) = &plan.secrets {
            all.extend(Secrets::open(&self.target, &self.opening, &self.verifier, object)?.0);
        }
        let mut replaced = Vec::new();
        for (name, whole) in &all {
            let path = keys.join(checked(name)?);
            match fs::read(&path) {
                Ok(there) if there == *whole || is_newer(name) => continue,
                Ok(_) => {
                    let aside = keys.join(format!("replaced-{}", plan.base.id)).join(name);
                    files::folder(aside.parent().unwrap_or(keys))?;
                    fs::rename(&path, &aside).map_err(|error| Error::io("moved", &path, error))?;
                    replaced.push(name.clone());
                }
                Err(_) => {}
            }
            files::folder(path.parent().unwrap_or(keys))?;
            files::write(&path, whole)?;
        }
        Ok(replaced)
    }
}

impl Plan {
    /// A module that has heard of another one what that one will not have said.
    fn ahead(&self) -> Option<String> {
        let is_ahead = |position: &Position| {
            self.positions.iter().any(|(producer, said)| {
                let (events, audit) = position.heard_of(producer);
                events > said.events || audit > said.audit
            })
        };
        self.positions.iter().find(|(_, position)| is_ahead(position)).map(|(module, _)| module.clone())
    }

    /// The earliest of the instants the modules' states are of.
    pub fn instant(&self) -> Timestamp {
        self.reached.values().min().copied().unwrap_or(self.base.at)
    }
}

fn write_content(reader: &Reader<'_>, content: &Content, path: &Path) -> Result<(), Error> {
    let mut file = files::create(path)?;
    reader.read(content, |piece| file.write_all(piece).map_err(|error| Error::io("written", path, error)))?;
    file.sync_all().map_err(|error| Error::io("written", path, error))
}

fn load(reader: &Reader<'_>, copy: &ModuleCopy, module: &str, url: &str) -> Result<(), Error> {
    let failed = |said: String| Error::Program { program: "psql", said };
    let mut running = q_db::backup::load_into(module, url)?;
    let mut input = running.stdin.take().expect("its input is a pipe");
    let mut complaints = running.stderr.take().expect("its complaints are a pipe");
    let listening = std::thread::spawn(move || {
        let mut said = String::new();
        let _ = complaints.read_to_string(&mut said);
        said
    });
    let mut checker = Checker::default();
    // It ends early when a statement fails, and says why.
    let mut give = |text: &[u8]| input.write_all(text).map_err(|error| failed(error.to_string()));
    let given = reader.read(&copy.content, |piece| give(&checker.take(piece)?));
    let given = given.and_then(|()| give(&checker.finish()?));
    if given.is_err() {
        let _ = running.kill();
    }
    drop(input);
    let ended = running.wait();
    let said = listening.join().unwrap_or_default();
    match ended {
        Ok(status) if status.success() => given,
        // Killed for it.
        _ if matches!(given, Err(Error::Dump(_) | Error::Damaged { .. })) => given,
        _ if said.trim().is_empty() => Err(given.err().unwrap_or_else(|| failed("it ended early".into()))),
        _ => Err(failed(said.trim().to_owned())),
    }
}

/// Says of which content a damage is.
fn named(error: Error, name: &str) -> Error {
    match error {
        Error::Damaged { object, why } if object == "the content" => Error::damaged(name, why),
        Error::Damaged { object, why } => Error::damaged(&object, format!("{why} (a part of {name})")),
        Error::Missing(object) => Error::Missing(format!("{object} (a part of {name})")),
        other => other,
    }
}

/// A name from a manifest, as a path below a folder and nowhere else.
fn checked(name: &str) -> Result<&str, Error> {
    let is_below = !name.is_empty() && name.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if is_below { Ok(name) } else { Err(Error::damaged(name, "it is no name of a file")) }
}
