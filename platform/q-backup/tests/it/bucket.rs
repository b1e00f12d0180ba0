//! A bucket of a server that is not ours.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
};

use q_backup::{Archive, Target, Wanted};

use crate::{FIRST, Scene, note, notes};

/// moto's server, with one bucket.
struct Server {
    child: Child,
    endpoint: String,
}

impl Server {
    fn start() -> Option<Self> {
        let mut command = q_oracle::script("moto", env!("CARGO_MANIFEST_DIR"), "bucket.py")?;
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let endpoint = line.trim().to_owned();
        assert!(endpoint.starts_with("http://"), "{endpoint}");
        Some(Self { child, endpoint })
    }

    fn target(&self, secret: &str) -> Target {
        let text = format!("s3://vault/some where?endpoint={}&region=eu-central-1", self.endpoint);
        let secret = secret.to_owned();
        Target::parse(&text, |name| match name {
            "AWS_ACCESS_KEY_ID" => Some("AKIDEXAMPLE".into()),
            "AWS_SECRET_ACCESS_KEY" => Some(secret.clone()),
            _ => None,
        })
        .unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_is_a_target_like_a_folder() {
    let Some(server) = Server::start() else { return };
    let scene = Scene::sqlite().await;
    for id in 0..200 {
        note(&scene.first, id).await;
    }
    let target = server.target("secret");
    let mut made = Vec::new();
    for round in 0..3 {
        note(&scene.first, 1_000 + round).await;
        made.push(scene.try_back_up(scene.place_in(target.clone())).await.unwrap().id);
    }
    let open = || Archive::open(target.clone(), scene.secret.clone(), &scene.elsewhere());
    let (archive, ids) = blocking(|| {
        let archive = open().unwrap();
        let ids = archive.ids().unwrap();
        archive.verify(&ids[1]).unwrap();
        (archive, ids)
    });
    assert_eq!(ids, made);
    let restored = scene.restore_from(archive, Wanted::Newest, "from-bucket").await.unwrap();
    assert_eq!(notes(&restored["first"], &FIRST).await.len(), 203);
    let keep = "daily=1".parse().unwrap();
    let pruned =
        blocking(|| q_backup::prune(&scene.data(), &target, &scene.trust(), keep, scene.env.now(), false))
            .unwrap();
    assert_eq!(pruned.kept, [made[2].clone()]);
    assert!(pruned.objects > 0);
    blocking(|| open().unwrap().verify(&made[2])).unwrap();
    // A piece that is not there any more is named.
    let piece = blocking(|| target.list("chunks/")).unwrap().pop().unwrap().name;
    blocking(|| target.delete(&piece)).unwrap();
    let refused = blocking(|| open().unwrap().verify(&made[2])).unwrap_err().to_string();
    assert!(refused.contains(&piece) && refused.contains("missing"), "{refused}");
    // A listing longer than a page.
    for number in 0..1_050 {
        blocking(|| target.put(&format!("many/{number:04}"), b"x")).unwrap();
    }
    assert_eq!(blocking(|| target.list("many/")).unwrap().len(), 1_050);
}

fn blocking<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}
