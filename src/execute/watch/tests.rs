//! The watch against a cluster in this process.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::fake::Fake;
use super::{Watch, snapshot_once};
use crate::diagnosis::Observed;
use crate::diagnosis::fixture::{at, deployment, event, pod, replica_set};
use crate::diagnostic::{Exit, Explain};
use crate::event::{Event, Recorder, Silent};

const SELECTOR: &str = "app.kubernetes.io/part-of=shop";

/// Long enough for everything that is under way; the clock is paused.
const MOMENT: Duration = Duration::from_millis(100);

async fn started(fake: &Fake) -> Watch {
    let watch = Watch::start(&fake.client(), "shop", SELECTOR).await;
    sleep(MOMENT).await;
    watch
}

fn names(observed: &Observed) -> Vec<String> {
    let mut names: Vec<String> = observed
        .objects
        .iter()
        .chain(&observed.events)
        .map(|object| {
            format!(
                "{}/{}",
                object["kind"].as_str().unwrap(),
                object["metadata"]["name"].as_str().unwrap()
            )
        })
        .collect();
    names.sort();
    names
}

fn named_event(name: &str) -> serde_json::Value {
    let mut event = event(&deployment("web", 1), "Pulled", "", 1, 0);
    event["metadata"] = json!({"name": name});
    event
}

#[tokio::test(start_paused = true)]
async fn the_picture_follows_the_cluster() {
    let fake = Fake::default();
    let web = deployment("web", 1);
    let web_pod = pod(&replica_set(&web, "web-7c9"), "web-7c9-x2");
    fake.put(web.clone());
    fake.put(named_event("web.1"));
    let watch = started(&fake).await;
    assert!(watch.is_complete());
    assert_eq!(names(&watch.observed()), ["Deployment/web", "Event/web.1"]);
    assert_eq!(
        watch.observed().objects[0]["apiVersion"],
        "apps/v1",
        "lists leave it out"
    );

    let mut changes = watch.changes();
    changes.mark_unchanged();
    fake.put(web_pod.clone());
    changes.changed().await.unwrap();
    assert_eq!(
        names(&watch.observed()),
        ["Deployment/web", "Event/web.1", "Pod/web-7c9-x2"]
    );
    assert_eq!(watch.observed().pod_gone, None);

    sleep(Duration::from_secs(7)).await;
    fake.delete(&web_pod);
    changes.changed().await.unwrap();
    assert_eq!(names(&watch.observed()), ["Deployment/web", "Event/web.1"]);
    assert_eq!(
        watch.observed().pod_gone.unwrap().as_second(),
        at(7).as_second()
    );
}

#[tokio::test(start_paused = true)]
async fn the_clusters_clock_counts_and_only_labelled_kinds_are_selected() {
    let fake = Fake::default();
    let watch = started(&fake).await;
    assert_eq!(watch.now().as_second(), at(0).as_second());
    let selected = |plural: &str| {
        let requests = fake.requests();
        let mut of_kind = requests
            .iter()
            .filter(|uri| uri.contains(&format!("/{plural}?")));
        of_kind.all(|uri| uri.contains("labelSelector=app.kubernetes.io%2Fpart-of%3Dshop"))
    };
    assert!(selected("pods") && selected("replicasets") && selected("deployments"));
    assert!(!selected("events") && !selected("persistentvolumeclaims"));
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_is_continued_from_the_last_bookmark() {
    let fake = Fake::default();
    fake.put(deployment("web", 1));
    let watch = started(&fake).await;
    let version = fake.bookmark("deployments");
    sleep(MOMENT).await;
    fake.hang_up();
    sleep(MOMENT).await;
    let last = fake
        .requests()
        .into_iter()
        .rfind(|uri| uri.contains("/deployments?"))
        .unwrap();
    assert!(
        last.contains(&format!("resourceVersion={version}")),
        "{last}"
    );
    fake.put(deployment("api", 1));
    sleep(MOMENT).await;
    assert_eq!(
        names(&watch.observed()),
        ["Deployment/api", "Deployment/web"]
    );
    assert!(watch.failure().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_history_that_is_gone_is_listed_anew() {
    let fake = Fake::default();
    let web_pod = pod(&deployment("web", 1), "web-0");
    fake.put(web_pod.clone());
    fake.put(deployment("web", 1));
    let watch = started(&fake).await;
    fake.set_lagging(true);
    fake.delete(&web_pod);
    fake.put(deployment("api", 1));
    fake.compact();
    fake.set_lagging(false);
    sleep(MOMENT).await;
    assert_eq!(
        names(&watch.observed()),
        ["Deployment/api", "Deployment/web"]
    );
    assert!(
        watch.observed().pod_gone.is_some(),
        "it was in the old list only"
    );
    assert!(watch.failure().is_none(), "an ordinary event");
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_known_and_survived() {
    let fake = Fake::default();
    fake.put(deployment("web", 1));
    let watch = started(&fake).await;
    fake.set_down(true);
    sleep(Duration::from_secs(30)).await;
    let failure = watch.failure().unwrap();
    assert!(failure.lost().is_none(), "not yet");
    assert_eq!(
        names(&watch.observed()),
        ["Deployment/web"],
        "what was seen stays"
    );
    fake.put(deployment("api", 1));
    fake.set_down(false);
    sleep(Duration::from_secs(6)).await;
    assert!(watch.failure().is_none());
    assert_eq!(
        names(&watch.observed()),
        ["Deployment/api", "Deployment/web"]
    );

    fake.set_down(true);
    sleep(Duration::from_secs(61)).await;
    let lost = watch.failure().unwrap().lost().unwrap();
    assert_eq!(lost.exit(), Exit::Failed);
    assert_eq!(lost.diagnostics()[0].notes, ["etcdserver: no leader: "]);
}

#[tokio::test(start_paused = true)]
async fn rights_that_are_missing_are_an_error_or_a_warning() {
    let fake = Fake::default();
    fake.refuse("events");
    fake.refuse("daemonsets");
    let watch = started(&fake).await;
    assert!(watch.is_complete());
    watch.check("Deployment").unwrap();
    let refused = watch.check("DaemonSet").unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the cluster does not allow to watch daemonsets in namespace `shop`"
    );
    assert_eq!(
        refused.diagnostics()[0].notes,
        ["daemonsets is forbidden: Forbidden"]
    );
    let warnings = watch.take_warnings();
    assert_eq!(warnings.len(), 1, "nobody asked for daemonsets");
    assert!(
        warnings[0]
            .message
            .starts_with("events of namespace `shop` cannot be read")
    );
    assert!(watch.take_warnings().is_empty(), "once");

    fake.refuse("pods");
    let watch = started(&fake).await;
    watch.check("Deployment").unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn dropping_it_ends_its_requests() {
    let fake = Fake::default();
    let watch = started(&fake).await;
    assert_eq!(fake.open_watches(), 8);
    drop(watch);
    sleep(MOMENT).await;
    assert_eq!(fake.open_watches(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_look_needs_no_watch() {
    let fake = Fake::default();
    fake.put(deployment("web", 1));
    fake.put(named_event("web.1"));
    let observed = snapshot_once(&fake.client(), "shop", SELECTOR, &Silent)
        .await
        .unwrap();
    assert_eq!(names(&observed), ["Deployment/web", "Event/web.1"]);
    assert_eq!(fake.open_watches(), 0);

    fake.refuse("events");
    let recorder = Recorder::default();
    let observed = snapshot_once(&fake.client(), "shop", SELECTOR, &recorder)
        .await
        .unwrap();
    assert_eq!(names(&observed), ["Deployment/web"]);
    assert!(matches!(&recorder.events()[..], [Event::Warning(_)]));
    fake.refuse("pods");
    snapshot_once(&fake.client(), "shop", SELECTOR, &Silent)
        .await
        .unwrap_err();
}
