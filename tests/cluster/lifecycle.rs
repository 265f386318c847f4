//! A small stack from nothing to gone: repeated, at the same time, killed, and cleaned up.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::cluster::{Deployed, kubectl};

/// Everything that is in the namespace and changes when something is applied.
fn versions(deployed: &Deployed) -> String {
    deployed.kubectl(&[
        "get",
        "deployments,replicasets,services,configmaps,secrets,serviceaccounts",
        "--output",
        "jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.uid} {.metadata.generation}{\"\\n\"}{end}",
    ])
}

#[test]
#[ignore = "needs Docker and a cluster: run `cargo xtask test`"]
fn up_then_up_again_then_down() {
    let deployed = Deployed::faulty();
    deployed.edit_source();
    let first = deployed.run(&["up"]);
    assert_eq!(first.code, 0, "{}", first.stderr);
    assert!(first.stderr.contains("1 built"), "{}", first.stderr);
    assert!(first.stderr.contains("1 passed"), "{}", first.stderr);
    let before = versions(&deployed);

    let second = deployed.run(&["up"]);
    assert_eq!(second.code, 0, "{}", second.stderr);
    assert!(second.stderr.contains("0 built"), "{}", second.stderr);
    assert!(
        second.stderr.contains("unchanged") && !second.stderr.contains("update"),
        "{}",
        second.stderr
    );
    assert_eq!(versions(&deployed), before, "nothing was written");

    let labels = deployed.kubectl(&[
        "get",
        "deployment",
        "subject",
        "--output",
        "jsonpath={.metadata.labels}",
    ]);
    for label in [
        "\"app.kubernetes.io/part-of\":\"faulty\"",
        "\"app.kubernetes.io/managed-by\":\"stackctl\"",
    ] {
        assert!(labels.contains(label), "{labels}");
    }

    let down = deployed.run(&["down"]);
    assert_eq!(down.code, 0, "{}", down.stderr);
    let left = deployed.kubectl(&["get", "deployments,services,pods", "--output", "name"]);
    assert_eq!(left.trim(), "", "all that carried the labels is gone");
    let kept = deployed.kubectl(&["get", "secret", "faulty-generated", "--output", "name"]);
    assert_eq!(kept.trim(), "secret/faulty-generated", "data stays");

    let gone = deployed.run(&["down", "--data", "--yes"]);
    assert_eq!(gone.code, 0, "{}", gone.stderr);
    let namespaces = kubectl(&["get", "namespaces", "--output", "name"]);
    assert!(
        !namespaces.contains(&deployed.namespace),
        "with its data the namespace goes, too"
    );
}

#[test]
#[ignore = "needs Docker and a cluster: run `cargo xtask test`"]
fn only_what_was_edited_is_built_and_rolled() {
    let deployed = Deployed::faulty();
    let first = deployed.run(&["up"]);
    assert_eq!(first.code, 0, "{}", first.stderr);
    let before = deployed.kubectl(&["get", "replicasets", "--output", "name"]);
    deployed.edit_source();
    let plan = deployed.run(&["build"]);
    assert!(plan.stderr.contains("1 built"), "{}", plan.stderr);
    let dry = deployed.run(&["deploy", "--dry-run"]);
    assert!(
        dry.stdout.contains("Deployment/subject") && dry.stdout.contains("1 update"),
        "{}",
        dry.stdout
    );
    assert_eq!(
        deployed.kubectl(&["get", "replicasets", "--output", "name"]),
        before,
        "a dry run changes nothing"
    );
    let second = deployed.run(&["up"]);
    assert_eq!(second.code, 0, "{}", second.stderr);
    assert_ne!(
        deployed.kubectl(&["get", "replicasets", "--output", "name"]),
        before
    );
}

#[test]
#[ignore = "needs Docker and a cluster: run `cargo xtask test`"]
fn a_generated_secret_is_made_once_and_never_shown() {
    let deployed = Deployed::faulty();
    let mut shown = String::new();
    for arguments in [
        &["up", "--verbose"][..],
        &["up", "--output", "json"],
        &["render"],
        &["status"],
    ] {
        let run = deployed.run(arguments);
        assert_eq!(run.code, 0, "{}", run.stderr);
        shown.push_str(&run.stdout);
        shown.push_str(&run.stderr);
    }
    let encoded = deployed.kubectl(&[
        "get",
        "secret",
        "faulty-generated",
        "--output",
        "jsonpath={.data.password}",
    ]);
    let value = deployed.kubectl(&[
        "get",
        "secret",
        "faulty-generated",
        "--output",
        "go-template={{index .data \"password\" | base64decode}}",
    ]);
    assert_eq!(value.len(), 32, "{value}");
    assert!(
        !shown.contains(&value) && !shown.contains(&encoded),
        "a secret was shown"
    );
}

#[test]
#[ignore = "needs Docker and a cluster: run `cargo xtask test`"]
fn two_runs_at_once_come_one_after_the_other() {
    let deployed = Deployed::faulty();
    assert_eq!(deployed.run(&["build"]).code, 0);
    let mut spawned: Vec<_> = (0..2)
        .map(|_| {
            deployed
                .command(&["deploy"])
                .stderr(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("it runs")
        })
        .collect();
    let outputs: Vec<String> = spawned
        .drain(..)
        .map(|child| {
            let output = child.wait_with_output().expect("it ends");
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(0), "{stderr}");
            stderr
        })
        .collect();
    assert!(
        outputs
            .iter()
            .any(|stderr| stderr.contains("waiting for the lock")),
        "{outputs:#?}"
    );
}

#[test]
#[ignore = "needs Docker and a cluster: run `cargo xtask test`"]
fn killed_at_any_moment_the_next_run_converges() {
    let deployed = Deployed::faulty();
    assert_eq!(deployed.run(&["build"]).code, 0);
    for milliseconds in [50, 150, 300, 600, 1200] {
        let mut child = deployed
            .command(&["deploy"])
            .stderr(Stdio::null())
            .spawn()
            .expect("it runs");
        std::thread::sleep(Duration::from_millis(milliseconds));
        let _ = child.kill();
        let _ = child.wait();
    }
    let run = deployed.run(&["up"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
}

#[test]
#[ignore = "needs Docker and a cluster: run `cargo xtask test`"]
fn logs_and_ports_outlive_a_pod() {
    let deployed = Deployed::faulty();
    deployed.replace(
        "services/subject/service.yaml",
        "ports: { http: 8080 }",
        "ports: { http: 8080 }\nforward: { http: 29811 }",
    );
    assert_eq!(deployed.run(&["up"]).code, 0);
    let logs = deployed.run(&["logs", "--tail", "5"]);
    assert_eq!(logs.code, 0, "{}", logs.stderr);
    assert!(
        logs.stdout.contains("subject starts in mode serve"),
        "{}",
        logs.stdout
    );

    let mut forward = deployed
        .command(&["port-forward"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut lines = BufReader::new(forward.stderr.take().expect("stderr")).lines();
    lines
        .find(|line| {
            line.as_ref()
                .is_ok_and(|line| line.contains("127.0.0.1:29811"))
        })
        .expect("the port is named")
        .expect("a line");
    assert!(get(29811).contains("subject"));
    deployed.kubectl(&[
        "delete",
        "pod",
        "--selector",
        "app.kubernetes.io/name=subject",
        "--wait=true",
    ]);
    let deadline = Instant::now() + Duration::from_secs(30);
    while !get(29811).contains("subject") {
        assert!(Instant::now() < deadline, "the port is not back");
        std::thread::sleep(Duration::from_millis(200));
    }
    forward.kill().expect("it runs until now");
    forward.wait().expect("it ends");
}

/// The answer to a GET, empty where there is none.
fn get(port: u16) -> String {
    let mut answer = String::new();
    if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
        let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
        let _ =
            stream.write_all(b"GET /live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let _ = stream.read_to_string(&mut answer);
    }
    answer
}

#[test]
#[ignore = "needs Docker and a cluster: run `cargo xtask test`"]
fn what_others_made_is_neither_changed_nor_deleted() {
    let deployed = Deployed::faulty();
    kubectl(&["create", "namespace", &deployed.namespace]);
    deployed.kubectl(&[
        "create",
        "configmap",
        "subject",
        "--from-literal=THEIRS=precious",
    ]);
    let refused = deployed.run(&["up"]);
    assert_eq!(refused.code, 4, "{}", refused.stderr);
    for word in [
        "error[S0724]",
        "ConfigMap/subject",
        "not made by stackctl",
        "--take-over",
    ] {
        assert!(
            refused.stderr.contains(word),
            "{word} is missing in {}",
            refused.stderr
        );
    }
    assert_eq!(
        deployed
            .kubectl(&["get", "deployments", "--output", "name"])
            .trim(),
        "",
        "nothing was applied"
    );

    assert_eq!(deployed.run(&["up", "--take-over"]).code, 0);
    deployed.write(
        "environments/other.yaml",
        &format!("extends: local\nnamespace: {}\n", deployed.namespace),
    );
    let other = deployed.run(&["deploy", "other"]);
    assert_eq!(other.code, 4, "{}", other.stderr);
    assert!(
        other.stderr.contains("belongs to the environment local"),
        "{}",
        other.stderr
    );
    assert_eq!(deployed.run(&["down", "other", "--yes"]).code, 0);
    let left = deployed.kubectl(&["get", "deployments", "--output", "name"]);
    assert_eq!(
        left.trim(),
        "deployment.apps/subject",
        "another environment's stays"
    );
}

#[test]
#[ignore = "needs Docker and a cluster: run `cargo xtask test`"]
fn drift_is_reported_and_taken_back() {
    let deployed = Deployed::faulty();
    assert_eq!(deployed.run(&["up"]).code, 0);
    deployed.kubectl(&["set", "image", "deployment/subject", "*=nobody/nothing:1"]);
    let conflict = deployed.run(&["deploy"]);
    assert_eq!(conflict.code, 4, "{}", conflict.stderr);
    assert!(
        conflict.stderr.contains("kubectl-set") && conflict.stderr.contains("--take-over"),
        "{}",
        conflict.stderr
    );
    let taken = deployed.run(&["deploy", "--take-over"]);
    assert_eq!(taken.code, 0, "{}", taken.stderr);
}

#[test]
#[ignore = "needs Docker and a cluster: run `cargo xtask test`"]
fn a_service_that_leads_nowhere_fails_the_smoke_test() {
    let deployed = Deployed::faulty();
    let nothing = deployed.run(&["smoke-test"]);
    assert_eq!(nothing.code, 5, "{}", nothing.stderr);
    assert!(
        nothing.stderr.contains("not deployed: subject"),
        "{}",
        nothing.stderr
    );
    assert_eq!(deployed.run(&["up"]).code, 0);
    deployed.kubectl(&["delete", "service", "subject"]);
    let broken = deployed.run(&["smoke-test"]);
    assert_eq!(broken.code, 7, "{}", broken.stderr);
    assert!(
        broken.stderr.contains("Service/subject"),
        "{}",
        broken.stderr
    );
}
