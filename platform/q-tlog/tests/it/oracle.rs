//! Our log read by PyPI `tlog-scales`, which shares no code with us.

use std::{fs, path::Path, process::Command};

use q_jose::SecretKey;
use q_tlog::{
    Checkpoint, LogProof, LogResource, NoteSigner, TileId, bundle, consistency_proof, inclusion_proof,
};

use crate::{Tiles, entry, sample_log};

/// The sizes at which tiles become full, and the ones beside them.
const SIZES: [u64; 7] = [1, 255, 256, 257, 65_535, 65_536, 65_537];

/// The command line of `tlog-scales` with `verb`.
fn tlog_tiles(verb: &str) -> Option<Command> {
    let mut command = q_oracle::python("PyPI tlog-scales")?;
    command.args(["-m", "tlog_scales.cli", verb]);
    Some(command)
}

fn answer(command: &mut Command) -> String {
    String::from_utf8(q_oracle::ask(command, "").unwrap()).unwrap()
}

/// Writes the static resources of the log under `folder`, as a web server would hold them.
fn publish(folder: &Path, size: u64, tiles: &Tiles, note: &str) {
    let put = |resource: LogResource, bytes: &[u8]| {
        let file = folder.join(resource.to_string());
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, bytes).unwrap();
    };
    put(LogResource::Checkpoint, note.as_bytes());
    for id in TileId::all_at(size) {
        put(LogResource::Tile(id), &tiles.0[&(id.level, id.index)].concat());
        if id.level == 0 {
            let first = id.index * 256;
            let entries = (first..first + u64::from(id.width)).map(entry);
            let resource = LogResource::Entries { index: id.index, width: id.width };
            put(resource, &bundle::encode(entries).unwrap());
        }
    }
}

#[test]
fn a_foreign_program_reads_the_log_and_makes_the_same_proofs() {
    let signer = NoteSigner::new("example.com/qerberos/0", SecretKey::from_seed(&[3; 32])).unwrap();
    for size in SIZES {
        let folder = tempfile::tempdir().unwrap();
        let (tree, mut tiles) = sample_log(size, 4_096);
        let checkpoint = Checkpoint { origin: signer.verifier().name().into(), size, root: tree.root() };
        let note = checkpoint.sign(&signer).unwrap().to_string();
        publish(folder.path(), size, &tiles, &note);
        for index in [0, size / 2, size - 1] {
            let Some(mut leaf) = tlog_tiles("get-leaf") else { return };
            leaf.arg("-c").arg(folder.path()).arg(index.to_string());
            assert_eq!(answer(&mut leaf).into_bytes(), entry(index), "leaf {index} of {size}");
            let Some(mut theirs) = tlog_tiles("gen-proof") else { return };
            theirs.arg(folder.path()).arg(index.to_string());
            let path = inclusion_proof(&mut tiles, index, size).unwrap();
            let ours = LogProof { extra: None, index, path, checkpoint: note.clone() };
            assert_eq!(answer(&mut theirs), ours.to_string(), "proof of {index} of {size}");
        }
        let script = q_oracle::script("PyPI tlog-scales", env!("CARGO_MANIFEST_DIR"), "tlog_audit.py");
        let Some(mut audit) = script else { return };
        audit.arg(folder.path()).arg(signer.verifier().to_string());
        for old in [1, size / 3, size - 1, size].into_iter().filter(|old| *old > 0) {
            let root = q_tlog::root_at(&mut tiles, old).unwrap();
            let path = consistency_proof(&mut tiles, old, size).unwrap();
            audit.arg(format!("{old}:{}:{}", q_core::hash::hex(&root), q_core::hash::hex(&path.concat())));
        }
        assert_eq!(answer(&mut audit).trim(), format!("{size} {}", q_core::hash::hex(&tree.root())));
    }
}
