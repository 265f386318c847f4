//! Pods that are not let in, not scheduled, or have no volume.

use serde_json::{Value, json};

use super::super::Observed;
use super::super::cause::CauseKind;
use super::super::fixture::{
    START, at, deployment, event, observe, pod, ready, replica_set, stateful_set, unscheduled,
};
use super::{broken, one_pod, verdict, verdict_since, waiting};

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
        "metadata": {"name": "data-db-0", "uid": "claim-uid", "creationTimestamp": START},
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
