//! The stack of this repository, in a namespace of its own: its services, their stores, the gateway, Prometheus.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::cluster::{alone, finish, stackctl};
use crate::rolling;

/// Deletes the namespace of `environments/test.yaml` before and after.
struct Clean;

impl Clean {
    fn now() -> Self {
        delete();
        Self
    }
}

impl Drop for Clean {
    fn drop(&mut self) {
        delete();
    }
}

fn delete() {
    let _ = Command::new("kubectl")
        .args(["delete", "namespace", "seedling-test", "--ignore-not-found"])
        .output();
}

#[test]
#[ignore = "needs Docker and a cluster: run `cargo xtask test`"]
fn the_whole_stack_is_built_deployed_and_proven() {
    let _alone = alone();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let _clean = Clean::now();
    let first = finish(stackctl(root, &["up", "test"]));
    assert_eq!(first.code, 0, "{}", first.stderr);
    for service in [
        "birthday",
        "counter",
        "gateway",
        "hits-api",
        "hits-worker",
        "picture",
        "picture-source",
        "postgres",
        "prometheus",
        "redis",
        "sentinel",
        "upload",
    ] {
        assert!(
            first.stderr.contains(service),
            "{service} is missing in\n{}",
            first.stderr
        );
    }

    let status = finish(stackctl(root, &["status", "test", "--output", "json"]));
    assert_eq!(status.code, 0, "{}", status.stderr);

    let again = finish(stackctl(root, &["deploy", "test"]));
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert!(
        again.stderr.contains("unchanged") && !again.stderr.contains("update"),
        "{}",
        again.stderr
    );
    assert!(
        again.elapsed < Duration::from_secs(3),
        "{:?}\n{}",
        again.elapsed,
        again.stderr
    );

    let smoke = finish(stackctl(root, &["smoke-test", "test", "--output", "json"]));
    assert_eq!(smoke.code, 0, "{}", smoke.stderr);
    let report: serde_json::Value = serde_json::from_str(&smoke.stdout).expect("JSON");
    let tested: Vec<&str> = report["suites"]
        .as_array()
        .expect("suites")
        .iter()
        .filter_map(|suite| suite["service"].as_str())
        .collect();
    for service in [
        "birthday",
        "counter",
        "gateway",
        "hits-api",
        "hits-worker",
        "picture",
        "picture-source",
        "prometheus",
        "upload",
    ] {
        assert!(
            tested.contains(&service),
            "{service} has no smoke test: {tested:?}"
        );
    }

    rolling::drops_no_request("seedling-test");
}
