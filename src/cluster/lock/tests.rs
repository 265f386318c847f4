//! Tests of the lock on a paused clock: waiting, taking over, losing, releasing.

use serde_json::{Value, json};
use test_support::kubernetes::{Kubernetes, Script, failure, namespace};

use super::*;
use crate::diagnostic::{Exit, Explain};
use crate::event::{Recorder, Silent};

const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/shop/leases/stackctl-shop";

fn cluster() -> Kubernetes {
    let kubernetes = Kubernetes::new();
    kubernetes.insert(&namespace("shop"));
    kubernetes
}

fn options() -> LockOptions {
    LockOptions {
        stack: "shop".parse().unwrap(),
        environment: "local".parse().unwrap(),
        namespace: "shop".parse().unwrap(),
        duration: Duration::from_secs(60),
        renew_every: Duration::from_secs(15),
        wait: None,
    }
}

/// A lease of another machine, whose clock may be anywhere.
fn foreign(renewed: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "stackctl-shop", "namespace": "shop"},
        "spec": {"holderIdentity": "ann@build pid 7 1234", "leaseDurationSeconds": 60,
                 "renewTime": renewed, "leaseTransitions": 3},
    })
}

async fn take(kubernetes: &Kubernetes, events: &dyn EventSink) -> Result<Lock, LockError> {
    acquire(
        &kubernetes.client(),
        options(),
        events,
        &CancellationToken::new(),
    )
    .await
}

fn notes(events: &Recorder) -> Vec<String> {
    events
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::Note(note) => Some(note),
            _ => None,
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_free_lock_is_taken_renewed_and_released() {
    let kubernetes = cluster();
    let lock = take(&kubernetes, &Silent).await.unwrap();
    let first = kubernetes.object(PATH).unwrap();
    assert_eq!(first["metadata"]["labels"][PART_OF], "shop");
    assert_eq!(first["spec"]["leaseDurationSeconds"], 60);
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_ne!(
        kubernetes.object(PATH).unwrap()["spec"]["renewTime"],
        first["spec"]["renewTime"]
    );
    let renewals = kubernetes
        .writes()
        .iter()
        .filter(|write| write.starts_with("PUT"))
        .count();
    assert_eq!(renewals, 6, "every 15 of 100 seconds");
    lock.check().unwrap();
    lock.release().await;
    assert_eq!(kubernetes.object(PATH), None);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_lock_is_given_up() {
    let kubernetes = cluster();
    drop(take(&kubernetes, &Silent).await.unwrap());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(kubernetes.object(PATH), None);
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_free_only_when_it_was_seen_not_to_change_for_its_whole_duration() {
    for skewed in ["2001-01-01T00:00:00.000000Z", "2101-01-01T00:00:00.000000Z"] {
        let kubernetes = cluster();
        kubernetes.insert(&foreign(skewed));
        let events = Recorder::default();
        let started = Instant::now();
        let lock = take(&kubernetes, &events).await.unwrap();
        let waited = started.elapsed().as_secs();
        assert!(
            (60..64).contains(&waited),
            "waited {waited} s with a clock at {skewed}"
        );
        let taken = kubernetes.object(PATH).unwrap();
        assert_eq!(taken["spec"]["leaseTransitions"], 4);
        assert_eq!(
            notes(&events),
            ["waiting for the lock held by ann@build pid 7, expires in 60 s unless it is renewed"]
        );
        lock.release().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_renewed_is_waited_for_until_it_is_released() {
    let kubernetes = cluster();
    let first = take(&kubernetes, &Silent).await.unwrap();
    let events = Arc::new(Recorder::default());
    let second = tokio::spawn({
        let (kubernetes, events) = (kubernetes.clone(), Arc::clone(&events));
        async move { take(&kubernetes, events.as_ref()).await }
    });
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(!second.is_finished(), "five minutes of renewals");
    assert_eq!(notes(&events).len(), 1, "one note for one holder");
    let released = Instant::now();
    first.release().await;
    second.await.unwrap().unwrap().check().unwrap();
    assert!(released.elapsed() <= LOOK, "{:?}", released.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_lease_of_a_killed_run_on_this_machine_is_free_at_once() {
    let kubernetes = cluster();
    let mark = process::own_mark().unwrap();
    let (place, _) = mark.rsplit_once('/').unwrap();
    let mut lease = foreign("2101-01-01T00:00:00.000000Z");
    lease["metadata"]["annotations"] = json!({PROCESS: format!("{place}/1")});
    kubernetes.insert(&lease);
    let started = Instant::now();
    take(&kubernetes, &Silent).await.unwrap();
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_lease_was_taken_over_is_told() {
    let kubernetes = cluster();
    let lock = take(&kubernetes, &Silent).await.unwrap();
    let mut taken = foreign("2026-01-01T00:00:00.000000Z");
    taken["metadata"]["resourceVersion"] = json!(null);
    kubernetes.insert(&taken);
    lock.lost().cancelled().await;
    let error = lock.check().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the lock was taken over by ann@build pid 7 1234"
    );
    assert_eq!(error.exit(), Exit::Conflict);
    lock.release().await;
    assert!(
        kubernetes.object(PATH).is_some(),
        "another's lease is left alone"
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_network_the_lock_is_lost_before_others_may_take_it() {
    let kubernetes = cluster();
    let lock = take(&kubernetes, &Silent).await.unwrap();
    for _ in 0..60 {
        kubernetes.script("PUT", PATH, Script::Break);
    }
    let started = Instant::now();
    lock.lost().cancelled().await;
    let after = started.elapsed().as_secs();
    assert!((40..60).contains(&after), "lost after {after} s");
    assert!(matches!(lock.check(), Err(LockError::NotRenewed { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_short_outage_loses_nothing() {
    let kubernetes = cluster();
    let lock = take(&kubernetes, &Silent).await.unwrap();
    for _ in 0..5 {
        kubernetes.script("PUT", PATH, Script::Break);
    }
    tokio::time::sleep(Duration::from_secs(120)).await;
    lock.check().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_lease_by_others_does_not_take_the_lock() {
    let kubernetes = cluster();
    let lock = take(&kubernetes, &Silent).await.unwrap();
    let mut edited = kubernetes.object(PATH).unwrap();
    edited["metadata"]["labels"]["note"] = json!("edited");
    kubernetes.insert(&edited);
    tokio::time::sleep(Duration::from_secs(40)).await;
    lock.check().unwrap();
}

#[tokio::test(start_paused = true)]
async fn two_runs_that_start_together_do_not_both_get_it() {
    let kubernetes = cluster();
    let other = kubernetes.clone();
    kubernetes.script(
        "POST",
        "/apis/coordination.k8s.io/v1/namespaces/shop/leases",
        Script::Before(Box::new(move |_| {
            other.insert(&foreign("2026-01-01T00:00:00.000000Z"))
        })),
    );
    let mut options = options();
    options.wait = Some(Duration::from_secs(10));
    let error = acquire(
        &kubernetes.client(),
        options,
        &Silent,
        &CancellationToken::new(),
    )
    .await
    .unwrap_err();
    assert!(
        matches!(&error, LockError::Held { holder, .. } if holder.starts_with("ann@build")),
        "{error}"
    );
    assert_eq!(error.exit(), Exit::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn waiting_can_be_interrupted() {
    let kubernetes = cluster();
    kubernetes.insert(&foreign("2026-01-01T00:00:00.000000Z"));
    let cancel = CancellationToken::new();
    tokio::spawn({
        let cancel = cancel.clone();
        async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            cancel.cancel();
        }
    });
    let error = acquire(&kubernetes.client(), options(), &Silent, &cancel)
        .await
        .unwrap_err();
    assert_eq!(error.exit(), Exit::Interrupted);
}

#[tokio::test(start_paused = true)]
async fn a_missing_namespace_and_missing_rights_are_told_apart() {
    let kubernetes = Kubernetes::new();
    assert!(matches!(
        take(&kubernetes, &Silent).await,
        Err(LockError::NoNamespace(_))
    ));
    let kubernetes = cluster();
    let forbidden = failure(
        403,
        "Forbidden",
        "User \"bob\" cannot get resource \"leases\"",
    );
    kubernetes.script("GET", PATH, Script::Respond(403, forbidden));
    let error = take(&kubernetes, &Silent).await.unwrap_err();
    assert!(
        error.to_string().contains("cannot get resource \"leases\""),
        "{error}"
    );
}
