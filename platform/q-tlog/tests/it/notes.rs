//! Signed notes, checkpoints and proof files.

use proptest::prelude::*;
use q_jose::SecretKey;
use q_tlog::{
    Checkpoint, CheckpointError, LogProof, LogProofError, NoteError, NoteSigner, ProofError, SignedNote,
    VerifierKey, inclusion_proof, leaf_hash,
};

use crate::{entry, sample_log};

/// The example of c2sp.org/signed-note, whose key is printed in golang.org/x/mod/sumdb/note.
const PETER_KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const PETER_NOTE: &str = "If you think cryptography is the answer to your problem,\n\
    then you don't know what your problem is.\n\n\
    \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

fn signer() -> NoteSigner {
    NoteSigner::new("example.com/qerberos/0", SecretKey::from_seed(&[3; 32])).unwrap()
}

#[test]
fn verifies_a_note_that_another_program_signed() {
    let key: VerifierKey = PETER_KEY.parse().unwrap();
    let note: SignedNote = PETER_NOTE.parse().unwrap();
    assert_eq!(note.verify(std::slice::from_ref(&key)), Ok(vec![&key]));
    assert_eq!(key.to_string(), PETER_KEY);
    assert_eq!(note.to_string(), PETER_NOTE);
    let bent: SignedNote = PETER_NOTE.replace("answer", "Answer").parse().unwrap();
    assert_eq!(bent.verify(std::slice::from_ref(&key)), Err(NoteError::BadSignature));
    assert_eq!(note.verify(std::slice::from_ref(signer().verifier())), Err(NoteError::NoKnownKey));
}

#[test]
fn refuses_what_is_not_a_note_or_a_key() {
    let line = "\u{2014} n AAAAAAA=\n";
    for note in [
        String::new(),
        "text\n".into(),
        "text\n\n".into(),
        format!("text\n{line}"),
        format!("text\n\n{line}\n"),
        format!("te\u{7}xt\n\n{line}"),
        format!("text\r\n\n{line}"),
        format!("text\n\n{}", line.replace('n', "a+b")),
        format!("text\n\n{}", line.replace("AAAAAAA=", "AAAAAA==")),
        format!("text\n\n{}", line.repeat(65)),
        format!("{}\n\n{line}", "x".repeat(200_000)),
    ] {
        assert_eq!(note.parse::<SignedNote>(), Err(NoteError::Malformed), "{note:.60}");
    }
    assert!(format!("text\n\n{}", line.repeat(16)).parse::<SignedNote>().is_ok());
    for key in
        ["", "name", "name+00000000+", "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"]
    {
        assert_eq!(key.parse::<VerifierKey>(), Err(NoteError::NotAKey), "{key}");
    }
    for name in ["", "a b", "a+b", "a\u{a0}b", "a\nb"] {
        assert_eq!(VerifierKey::new(name, SecretKey::from_seed(&[1; 32]).public()), Err(NoteError::BadName));
    }
    assert_eq!(signer().sign("no newline"), Err(NoteError::Malformed));
}

#[test]
fn a_checkpoint_is_read_only_from_its_own_log() {
    let signer = signer();
    let checkpoint = Checkpoint { origin: signer.verifier().name().into(), size: 7, root: [9; 32] };
    let note = checkpoint.sign(&signer).unwrap().to_string();
    assert_eq!(Checkpoint::open(&note, signer.verifier()), Ok(checkpoint.clone()));
    assert_eq!(
        Checkpoint::open(&note.replace("\n7\n", "\n8\n"), signer.verifier()),
        Err(CheckpointError::Note(NoteError::BadSignature))
    );
    let other =
        Checkpoint { origin: "example.com/other".into(), ..checkpoint.clone() }.sign(&signer).unwrap();
    assert_eq!(Checkpoint::open(&other.to_string(), signer.verifier()), Err(CheckpointError::OtherLog));
    let extended = format!("{}extension\n", checkpoint.text());
    assert_eq!(Checkpoint::from_text(&extended), Ok(checkpoint.clone()));
    for text in [
        "",
        "o\n",
        "o\n1\n",
        "o\n1\nAA==\n",
        "o\n01\n",
        "o\n-1\n",
        &checkpoint.text().replace("\n7\n", "\n07\n"),
    ] {
        assert_eq!(Checkpoint::from_text(text), Err(CheckpointError::Malformed), "{text}");
    }
    assert_eq!(Checkpoint::from_text(checkpoint.text().trim_end()), Err(CheckpointError::Malformed));
}

#[test]
fn a_proof_file_proves_one_entry_at_one_place() {
    let signer = signer();
    let (tree, mut tiles) = sample_log(300, 300);
    let checkpoint = Checkpoint { origin: signer.verifier().name().into(), size: 300, root: tree.root() };
    let proof = LogProof {
        extra: Some(b"out of band".to_vec()),
        index: 257,
        path: inclusion_proof(&mut tiles, 257, 300).unwrap(),
        checkpoint: checkpoint.sign(&signer).unwrap().to_string(),
    };
    let text = proof.to_string();
    assert!(text.starts_with("c2sp.org/tlog-proof@v1\nextra b3V0IG9mIGJhbmQ=\nindex 257\n"), "{text}");
    let read: LogProof = text.parse().unwrap();
    assert_eq!(read, proof);
    assert_eq!(read.verify(&leaf_hash(&entry(257)), signer.verifier()), Ok(checkpoint));
    let wrong = LogProofError::Proof(ProofError::WrongRoot);
    assert_eq!(read.verify(&leaf_hash(&entry(256)), signer.verifier()), Err(wrong));
    let moved: LogProof = text.replace("index 257", "index 256").parse().unwrap();
    assert_eq!(moved.verify(&leaf_hash(&entry(257)), signer.verifier()), Err(wrong));
    for bent in [
        text.replace("@v1", "@v2"),
        text.replace("index 257", "index 0257"),
        text.replace("index ", "leaf "),
        text.replace("\nextra ", "\nEXTRA "),
        text.replacen("\n\n", "\n", 2),
        text.replace("index 257\n", "index 257\nAA==\n"),
    ] {
        assert_eq!(bent.parse::<LogProof>(), Err(LogProofError::Malformed), "{bent}");
    }
}

proptest! {
    #[test]
    fn hostile_text_is_refused_not_followed(text in "\\PC{0,200}", lines in "([\u{2014} a-zA-Z0-9+/=]{0,12}\n){0,8}") {
        let _ = text.parse::<VerifierKey>();
        for text in [text, lines] {
            if let Ok(note) = text.parse::<SignedNote>() {
                prop_assert_eq!(note.to_string(), text.clone());
            }
            let _ = (Checkpoint::from_text(&text), text.parse::<LogProof>());
        }
    }
}
