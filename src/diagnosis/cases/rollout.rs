//! Revisions, deadlines, controllers that give up, and summaries.

use serde_json::json;

use super::super::cause::CauseKind;
use super::super::fixture::{
    START, at, crashed, deployment, event, observe, pod, ready, replica_set, stateful_set,
    with_state,
};
use super::super::{LogSource, Observed, ServiceState, Verdict, diagnose, summary};
use super::{
    READY_WITHIN, back_off, broken, expectation, one_pod, verdict, verdict_since, waiting,
};

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
        "metadata": {"name": "migrate", "uid": "migrate-uid", "creationTimestamp": START},
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
    let all = summary(&observed, |_| READY_WITHIN);
    let names: Vec<&str> = all.iter().map(|status| status.service.as_str()).collect();
    assert_eq!(names, ["db", "web"]);
    let web = &all[1];
    assert_eq!((web.ready, web.desired, web.restarts), (0, 1, 2));
    assert_eq!(web.image.as_deref(), Some("web:1"));
    assert_eq!(web.started, Some(at(0)));
    assert!(
        matches!(&web.state, ServiceState::Broken(cause) if cause.kind == CauseKind::Crashes { code: 3, runs: 3 })
    );
    assert!(
        matches!(&all[0].state, ServiceState::Waiting(reason) if reason.as_str() == "0/2 ready, no pod yet")
    );
}
