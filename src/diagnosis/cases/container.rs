//! Containers that do not start, do not keep running or do not become ready.

use serde_json::{Value, json};

use super::super::cause::{Cause, CauseKind, ProbeKind};
use super::super::fixture::{
    crashed, deployment, event, observe, pod, replica_set, with_state, with_status,
};
use super::super::{LogSource, Observed, Verdict};
use super::{back_off, broken, expectation, one_pod, verdict, waiting};

#[test]
fn an_image_that_does_not_exist_ends_the_wait_at_once() {
    let message = "Failed to pull image \"web:1\": rpc error: code = Unknown desc = Error response from daemon: manifest for web:1 not found: manifest unknown";
    let observed = one_pod(
        |pod| with_state(pod, back_off()),
        |pod| vec![event(pod, "Failed", message, 1, 1)],
    );
    let cause = broken(verdict(&observed, 2));
    assert_eq!(
        cause.kind,
        CauseKind::ImageMissing {
            image: "web:1".into(),
            message: message.into()
        }
    );
    assert_eq!(cause.kind.code().as_str(), "S0802");
    assert_eq!(
        cause.trail(),
        "Deployment/web › ReplicaSet/web-7c9 › Pod/web-7c9-x2 › container main"
    );
    assert_eq!(
        cause.pointer.as_deref(),
        Some("/spec/template/spec/containers/0/image")
    );
    assert_eq!(
        cause.message(),
        "web cannot start: its image `web:1` does not exist"
    );
}

#[test]
fn what_newer_kubelets_say_while_they_back_off_is_enough() {
    let message = "Back-off pulling image \"web:1\": ErrImagePull: rpc error: code = NotFound desc = web:1: not found";
    let state = json!({"waiting": {"reason": "ImagePullBackOff", "message": message}});
    let observed = one_pod(|pod| with_state(pod, state), |_| vec![]);
    assert!(matches!(
        broken(verdict(&observed, 2)).kind,
        CauseKind::ImageMissing { .. }
    ));
}

#[test]
fn a_registry_that_is_away_gets_three_attempts() {
    let message = "Failed to pull image \"web:1\": dial tcp: lookup registry.invalid: no such host";
    let tried = |count: u64| {
        one_pod(
            |pod| with_state(pod, back_off()),
            |pod| vec![event(pod, "Failed", message, count, 1)],
        )
    };
    assert_eq!(
        waiting(verdict(&tried(2), 20)),
        (
            "0/1 ready, cannot start: fetching its image `web:1` fails".into(),
            60
        )
    );
    assert!(matches!(
        broken(verdict(&tried(3), 40)).kind,
        CauseKind::ImageUnreachable { .. }
    ));
    let blind = one_pod(|pod| with_state(pod, back_off()), |_| vec![]);
    assert_eq!(waiting(verdict(&blind, 59)).1, 60, "events cannot be read");
    assert!(matches!(
        broken(verdict(&blind, 60)).kind,
        CauseKind::ImageUnreachable { .. }
    ));
}

#[test]
fn names_and_policies_that_cannot_work_end_the_wait_at_once() {
    let waits = |reason: &str, message: &str| {
        let state = json!({"waiting": {"reason": reason, "message": message}});
        broken(verdict(
            &one_pod(|pod| with_state(pod, state), |_| vec![]),
            1,
        ))
    };
    let name = waits(
        "InvalidImageName",
        "couldn't parse image reference \"Not A Name\": invalid reference format",
    );
    assert_eq!(
        name.kind,
        CauseKind::ImageNameInvalid {
            image: "web:1".into()
        }
    );
    let never = waits(
        "ErrImageNeverPull",
        "Container image \"web:1\" is not present with pull policy of Never",
    );
    assert_eq!(never.kind.code().as_str(), "S0802");
    assert_eq!(
        never.message(),
        "web cannot start: its image `web:1` is not on the node"
    );
    let secret = waits("CreateContainerConfigError", "secret \"gone\" not found");
    assert_eq!(
        secret.kind,
        CauseKind::ConfigMissing {
            what: "Secret/gone".into()
        }
    );
    let root = waits(
        "CreateContainerConfigError",
        "container has runAsNonRoot and image will run as root",
    );
    assert!(matches!(root.kind, CauseKind::CannotRun { .. }));
    let absent = waits(
        "RunContainerError",
        "OCI runtime create failed: exec: \"/no\": stat /no: no such file or directory: unknown",
    );
    assert_eq!(
        absent.kind,
        CauseKind::CannotRun {
            message: "exec: \"/no\": stat /no: no such file or directory".into()
        }
    );
}

#[test]
fn caches_that_lag_are_no_missing_configuration() {
    let state = json!({"waiting": {
        "reason": "CreateContainerConfigError",
        "message": "failed to sync secret cache: timed out waiting for the condition",
    }});
    let observed = one_pod(|pod| with_state(pod, state), |_| vec![]);
    assert_eq!(
        waiting(verdict(&observed, 10)).0,
        "0/1 ready, CreateContainerConfigError"
    );
}

#[test]
fn a_secret_that_cannot_be_mounted_is_named_with_its_place() {
    let mount = |message: &str| {
        let mut web = deployment("web", 1);
        web["spec"]["template"]["spec"]["volumes"] =
            json!([{"name": "s", "secret": {"secretName": "gone"}}]);
        let set = replica_set(&web, "web-7c9");
        let pod = pod(&set, "web-7c9-x2");
        let event = event(&pod, "FailedMount", message, 2, 3);
        verdict(&observe([web, set, pod, event]), 5)
    };
    let cause = broken(mount(
        "MountVolume.SetUp failed for volume \"s\" : secret \"gone\" not found",
    ));
    assert_eq!(
        cause.kind,
        CauseKind::ConfigMissing {
            what: "Secret/gone".into()
        }
    );
    assert_eq!(
        cause.pointer.as_deref(),
        Some("/spec/template/spec/volumes/0/secret/secretName")
    );
    waiting(mount(
        "MountVolume.SetUp failed for volume \"s\" : failed to sync secret cache: timed out waiting for the condition",
    ));
    waiting(mount(
        "MountVolume.SetUp failed for volume \"s\" : object \"shop\"/\"gone\" not registered",
    ));
    waiting(mount(
        "AttachVolume.Attach failed for volume \"pvc-1\" : rpc error: Internal",
    ));
}

#[test]
fn the_second_crash_ends_the_wait_and_the_first_does_not() {
    let end = json!({"exitCode": 3, "reason": "Error", "finishedAt": "2026-11-21T04:00:04Z"});
    let after = |runs: u64| one_pod(|pod| crashed(pod, runs, end.clone()), |_| vec![]);
    assert_eq!(
        waiting(verdict(&after(1), 5)).0,
        "0/1 ready, crashes with exit code 3, once"
    );
    let cause = broken(verdict(&after(2), 5));
    assert_eq!(cause.kind, CauseKind::Crashes { code: 3, runs: 2 });
    let log = |observed: &Observed, cause: &Cause| {
        let source = LogSource::of_cause(observed, cause).unwrap();
        (source.pod, source.container, source.previous)
    };
    let main = |previous: bool| ("web-7c9-x2".to_owned(), "main".to_owned(), previous);
    assert_eq!(
        log(&after(2), &cause),
        main(false),
        "the last run is the current one until the next begins"
    );

    let again = json!({"state": {"running": {"startedAt": "2026-11-21T04:00:05Z"}}, "lastState": {"terminated": end}, "restartCount": 2, "ready": false});
    let running = one_pod(|pod| with_status(pod, again), |_| vec![]);
    let cause = broken(verdict(&running, 6));
    assert_eq!(cause.kind, CauseKind::Crashes { code: 3, runs: 2 });
    assert_eq!(log(&running, &cause), main(true));
}

#[test]
fn ends_are_told_apart() {
    let end = |end: Value| {
        let mut limited = deployment("web", 1);
        limited["spec"]["template"]["spec"]["containers"][0]["resources"] =
            json!({"limits": {"memory": "16Mi"}});
        let set = replica_set(&limited, "web-7c9");
        let pod = crashed(pod(&set, "web-7c9-x2"), 2, end);
        broken(verdict(&observe([limited, set, pod]), 5))
    };
    let memory = end(json!({"exitCode": 137, "reason": "OOMKilled"}));
    assert_eq!(
        memory.kind,
        CauseKind::OutOfMemory {
            limit: Some("16Mi".into())
        }
    );
    assert_eq!(
        memory.pointer.as_deref(),
        Some("/spec/template/spec/containers/0/resources/limits/memory")
    );
    assert_eq!(
        end(json!({"exitCode": 0, "reason": "Completed"})).kind,
        CauseKind::Ends { runs: 2 }
    );
    assert_eq!(
        end(json!({"exitCode": 139, "reason": "Error"})).message(),
        "web is killed by SIGSEGV, twice"
    );
    let absent = end(
        json!({"exitCode": 127, "reason": "ContainerCannotRun", "message": "exec: \"/no\": no such file or directory"}),
    );
    assert!(matches!(absent.kind, CauseKind::CannotRun { .. }));
}

#[test]
fn a_container_that_its_liveness_probe_kills_is_no_mystery() {
    let probe = json!({"exec": {"command": ["/bin/false"]}});
    let mut web = deployment("web", 1);
    web["spec"]["template"]["spec"]["containers"][0]["livenessProbe"] = probe;
    let set = replica_set(&web, "web-7c9");
    let pod = crashed(
        pod(&set, "web-7c9-x2"),
        2,
        json!({"exitCode": 137, "reason": "Error"}),
    );
    let events = [
        event(&pod, "Unhealthy", "Liveness probe failed: ", 6, 14),
        event(
            &pod,
            "Killing",
            "Container main failed liveness probe, will be restarted",
            2,
            15,
        ),
    ];
    let cause = broken(verdict(
        &observe([web, set, pod].into_iter().chain(events)),
        16,
    ));
    assert_eq!(
        cause.kind,
        CauseKind::ProbeFailing {
            probe: ProbeKind::Liveness,
            target: "`/bin/false`".into(),
            message: "Liveness probe failed: ".into(),
            failures: 6,
        }
    );
    assert_eq!(
        cause.pointer.as_deref(),
        Some("/spec/template/spec/containers/0/livenessProbe")
    );
}

/// A pod that runs since second 2 and whose readiness probe has failed so often.
fn probed(failures: u64) -> Observed {
    let mut web = deployment("web", 1);
    web["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] =
        json!({"httpGet": {"path": "/readyz", "port": 8080}});
    let set = replica_set(&web, "web-7c9");
    let running = json!({"state": {"running": {"startedAt": "2026-11-21T04:00:02Z"}}, "lastState": {}, "restartCount": 0, "ready": false, "started": true});
    let pod = with_status(pod(&set, "web-7c9-x2"), running);
    let unhealthy = (failures > 0).then(|| {
        event(
            &pod,
            "Unhealthy",
            "Readiness probe failed: connection refused",
            failures,
            20,
        )
    });
    observe([web, set, pod].into_iter().chain(unhealthy))
}

#[test]
fn a_failing_probe_has_until_ready_within_after_the_container_started() {
    assert_eq!(waiting(verdict(&probed(9), 31)).1, 32);
    let cause = broken(verdict(&probed(9), 32));
    assert_eq!(
        cause.message(),
        "web runs but is not ready: GET /readyz on port 8080 fails"
    );
    let log = LogSource::of_cause(&probed(9), &cause).unwrap();
    assert!(!log.previous, "it still runs");
    let workload = expectation(&deployment("web", 1), None).workload;
    assert_eq!(LogSource::of_silent(&probed(0), &workload), Some(log));
    assert_eq!(
        waiting(verdict(&probed(2), 32)).1,
        42,
        "below the threshold: until the deadline"
    );
    assert!(matches!(
        broken(verdict(&probed(2), 42)).kind,
        CauseKind::ProbeFailing { failures: 2, .. }
    ));
}

#[test]
fn without_a_known_cause_the_deadline_ends_the_wait() {
    assert_eq!(
        waiting(verdict(&probed(0), 32)),
        ("0/1 ready, running, not ready yet".into(), 42)
    );
    let Verdict::TimedOut { reason } = verdict(&probed(0), 42) else {
        panic!("no cause is known");
    };
    assert_eq!(reason.as_str(), "0/1 ready, running, not ready yet");
}

#[test]
fn a_sandbox_that_fails_again_and_again_is_the_pods_fault_after_a_minute() {
    let message = "Failed to create pod sandbox: OCI runtime create failed: container_linux.go:380: memory limit too low";
    let failed = |times: u64| {
        one_pod(
            |pod| with_state(pod, json!({"waiting": {"reason": "ContainerCreating"}})),
            |pod| vec![event(pod, "FailedCreatePodSandBox", message, times, 55)],
        )
    };
    let (_, recheck_at) = waiting(verdict(&failed(5), 58));
    assert_eq!(recheck_at, 60, "a starting node gets a minute");
    let cause = broken(verdict(&failed(5), 60));
    assert!(matches!(cause.kind, CauseKind::CannotRun { message: said } if said == message));
    waiting(verdict(&failed(2), 61));
}
