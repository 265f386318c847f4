//! Tests of [`diagnose`](super::diagnose) over objects as clusters show them. `now` and `since` are seconds
//! after [`fixture::START`](super::fixture::START), when all objects were made.

use std::time::Duration;

use k8s_model::ObjectRef;
use serde_json::{Value, json};

use super::cause::{Cause, CauseKind, ProbeKind};
use super::fixture::{
    at, crashed, deployment, event, observe, pod, ready, replica_set, stateful_set, unscheduled,
    with_state, with_status,
};
use super::{Expectation, LogSource, Observed, Verdict, diagnose};

const READY_WITHIN: Duration = Duration::from_secs(30);

fn expectation(workload: &Value, since: Option<i64>) -> Expectation {
    Expectation {
        service: "web".parse().unwrap(),
        workload: ObjectRef::of(workload).unwrap(),
        ready_within: READY_WITHIN,
        since: since.map(at),
    }
}

/// A Deployment `web` with one pod, made by `pod`, and what `more` adds.
fn one_pod(
    change: impl FnOnce(Value) -> Value,
    more: impl FnOnce(&Value) -> Vec<Value>,
) -> Observed {
    let web = deployment("web", 1);
    let set = replica_set(&web, "web-7c9");
    let pod = change(pod(&set, "web-7c9-x2"));
    let more = more(&pod);
    observe([web, set, pod].into_iter().chain(more))
}

fn verdict(observed: &Observed, now: i64) -> Verdict {
    verdict_since(observed, now, Some(0))
}

fn verdict_since(observed: &Observed, now: i64, since: Option<i64>) -> Verdict {
    let observed = Observed {
        now: at(now),
        ..observed.clone()
    };
    let workload = ["Deployment", "StatefulSet", "Job"]
        .iter()
        .find_map(|kind| observed.of_kind(kind).next())
        .unwrap();
    diagnose(&observed, &expectation(workload, since))
}

#[track_caller]
fn broken(verdict: Verdict) -> Cause {
    match verdict {
        Verdict::Broken(cause) => *cause,
        other => panic!("expected a cause, got {other:?}"),
    }
}

#[track_caller]
fn waiting(verdict: Verdict) -> (String, i64) {
    match verdict {
        Verdict::Waiting { reason, recheck_at } => (
            reason.to_string(),
            recheck_at.as_second() - at(0).as_second(),
        ),
        other => panic!("expected waiting, got {other:?}"),
    }
}

fn back_off() -> Value {
    json!({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image \"web:1\""}})
}

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
fn a_pod_that_has_not_started_has_the_allowance_as_well() {
    let pulling = one_pod(
        |pod| pod,
        |pod| vec![event(pod, "Pulling", "Pulling image \"web:1\"", 1, 1)],
    );
    assert_eq!(
        waiting(verdict(&pulling, 100)),
        ("0/1 ready, fetching its image".into(), 330)
    );
    assert!(matches!(verdict(&pulling, 330), Verdict::TimedOut { .. }));
}

#[test]
fn every_step_of_a_rollout_starts_the_clock_anew_up_to_the_sum() {
    let web = deployment("web", 2);
    let set = replica_set(&web, "web-7c9");
    let mut second = pod(&set, "web-7c9-b");
    second["metadata"]["creationTimestamp"] = json!(at(200).to_string());
    let observed = observe([web, ready(pod(&set, "web-7c9-a")), second.clone(), set]);
    assert_eq!(waiting(verdict(&observed, 201)).1, 200 + 330);
    second["metadata"]["creationTimestamp"] = json!(at(600).to_string());
    let late = Observed {
        objects: observed
            .objects
            .iter()
            .map(|object| {
                if object["metadata"]["name"] == "web-7c9-b" {
                    second.clone().into()
                } else {
                    object.clone()
                }
            })
            .collect(),
        ..observed
    };
    assert_eq!(waiting(verdict(&late, 601)).1, 2 * 340);
}

const CPU: &str = "0/1 nodes are available: 1 Insufficient cpu.";
const UNBOUND: &str =
    "0/1 nodes are available: 1 pod has unbound immediate PersistentVolumeClaims.";

#[test]
fn an_unschedulable_pod_has_five_seconds() {
    let observed = one_pod(|pod| unscheduled(pod, CPU), |_| vec![]);
    assert_eq!(waiting(verdict(&observed, 4)).1, 5);
    let cause = broken(verdict(&observed, 5));
    assert_eq!(
        cause.message(),
        "web cannot be scheduled: 0/1 nodes are available: 1 Insufficient cpu"
    );
    assert_eq!(cause.container, None);
    assert_eq!(
        waiting(verdict_since(&observed, 104, Some(100))).1,
        105,
        "counted from the wait"
    );
}

#[test]
fn what_may_still_make_room_for_a_pod_is_waited_for() {
    let scaling = one_pod(
        |pod| unscheduled(pod, CPU),
        |pod| {
            vec![event(
                pod,
                "TriggeredScaleUp",
                "pod triggered scale-up",
                1,
                2,
            )]
        },
    );
    assert_eq!(waiting(verdict(&scaling, 20)).1, 330);
    let starting = one_pod(
        |pod| {
            unscheduled(
                pod,
                "0/1 nodes are available: 1 node(s) had taint {node.kubernetes.io/not-ready: }, that the pod didn't tolerate.",
            )
        },
        |_| vec![],
    );
    assert_eq!(waiting(verdict(&starting, 20)).1, 60);

    let web = deployment("web", 1);
    let set = replica_set(&web, "web-7c9");
    let mut leaving = ready(pod(&json!({"metadata": {"uid": "other"}}), "db-0"));
    leaving["metadata"]["deletionTimestamp"] = json!(at(30).to_string());
    let stuck = unscheduled(pod(&set, "web-7c9-x2"), CPU);
    let observed = observe([web.clone(), set.clone(), stuck.clone(), leaving]);
    assert_eq!(
        waiting(verdict(&observed, 20)).1,
        330,
        "a pod is on its way out"
    );
    let gone = Observed {
        pod_gone: Some(at(28)),
        ..observe([web, set, stuck])
    };
    assert_eq!(waiting(verdict(&gone, 29)).1, 33, "it went at 28");
    broken(verdict(&gone, 33));
}

/// A StatefulSet whose only pod waits for its claim.
fn claimed(pod_message: &str, claim_phase: &str, events: &[(&str, &str)]) -> Observed {
    let mut set = stateful_set("db", 1);
    set["spec"]["volumeClaimTemplates"] =
        json!([{"metadata": {"name": "data"}, "spec": {"storageClassName": "fast"}}]);
    let mut pod = unscheduled(pod(&set, "db-0"), pod_message);
    pod["spec"]["volumes"] =
        json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data-db-0"}}]);
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data-db-0", "uid": "claim-uid", "creationTimestamp": super::fixture::START},
        "status": {"phase": claim_phase},
    });
    let events: Vec<Value> = events
        .iter()
        .map(|(reason, message)| event(&claim, reason, message, 1, 1))
        .collect();
    observe([set, pod, claim].into_iter().chain(events))
}

#[test]
fn a_first_deploy_with_a_volume_is_never_misjudged() {
    for observed in [
        claimed(UNBOUND, "Pending", &[]),
        claimed(
            UNBOUND,
            "Pending",
            &[("ExternalProvisioning", "waiting for a volume to be created")],
        ),
        claimed(
            "persistentvolumeclaim \"data-db-0\" not found",
            "Pending",
            &[],
        ),
        claimed(UNBOUND, "Bound", &[]),
        claimed(
            "0/1 nodes are available: 1 node(s) didn't find available persistent volumes to bind.",
            "Pending",
            &[],
        ),
    ] {
        for now in [0, 6, 60, 300] {
            assert_eq!(waiting(verdict(&observed, now)).1, 330, "{now}");
        }
    }
    let (reason, _) = waiting(verdict(&claimed(UNBOUND, "Pending", &[]), 6));
    assert_eq!(reason, "0/1 ready, waiting for volume data-db-0");
}

#[test]
fn a_class_that_waits_for_the_pod_hides_no_lack_of_cpu() {
    let waits = [(
        "WaitForFirstConsumer",
        "waiting for first consumer to be created before binding",
    )];
    let observed = claimed(CPU, "Pending", &waits);
    assert!(matches!(
        broken(verdict(&observed, 5)).kind,
        CauseKind::Unschedulable { .. }
    ));
}

#[test]
fn a_claim_that_cannot_be_bound_is_a_cause() {
    let class = "storageclass.storage.k8s.io \"fast\" not found";
    let cause = broken(verdict(
        &claimed(UNBOUND, "Pending", &[("ProvisioningFailed", class)]),
        1,
    ));
    assert_eq!(
        cause.kind,
        CauseKind::VolumePending {
            volume: "data-db-0".into(),
            message: class.into()
        }
    );
    assert_eq!(
        cause.trail(),
        "StatefulSet/db › Pod/db-0 › PersistentVolumeClaim/data-db-0"
    );
    assert_eq!(
        cause.pointer.as_deref(),
        Some("/spec/volumeClaimTemplates/0/spec/storageClassName")
    );
    let none = "no persistent volumes available for this claim and no storage class is set";
    let observed = claimed(UNBOUND, "Pending", &[("FailedBinding", none)]);
    assert_eq!(waiting(verdict(&observed, 14)).1, 15);
    broken(verdict(&observed, 15));
}

/// A Deployment whose ReplicaSet is refused its pods since second 1.
fn refused(message: &str) -> Observed {
    let mut web = deployment("web", 1);
    web["status"] = json!({"observedGeneration": 1, "unavailableReplicas": 1});
    let mut set = replica_set(&web, "web-7c9");
    set["status"] = json!({"conditions": [{
        "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message,
        "lastTransitionTime": "2026-11-21T04:00:01Z",
    }]});
    observe([web, set])
}

#[test]
fn pods_that_are_not_let_in() {
    let hook = broken(verdict(
        &refused("admission webhook \"policy\" denied the request: no latest tags"),
        1,
    ));
    assert!(matches!(hook.kind, CauseKind::AdmissionDenied { .. }));
    assert_eq!(hook.trail(), "Deployment/web › ReplicaSet/web-7c9");

    let quota = refused(
        "pods \"web-7c9-x2\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=0, limited: pods=0",
    );
    assert_eq!(waiting(verdict(&quota, 5)).1, 6);
    assert!(matches!(
        broken(verdict(&quota, 6)).kind,
        CauseKind::QuotaExceeded { .. }
    ));

    let account = refused(
        "pods \"web-7c9-\" is forbidden: error looking up service account shop/gone: serviceaccount \"gone\" not found",
    );
    assert_eq!(
        broken(verdict(&account, 6)).kind,
        CauseKind::ConfigMissing {
            what: "ServiceAccount/gone".into()
        }
    );
    let fresh = refused(
        "pods \"web-7c9-\" is forbidden: error looking up service account shop/default: serviceaccount \"default\" not found",
    );
    assert_eq!(waiting(verdict(&fresh, 6)).1, 31, "a new namespace");
    let hook = refused(
        "Internal error occurred: failed calling webhook \"policy\": dial tcp: connect: connection refused",
    );
    assert_eq!(waiting(verdict(&hook, 6)).1, 31);
}

#[test]
fn a_stateful_sets_refusals_are_in_its_events() {
    let set = stateful_set("db", 2);
    let first = ready(pod(&set, "db-0"));
    let message = "create Pod db-1 in StatefulSet db failed error: pods \"db-1\" is forbidden: violates PodSecurity";
    let failed = event(&set, "FailedCreate", message, 3, 10);
    let observed = observe([set.clone(), first.clone(), failed.clone()]);
    assert!(matches!(
        broken(verdict(&observed, 11)).kind,
        CauseKind::AdmissionDenied { .. }
    ));
    waiting(verdict_since(&observed, 21, Some(20)));
    let cured = event(
        &set,
        "SuccessfulCreate",
        "create Pod db-1 in StatefulSet db successful",
        1,
        12,
    );
    waiting(verdict(&observe([set, first, failed, cured]), 13));
}

#[test]
fn only_pods_of_the_newest_template_count() {
    let mut web = deployment("web", 1);
    let old = replica_set(&web, "web-old");
    web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("web:2");
    let new = replica_set(&web, "web-new");
    let end = json!({"exitCode": 3, "reason": "Error", "finishedAt": "2026-11-21T04:00:04Z"});
    let mut leaving = crashed(pod(&new, "web-new-a"), 5, end.clone());
    leaving["metadata"]["deletionTimestamp"] = json!(at(30).to_string());
    let crashing = crashed(pod(&old, "web-old-a"), 5, end);
    let observed = observe([
        web,
        old,
        new.clone(),
        crashing,
        leaving,
        pod(&new, "web-new-b"),
    ]);
    assert_eq!(waiting(verdict(&observed, 10)).0, "0/1 ready, starting");
}

#[test]
fn before_the_controller_has_seen_the_object_nothing_else_counts() {
    let end = json!({"exitCode": 3, "reason": "Error"});
    let mut observed = one_pod(|pod| crashed(pod, 5, end), |_| vec![]);
    let mut web = observed.of_kind("Deployment").next().unwrap().clone();
    web["metadata"]["generation"] = json!(2);
    observed.objects[0] = web.into();
    assert_eq!(
        waiting(verdict(&observed, 10)),
        ("its controller has not seen it yet".into(), 330)
    );
}

#[test]
fn signs_from_before_the_wait_count_only_at_its_end() {
    let end = json!({"exitCode": 3, "reason": "Error", "finishedAt": "2026-11-21T04:00:04Z"});
    let observed = one_pod(|pod| crashed(pod, 5, end), |_| vec![]);
    assert_eq!(waiting(verdict_since(&observed, 101, Some(100))).1, 430);
    assert!(matches!(
        broken(verdict_since(&observed, 430, Some(100))).kind,
        CauseKind::Crashes { .. }
    ));
    assert!(
        matches!(
            broken(verdict_since(&observed, 101, None)).kind,
            CauseKind::Crashes { .. }
        ),
        "nobody waits"
    );

    let message = "Failed to pull image \"web:1\": manifest unknown";
    let observed = one_pod(
        |pod| with_state(pod, back_off()),
        |pod| vec![event(pod, "Failed", message, 4, 50)],
    );
    waiting(verdict_since(&observed, 101, Some(100)));
    broken(verdict_since(&observed, 51, Some(50)));
}

#[test]
fn a_controller_that_gives_up_is_believed_if_it_did_so_during_the_wait() {
    let mut web = deployment("web", 1);
    web["status"]["conditions"] = json!([{
        "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded",
        "message": "ReplicaSet \"web-7c9\" has timed out progressing.", "lastUpdateTime": "2026-11-21T04:00:10Z",
    }]);
    let set = replica_set(&web, "web-7c9");
    let end = json!({"exitCode": 3, "reason": "Error", "finishedAt": "2026-11-21T04:00:04Z"});
    let bare = observe([web.clone(), set.clone(), pod(&set, "web-7c9-x2")]);
    let cause = broken(verdict(&bare, 11));
    assert_eq!(cause.kind.code().as_str(), "S0818");
    assert_eq!(
        cause.event.as_deref(),
        Some("ReplicaSet \"web-7c9\" has timed out progressing.")
    );
    let crashing = observe([web, set.clone(), crashed(pod(&set, "web-7c9-x2"), 1, end)]);
    assert!(
        matches!(
            broken(verdict(&crashing, 11)).kind,
            CauseKind::Crashes { runs: 1, .. }
        ),
        "a better cause"
    );
    waiting(verdict_since(&bare, 101, Some(100)));
}

#[test]
fn jobs_decide_themselves_when_they_fail() {
    let mut job = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "migrate", "uid": "migrate-uid", "creationTimestamp": super::fixture::START},
        "spec": {"template": {"spec": {"containers": [{"name": "main", "image": "web:1"}]}}},
        "status": {"active": 1},
    });
    let end = json!({"terminated": {"exitCode": 1, "reason": "Error", "finishedAt": "2026-11-21T04:00:04Z"}});
    let mut failed = with_state(pod(&job, "migrate-a"), end);
    failed["status"]["phase"] = json!("Failed");
    let running = observe([job.clone(), failed.clone()]);
    assert_eq!(
        waiting(verdict(&running, 5)).0,
        "0/1 complete, crashes with exit code 1, once"
    );
    job["status"] = json!({"failed": 2, "conditions": [{"type": "Failed", "status": "True", "message": "Job has reached the specified backoff limit"}]});
    let over = observe([job.clone(), failed]);
    let cause = broken(verdict(&over, 9));
    assert_eq!(cause.kind, CauseKind::Crashes { code: 1, runs: 1 });
    assert_eq!(
        cause.event.as_deref(),
        Some("Job has reached the specified backoff limit")
    );
    assert!(LogSource::of_cause(&over, &cause).is_some());
    assert_eq!(
        broken(verdict(&observe([job]), 9)).kind.code().as_str(),
        "S0817"
    );
}

#[test]
fn pods_that_fail_as_a_whole_count_from_the_second_on() {
    let web = deployment("web", 1);
    let set = replica_set(&web, "web-7c9");
    let evicted = |name: &str| {
        let mut pod = pod(&set, name);
        pod["status"] = json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory"});
        pod
    };
    let fresh = pod(&set, "web-7c9-c");
    let once = observe([
        web.clone(),
        set.clone(),
        evicted("web-7c9-a"),
        fresh.clone(),
    ]);
    waiting(verdict(&once, 5));
    let twice = observe([
        web,
        set.clone(),
        evicted("web-7c9-a"),
        evicted("web-7c9-b"),
        fresh,
    ]);
    assert_eq!(
        broken(verdict(&twice, 5)).kind,
        CauseKind::PodsFail {
            message: "Evicted: The node was low on resource: memory".into()
        }
    );
}

#[test]
fn a_stateful_set_that_an_old_pod_blocks_says_so_at_the_end() {
    let mut set = stateful_set("db", 1);
    set["status"]["updateRevision"] = json!("db-2");
    let end = json!({"exitCode": 3, "reason": "Error", "finishedAt": "2026-11-21T04:00:04Z"});
    let mut old = crashed(pod(&set, "db-0"), 4, end);
    old["metadata"]["labels"]["controller-revision-hash"] = json!("db-1");
    let observed = observe([set, old]);
    waiting(verdict(&observed, 100));
    let cause = broken(verdict(&observed, 330));
    assert_eq!(
        cause.hints,
        ["Pod/db-0 is of an older revision and blocks the newer one; delete it"]
    );
}

#[test]
fn a_workload_that_is_not_there_is_waited_for() {
    let observed = observe([]);
    let web = expectation(&deployment("web", 1), Some(0));
    assert_eq!(
        waiting(diagnose(&observed, &web)),
        ("it does not exist".into(), 330)
    );
}

#[test]
fn readiness_is_all_that_counts_in_the_end() {
    let mut web = deployment("web", 1);
    web["status"] = json!({"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1});
    let set = replica_set(&web, "web-7c9");
    let mut pod = ready(pod(&set, "web-7c9-x2"));
    pod["status"]["containerStatuses"][0]["restartCount"] = json!(7);
    assert_eq!(verdict(&observe([web, set, pod]), 1), Verdict::Ready);
}

#[test]
fn a_summary_shows_every_service() {
    let end = json!({"exitCode": 3, "reason": "Error"});
    let mut observed = one_pod(|pod| crashed(pod, 3, end), |_| vec![]);
    observed
        .objects
        .push(std::sync::Arc::new(stateful_set("db", 2)));
    let mut foreign = deployment("other", 1);
    foreign["metadata"]["labels"] = json!({});
    observed.objects.push(foreign.into());
    observed.now = at(20);
    let all = super::summary(&observed, |_| READY_WITHIN);
    let names: Vec<&str> = all.iter().map(|status| status.service.as_str()).collect();
    assert_eq!(names, ["db", "web"]);
    let web = &all[1];
    assert_eq!((web.ready, web.desired, web.restarts), (0, 1, 2));
    assert_eq!(web.image.as_deref(), Some("web:1"));
    assert_eq!(web.started, Some(at(0)));
    assert!(
        matches!(&web.state, super::ServiceState::Broken(cause) if cause.kind == CauseKind::Crashes { code: 3, runs: 3 })
    );
    assert!(
        matches!(&all[0].state, super::ServiceState::Waiting(reason) if reason.as_str() == "0/2 ready, no pod yet")
    );
}
