//! Waits against a cluster in this process, with a clock that stands still while something happens.

use std::time::Duration;

use futures_util::future::join;
use k8s_model::ObjectRef;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::super::watch::Watch;
use super::super::watch::fake::Fake;
use super::{Target, WaitError, until_ready};
use crate::diagnosis::fixture::{
    at, crashed, deployment, event, pod, replica_set, unscheduled, with_status,
};
use crate::diagnostic::{Exit, Explain};
use crate::event::{Event, Phase, Recorder, Silent};

fn target(name: &str) -> Target {
    Target {
        service: name.parse().unwrap(),
        workload: ObjectRef::of(&deployment(name, 1)).unwrap(),
        ready_within: Duration::from_secs(30),
        since: at(0),
    }
}

fn ready(name: &str) -> Value {
    let mut web = deployment(name, 1);
    web["status"] = json!({"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1});
    web
}

async fn start(fake: &Fake) -> Watch {
    Watch::start(&fake.client(), "shop", "app.kubernetes.io/part-of=shop").await
}

async fn wait(fake: &Fake) -> Result<Duration, WaitError> {
    let watch = start(fake).await;
    until_ready(
        &watch,
        &fake.client(),
        &target("web"),
        &Silent,
        &CancellationToken::new(),
    )
    .await
}

/// A Deployment `web` with one pod.
fn put_pod(fake: &Fake, change: impl FnOnce(Value) -> Value) {
    let web = deployment("web", 1);
    let set = replica_set(&web, "web-7c9");
    fake.put(change(pod(&set, "web-7c9-x2")));
    fake.put(set);
    fake.put(web);
}

#[tokio::test(start_paused = true)]
async fn a_ready_service_is_told_with_what_was_waited_for() {
    let fake = Fake::default();
    fake.put(deployment("web", 1));
    let watch = start(&fake).await;
    let recorder = Recorder::default();
    let (client, target, cancel) = (fake.client(), target("web"), CancellationToken::new());
    let waiting = until_ready(&watch, &client, &target, &recorder, &cancel);
    let cluster = async {
        sleep(Duration::from_secs(2)).await;
        fake.put(pod(&deployment("other", 1), "other-0"));
        sleep(Duration::from_secs(2)).await;
        fake.put(ready("web"));
    };
    let (took, ()) = join(waiting, cluster).await;
    assert_eq!(took.unwrap().as_secs(), 4);
    let said: Vec<String> = recorder
        .events()
        .into_iter()
        .map(|event| match event {
            Event::TaskProgress {
                phase: Phase::Ready,
                task,
                message,
            } if task == "web" => message,
            other => panic!("unexpected {other:?}"),
        })
        .collect();
    assert_eq!(said, ["0/1 ready, no pod yet"], "a message is not repeated");
}

#[tokio::test(start_paused = true)]
async fn a_picture_from_before_the_apply_is_not_believed() {
    let fake = Fake::default();
    fake.put(ready("web"));
    let watch = start(&fake).await;
    sleep(Duration::from_secs(1)).await;
    fake.set_lagging(true);
    let mut applied = ready("web");
    applied["metadata"]["generation"] = json!(2);
    fake.put(applied.clone());
    let (client, target, cancel) = (fake.client(), target("web"), CancellationToken::new());
    let waiting = until_ready(&watch, &client, &target, &Silent, &cancel);
    let cluster = async {
        sleep(Duration::from_secs(3)).await;
        fake.set_lagging(false);
        sleep(Duration::from_secs(3)).await;
        applied["status"]["observedGeneration"] = json!(2);
        fake.put(applied);
    };
    let (took, ()) = join(waiting, cluster).await;
    assert_eq!(
        took.unwrap().as_secs(),
        6,
        "neither the old object nor the new one before its controller saw it"
    );
}

#[tokio::test(start_paused = true)]
async fn a_crash_is_told_with_the_last_log_lines() {
    let fake = Fake::default();
    let end = json!({"exitCode": 3, "reason": "Error", "finishedAt": at(1).to_string()});
    put_pod(&fake, |pod| crashed(pod, 2, end));
    fake.log("web-7c9-x2", false, "starting\npanic: no database\n");
    let error = wait(&fake).await.unwrap_err();
    assert_eq!(error.exit(), Exit::NotReady);
    assert_eq!(error.to_string(), "web crashes with exit code 3, twice");
    assert_eq!(
        error.diagnostics()[0].notes,
        [
            "Deployment/web › ReplicaSet/web-7c9 › Pod/web-7c9-x2 › container main",
            "last log lines:\n  starting\n  panic: no database",
        ]
    );
    let log = fake
        .requests()
        .into_iter()
        .find(|uri| uri.contains("/log?"))
        .unwrap();
    assert!(
        log.contains("tailLines=10") && log.contains("container=main"),
        "{log}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_log_of_the_run_that_ended_is_read_while_the_next_one_runs() {
    let fake = Fake::default();
    let end = json!({"exitCode": 3, "reason": "Error", "finishedAt": at(1).to_string()});
    let again = json!({"state": {"running": {"startedAt": at(2).to_string()}}, "lastState": {"terminated": end}, "restartCount": 2, "ready": false});
    put_pod(&fake, |pod| with_status(pod, again));
    fake.log("web-7c9-x2", false, "starting\n");
    fake.log("web-7c9-x2", true, "panic: no database\n");
    let Err(WaitError::Broken(cause)) = wait(&fake).await else {
        panic!("it crashed twice");
    };
    assert_eq!(cause.log_tail, ["panic: no database"]);
}

#[test]
fn the_kubelets_excuse_is_no_log() {
    assert!(super::lines("unable to retrieve container logs for docker://9c99").is_empty());
    assert_eq!(super::lines("a \r\nb\n"), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_verdict_comes_by_time_alone_and_without_asking() {
    let fake = Fake::default();
    put_pod(&fake, |pod| {
        unscheduled(pod, "0/1 nodes are available: 1 Insufficient cpu.")
    });
    let watch = start(&fake).await;
    sleep(Duration::from_secs(1)).await;
    let before = Instant::now();
    let requests = fake.requests().len();
    let result = until_ready(
        &watch,
        &fake.client(),
        &target("web"),
        &Silent,
        &CancellationToken::new(),
    )
    .await;
    assert!(matches!(result, Err(WaitError::Broken(_))));
    assert_eq!(
        before.elapsed().as_secs(),
        4,
        "unschedulable since second 0"
    );
    assert_eq!(
        fake.requests().len(),
        requests + 1,
        "one look at the workload"
    );
}

#[tokio::test(start_paused = true)]
async fn a_deadline_without_a_cause_is_another_exit_code() {
    let fake = Fake::default();
    let running = json!({"state": {"running": {"startedAt": at(0).to_string()}}, "lastState": {}, "restartCount": 0, "ready": false, "started": true});
    put_pod(&fake, |pod| with_status(pod, running));
    fake.log("web-7c9-x2", false, "waiting for postgres\n");
    let error = wait(&fake).await.unwrap_err();
    assert_eq!(error.exit(), Exit::TimedOut);
    assert_eq!(
        error.to_string(),
        "web is not ready after 40 s: 0/1 ready, running, not ready yet"
    );
    assert_eq!(
        error.diagnostics()[0].notes,
        ["Deployment/web", "last log lines:\n  waiting for postgres"]
    );
}

#[tokio::test(start_paused = true)]
async fn an_absent_workload_is_not_waited_for_without_end() {
    let error = wait(&Fake::default()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "web is not ready after 330 s: it does not exist"
    );
}

#[tokio::test(start_paused = true)]
async fn ctrl_c_ends_a_wait() {
    let fake = Fake::default();
    fake.put(deployment("web", 1));
    let watch = start(&fake).await;
    let cancel = CancellationToken::new();
    let (client, target) = (fake.client(), target("web"));
    let waiting = until_ready(&watch, &client, &target, &Silent, &cancel);
    let person = async {
        sleep(Duration::from_secs(2)).await;
        cancel.cancel();
    };
    let (result, ()) = join(waiting, person).await;
    assert_eq!(result.unwrap_err().exit(), Exit::Interrupted);
}

#[tokio::test(start_paused = true)]
async fn without_a_connection_nothing_is_concluded() {
    let fake = Fake::default();
    put_pod(&fake, |pod| {
        unscheduled(pod, "0/1 nodes are available: 1 Insufficient cpu.")
    });
    let watch = start(&fake).await;
    let (client, target, cancel) = (fake.client(), target("web"), CancellationToken::new());
    let waiting = until_ready(&watch, &client, &target, &Silent, &cancel);
    let network = async {
        sleep(Duration::from_secs(1)).await;
        fake.set_down(true);
        sleep(Duration::from_secs(30)).await;
        fake.put(ready("web"));
        fake.set_down(false);
    };
    let (result, ()) = join(waiting, network).await;
    assert!(
        result.unwrap().as_secs() >= 31,
        "unschedulable when last seen, but it became ready"
    );
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_does_not_come_back_ends_the_wait() {
    let fake = Fake::default();
    fake.put(deployment("web", 1));
    let watch = start(&fake).await;
    sleep(Duration::from_secs(1)).await;
    fake.set_down(true);
    sleep(Duration::from_secs(1)).await;
    let result = until_ready(
        &watch,
        &fake.client(),
        &target("web"),
        &Silent,
        &CancellationToken::new(),
    )
    .await;
    let error = result.unwrap_err();
    assert_eq!(error.exit(), Exit::Failed);
    assert_eq!(
        error.to_string(),
        "the connection to the cluster was lost 60 s ago and did not come back"
    );
}

#[tokio::test(start_paused = true)]
async fn missing_rights_end_a_wait_or_are_told_once() {
    let fake = Fake::default();
    fake.put(ready("web"));
    fake.put(ready("api"));
    fake.refuse("events");
    let watch = start(&fake).await;
    let recorder = Recorder::default();
    let (client, cancel, web, api) = (
        fake.client(),
        CancellationToken::new(),
        target("web"),
        target("api"),
    );
    let both = join(
        until_ready(&watch, &client, &web, &recorder, &cancel),
        until_ready(&watch, &client, &api, &recorder, &cancel),
    );
    let (web, api) = both.await;
    web.unwrap();
    api.unwrap();
    let warnings = recorder
        .events()
        .into_iter()
        .filter(|event| matches!(event, Event::Warning(_)));
    assert_eq!(warnings.count(), 1);

    fake.refuse("pods");
    assert!(matches!(wait(&fake).await, Err(WaitError::Watch(_))));
}

#[tokio::test(start_paused = true)]
async fn an_event_that_comes_later_ends_the_wait() {
    let fake = Fake::default();
    let back_off = json!({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image \"web:1\""}});
    put_pod(&fake, |pod| {
        with_status(
            pod,
            json!({"state": back_off, "lastState": {}, "restartCount": 0}),
        )
    });
    let watch = start(&fake).await;
    let (client, target, cancel) = (fake.client(), target("web"), CancellationToken::new());
    let waiting = until_ready(&watch, &client, &target, &Silent, &cancel);
    let kubelet = async {
        sleep(Duration::from_secs(2)).await;
        let set = replica_set(&deployment("web", 1), "web-7c9");
        let mut event = event(
            &pod(&set, "web-7c9-x2"),
            "Failed",
            "Failed to pull image \"web:1\": manifest unknown",
            1,
            2,
        );
        event["metadata"] = json!({"name": "web.1"});
        fake.put(event);
        Instant::now()
    };
    let began = Instant::now();
    let (result, _) = join(waiting, kubelet).await;
    assert!(matches!(result, Err(WaitError::Broken(_))));
    assert_eq!(began.elapsed().as_secs(), 2);
}
