//! Installs the foreign programs of `oracles.toml` into a cache folder.
//!
//! **Invariant:** exact versions only, no address of a registry; what cannot be installed is named, never passed over.

use crate::machine;
use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

const LIST: &str = include_str!("../oracles.toml");
/// Written last: a folder without it, or with another text in it, is installed again.
const STAMP: &str = "installed.toml";
/// The oldest Python all packages of the list install on.
const PYTHON_MINOR_MIN: u32 = 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    python: BTreeMap<String, Package>,
    node: BTreeMap<String, Package>,
    debian: BTreeMap<String, Program>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Package {
    version: String,
    #[expect(dead_code, reason = "read by people; its presence is checked by being required")]
    why: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Program {
    command: String,
    #[expect(dead_code, reason = "read by people; its presence is checked by being required")]
    why: String,
}

/// The prepared folder and what is missing in it.
pub struct Oracles {
    /// What tests get as `Q_ORACLES`.
    pub folder: PathBuf,
    /// What could not be installed, each with its reason. Tests that need it say `skipped`, or fail on a build server.
    pub missing: Vec<String>,
}

/// Installs what is not there yet: into `$Q_ORACLES` if set, otherwise into a cache folder named by a hash of the list.
pub fn prepare() -> Result<Oracles> {
    let list: List = toml::from_str(LIST).context("xtask/oracles.toml")?;
    let folder = folder()?;
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let mut missing = install_programs(&list);
    let stamp = folder.join(STAMP);
    if fs::read_to_string(&stamp).is_ok_and(|text| text == LIST) {
        println!("oracles: {} (as listed)", folder.display());
        return Ok(Oracles { folder, missing });
    }
    println!("oracles: installing into {}", folder.display());
    let mut failures = Vec::new();
    failures.extend(install_python(&folder, &list).err().map(|error| format!("Python oracles: {error:#}")));
    failures.extend(install_node(&folder, &list).err().map(|error| format!("Node oracles: {error:#}")));
    machine::go_on()?;
    if failures.is_empty() {
        fs::write(&stamp, LIST).with_context(|| format!("writing {}", stamp.display()))?;
    }
    missing.extend(failures);
    Ok(Oracles { folder, missing })
}

fn folder() -> Result<PathBuf> {
    if let Some(path) = env::var_os("Q_ORACLES").filter(|path| !path.is_empty()) {
        return Ok(PathBuf::from(path));
    }
    let mut hasher = DefaultHasher::new();
    LIST.hash(&mut hasher);
    Ok(machine::cache()?.join("oracles").join(format!("{:016x}", hasher.finish())))
}

/// Returns what is missing afterwards.
fn install_programs(list: &List) -> Vec<String> {
    let absent =
        || list.debian.iter().filter(|(_, program)| machine::find_program(&program.command).is_none());
    let packages: Vec<&str> = absent().map(|(package, _)| package.as_str()).collect();
    if packages.is_empty() {
        return Vec::new();
    }
    println!("oracles: installing {}", packages.join(", "));
    let reason = machine::apt_install(&packages).err().map(|error| format!("{error:#}"));
    let reason = reason.unwrap_or_else(|| "installed, but not on the PATH".to_owned());
    absent().map(|(package, _)| format!("{package}: {}", first_line(&reason))).collect()
}

fn install_python(folder: &Path, list: &List) -> Result<()> {
    let venv = folder.join("venv");
    let python = venv.join("bin/python");
    if !python.is_file() {
        make_venv(&venv)?;
    }
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    pip.args(list.python.iter().map(|(name, package)| format!("{name}=={}", package.version)));
    machine::quietly(&mut pip)
}

fn make_venv(venv: &Path) -> Result<()> {
    let interpreter = || {
        ["python3.13", "python3.12", "python3.11", "python3.10", "python3"].into_iter().find(is_usable_python)
    };
    let make = |name: &str| machine::quietly(Command::new(name).args(["-m", "venv"]).arg(venv));
    if let Some(name) = interpreter()
        && make(name).is_ok()
    {
        return Ok(());
    }
    // Debian splits `venv` from the interpreter.
    machine::apt_install(&["python3", "python3-venv"])?;
    let name = interpreter().with_context(|| format!("no Python 3.{PYTHON_MINOR_MIN} or later"))?;
    let _ = fs::remove_dir_all(venv);
    make(name)
}

fn is_usable_python(name: &&str) -> bool {
    let question = format!("import sys; sys.exit(sys.version_info < (3, {PYTHON_MINOR_MIN}))");
    machine::quietly(Command::new(name).args(["-c", &question])).is_ok()
}

fn install_node(folder: &Path, list: &List) -> Result<()> {
    if machine::find_program("node").is_none() || machine::find_program("npm").is_none() {
        machine::apt_install(&["nodejs", "npm"])?;
    }
    let node = folder.join("node");
    fs::create_dir_all(&node)?;
    let dependencies: BTreeMap<_, _> =
        list.node.iter().map(|(name, package)| (name, &package.version)).collect();
    let manifest = serde_json::json!({ "private": true, "dependencies": dependencies });
    fs::write(node.join("package.json"), serde_json::to_vec_pretty(&manifest)?)?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--silent", "--no-audit", "--no-fund", "--save-exact"]).current_dir(&node);
    machine::quietly(&mut npm)?;
    if let Some(name) = list.node.keys().find(|name| !node.join("node_modules").join(name).is_dir()) {
        bail!("npm reported success, but {name} is not there");
    }
    Ok(())
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
