//! Programs of the operator's own.

use std::os::unix::fs::PermissionsExt as _;

use q_core::Env;
use q_notify::{Channel, Notifier};

use crate::message;

fn script(folder: &tempfile::TempDir, text: &str) -> Channel {
    let path = folder.path().join("page");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    format!("command {} on-call $HOME", path.display()).parse().unwrap()
}

#[tokio::test]
async fn a_program_gets_its_values_and_nothing_of_ours() {
    let folder = tempfile::tempdir().unwrap();
    let notifier = Notifier::new(Env::system(), None, None).unwrap();
    let show = "#!/bin/sh\necho \"$1|$2|$Q_MESSAGE_ID|$Q_KIND|$Q_DETAILS|${HOME:-none}\"; head -1\n";
    let said = notifier.send(&script(&folder, show), &message("msg_1")).await.unwrap();
    assert_eq!(said, "on-call|$HOME|msg_1|q.test.said|{\"module\":\"qwallet\"}|none\nIt does not answer.");
}

#[tokio::test]
async fn a_program_that_fails_or_talks_without_end_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let notifier = Notifier::new(Env::system(), None, None).unwrap();
    let error =
        notifier.send(&script(&folder, "#!/bin/sh\necho no >&2; exit 3\n"), &message("m")).await.unwrap_err();
    assert!(error.why.contains("exit status: 3: no") && !error.is_final, "{error}");
    let talk = "#!/bin/sh\nhead -c 1000000 /dev/zero | tr '\\0' x\n";
    let said = notifier.send(&script(&folder, talk), &message("m")).await.unwrap();
    assert_eq!(said.len(), 4_096);
    let missing: Channel = "command /nonexistent/page".parse().unwrap();
    assert!(notifier.check(&missing).unwrap_err().to_string().contains("no such program"));
    assert!(notifier.send(&missing, &message("m")).await.unwrap_err().why.contains("cannot be started"));
}
