//! Tests of order, failure and interruption against a scripted cluster on a paused clock.

use std::collections::BTreeMap;
use std::sync::Mutex;

use futures_util::FutureExt;
use serde_json::{Value, json};
use test_support::kubernetes::{Kubernetes, Script, failure, namespace};

use super::*;
use crate::cluster::{LockOptions, acquire, discover};
use crate::diagnostic::{Code, Diagnostic, Exit};
use crate::event::{Event, Recorder, Silent};
use crate::manifest::Origins;

/// Services that become ready after a time, or fail after it.
#[derive(Default)]
struct Scripted {
    after: BTreeMap<&'static str, u64>,
    failing: BTreeSet<&'static str>,
    started: Mutex<Vec<(String, u64)>>,
    begun: Option<Instant>,
}

struct Broken(String);

impl Explain for Broken {
    fn exit(&self) -> Exit {
        Exit::NotReady
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        vec![Diagnostic::error(
            Code::new("S0801"),
            format!("{} cannot start", self.0),
        )]
    }
}

impl Ready for Scripted {
    fn ready<'a>(
        &'a self,
        service: &'a ServiceName,
        _workloads: &'a [ObjectRef],
    ) -> BoxFuture<'a, Result<(), NotReady>> {
        async move {
            let begun = self.begun.unwrap().elapsed().as_secs();
            self.started
                .lock()
                .unwrap()
                .push((service.to_string(), begun));
            let seconds = self.after.get(service.as_str()).copied().unwrap_or(1);
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            if self.failing.contains(service.as_str()) {
                return Err(Box::new(Broken(service.to_string())) as NotReady);
            }
            Ok(())
        }
        .boxed()
    }
}

fn waits<const N: usize>(after: [(&'static str, u64); N], failing: &[&'static str]) -> Scripted {
    Scripted {
        after: after.into(),
        failing: failing.iter().copied().collect(),
        started: Mutex::default(),
        begun: Some(Instant::now()),
    }
}

fn object(value: Value) -> Write {
    Write {
        object: Object {
            value,
            service: None,
            origins: Origins::default(),
        },
        action: Action::Apply,
    }
}

fn config(name: &str) -> Write {
    object(
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "shop"}}),
    )
}

fn workload(name: &str) -> Write {
    object(
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "shop"}}),
    )
}

fn service(name: &str, needs: &[&str]) -> Step {
    Step {
        name: Some(name.parse().unwrap()),
        needs: needs.iter().map(|name| name.parse().unwrap()).collect(),
        config: vec![config(name)],
        workloads: vec![workload(name)],
    }
}

fn stack_step() -> Step {
    Step {
        name: None,
        needs: Vec::new(),
        config: vec![object(namespace("shop"))],
        workloads: Vec::new(),
    }
}

async fn objects(kubernetes: &Kubernetes) -> Objects {
    let client = kubernetes.client();
    let groups = ["apps".to_owned(), "coordination.k8s.io".to_owned()].into();
    let kinds = discover(&client, &groups).await.unwrap();
    Objects::new(client, kinds)
}

struct Fixture {
    kubernetes: Kubernetes,
    objects: Objects,
    cancel: CancellationToken,
}

impl Fixture {
    async fn new() -> Self {
        let kubernetes = Kubernetes::new();
        kubernetes.insert(&namespace("shop"));
        let objects = objects(&kubernetes).await;
        Self {
            kubernetes,
            objects,
            cancel: CancellationToken::new(),
        }
    }

    async fn run(&self, steps: &[Step], ready: &Scripted) -> Result<ApplyReport, ApplyError> {
        self.run_with(steps, ready, &Silent).await
    }

    async fn run_with(
        &self,
        steps: &[Step],
        ready: &Scripted,
        events: &dyn EventSink,
    ) -> Result<ApplyReport, ApplyError> {
        let context = ApplyContext {
            objects: &self.objects,
            ready,
            events,
            cancel: &self.cancel,
            lock: None,
            force: false,
            concurrency: 16,
        };
        apply(steps, &context).await
    }

    /// The names that were written, in order.
    fn written(&self) -> Vec<String> {
        let short = |write: String| write.rsplit('/').take(2).collect::<Vec<_>>().join(" ");
        self.kubernetes.writes().into_iter().map(short).collect()
    }
}

fn path(plural: &str, name: &str) -> String {
    let root = if plural == "deployments" {
        "/apis/apps/v1"
    } else {
        "/api/v1"
    };
    format!("{root}/namespaces/shop/{plural}/{name}")
}

fn refused() -> Script {
    Script::Respond(
        403,
        failure(403, "Forbidden", "User \"bob\" cannot patch resource"),
    )
}

fn names(services: &[ServiceName]) -> Vec<&str> {
    services.iter().map(ServiceName::as_str).collect()
}

#[tokio::test(start_paused = true)]
async fn a_service_starts_when_all_it_needs_are_ready() {
    let fixture = Fixture::new().await;
    let steps = [
        service("web", &["db", "cache"]),
        service("db", &[]),
        service("cache", &[]),
        stack_step(),
        service("lonely", &["not-in-this-run"]),
    ];
    let ready = waits([("db", 10), ("cache", 3), ("web", 2)], &[]);
    let report = fixture.run(&steps, &ready).await.unwrap();
    assert_eq!(
        fixture.written()[0],
        "shop namespaces",
        "what belongs to the stack as a whole comes first"
    );
    let mut started = ready.started.lock().unwrap().clone();
    started.sort();
    let expected = [("cache", 0), ("db", 0), ("lonely", 0), ("web", 10)];
    assert_eq!(
        started,
        expected.map(|(name, time)| (name.to_owned(), time))
    );
    let times: BTreeMap<String, u64> = report
        .ready
        .iter()
        .map(|(name, time)| (name.to_string(), time.as_secs()))
        .collect();
    assert_eq!(times["web"], 2);
    assert_eq!(report.elapsed.as_secs(), 12);
    assert_eq!(report.applied.len(), 9);
}

#[tokio::test(start_paused = true)]
async fn configuration_is_there_before_workloads_and_all_of_it_at_once() {
    let fixture = Fixture::new().await;
    let mut step = service("web", &[]);
    step.config.push(config("second"));
    for name in ["web", "second"] {
        let slow = Script::Delay(Duration::from_secs(2));
        fixture
            .kubernetes
            .script("PATCH", &path("configmaps", name), slow);
    }
    let report = fixture
        .run(&[step], &waits([("web", 0)], &[]))
        .await
        .unwrap();
    assert_eq!(report.elapsed.as_secs(), 2, "both at once");
    assert_eq!(
        fixture.written(),
        ["web configmaps", "second configmaps", "web deployments"]
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_is_not_written_but_waited_for() {
    let fixture = Fixture::new().await;
    let mut step = service("web", &[]);
    step.config[0].action = Action::Keep;
    step.workloads[0].action = Action::Keep;
    let events = Recorder::default();
    let ready = waits([("web", 5)], &[]);
    let report = fixture.run_with(&[step], &ready, &events).await.unwrap();
    assert_eq!(fixture.written(), Vec::<String>::new());
    assert_eq!(report.elapsed.as_secs(), 5);
    assert!(
        report
            .applied
            .iter()
            .all(|(_, applied)| *applied == Applied::Unchanged)
    );
    let summary = events.events().into_iter().find_map(|event| match event {
        Event::PhaseFinished {
            phase: Phase::Apply,
            summary,
            ..
        } => Some(summary),
        _ => None,
    });
    assert_eq!(summary.as_deref(), Some("0 applied, 2 unchanged"));
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_nothing_new_starts_and_what_is_written_is_finished() {
    let fixture = Fixture::new().await;
    let steps = [service("a", &[]), service("b", &[]), service("c", &["b"])];
    fixture
        .kubernetes
        .script("PATCH", &path("configmaps", "a"), refused());
    let slow = Script::Delay(Duration::from_secs(5));
    fixture
        .kubernetes
        .script("PATCH", &path("configmaps", "b"), slow);
    let error = fixture.run(&steps, &waits([], &[])).await.unwrap_err();
    assert_eq!(error.failures.len(), 1);
    assert_eq!(
        error.to_string(),
        "cannot apply ConfigMap/a: User \"bob\" cannot patch resource"
    );
    assert_eq!(error.exit(), Exit::Failed);
    assert_eq!(
        fixture.written(),
        ["a configmaps", "b configmaps"],
        "no workload of b, nothing of c"
    );
    assert_eq!(names(&error.unfinished), ["b", "c"]);
    let applied: Vec<String> = error
        .report
        .applied
        .iter()
        .map(|(object, _)| object.to_string())
        .collect();
    assert_eq!(applied, ["ConfigMap/b"], "its write was finished");
}

#[tokio::test(start_paused = true)]
async fn failures_of_one_moment_are_reported_together_and_other_waits_end() {
    let fixture = Fixture::new().await;
    let steps = [
        service("a", &[]),
        service("b", &[]),
        service("c", &[]),
        service("d", &["a"]),
    ];
    let ready = waits([("a", 3), ("b", 4), ("c", 100)], &["a", "b"]);
    let error = fixture.run(&steps, &ready).await.unwrap_err();
    let messages: Vec<String> = error.failures.iter().map(ToString::to_string).collect();
    assert_eq!(
        messages,
        ["a cannot start", "b cannot start"],
        "the first one first"
    );
    assert_eq!(error.exit(), Exit::NotReady);
    assert_eq!(names(&error.unfinished), ["c", "d"]);
    assert_eq!(error.report.elapsed.as_secs(), 5, "3 s, and 2 s of grace");
}

#[tokio::test(start_paused = true)]
async fn an_interruption_finishes_writes_drops_waits_and_says_what_was_done() {
    let fixture = Fixture::new().await;
    let steps = [service("a", &[]), service("b", &[]), service("c", &["a"])];
    let slow = Script::Delay(Duration::from_secs(4));
    fixture
        .kubernetes
        .script("PATCH", &path("deployments", "b"), slow);
    let cancel = fixture.cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        cancel.cancel();
    });
    let error = fixture
        .run(&steps, &waits([("a", 100)], &[]))
        .await
        .unwrap_err();
    assert_eq!(error.exit(), Exit::Interrupted);
    assert!(error.failures.is_empty());
    assert_eq!(
        error.report.elapsed.as_secs(),
        4,
        "the write that was on its way"
    );
    let problem = &error.diagnostics()[0];
    let mut applied: Vec<&str> = problem.notes[0]
        .strip_prefix("applied before: ")
        .unwrap()
        .split(", ")
        .collect();
    applied.sort_unstable();
    assert_eq!(
        applied,
        ["ConfigMap/a", "ConfigMap/b", "Deployment/a", "Deployment/b"]
    );
    assert_eq!(problem.notes[1], "not finished: a, b, c");
    assert!(problem.hints[0].contains("continues"), "{problem:?}");
    assert!(
        fixture
            .kubernetes
            .object(&path("deployments", "b"))
            .is_some()
    );
}

#[tokio::test(start_paused = true)]
async fn writes_are_limited() {
    let fixture = Fixture::new().await;
    let mut step = service("web", &[]);
    step.config = (0..4).map(|index| config(&format!("c{index}"))).collect();
    for index in 0..4 {
        let slow = Script::Delay(Duration::from_secs(1));
        fixture
            .kubernetes
            .script("PATCH", &path("configmaps", &format!("c{index}")), slow);
    }
    let context = ApplyContext {
        objects: &fixture.objects,
        ready: &waits([("web", 0)], &[]),
        events: &Silent,
        cancel: &fixture.cancel,
        lock: None,
        force: false,
        concurrency: 2,
    };
    let report = apply(&[step], &context).await.unwrap();
    assert_eq!(report.elapsed.as_secs(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_lost_lock_ends_the_run() {
    let fixture = Fixture::new().await;
    let options = LockOptions {
        stack: "shop".parse().unwrap(),
        environment: "local".parse().unwrap(),
        namespace: "shop".parse().unwrap(),
        duration: Duration::from_secs(60),
        renew_every: Duration::from_secs(15),
        wait: None,
    };
    let client = fixture.kubernetes.client();
    let lock = acquire(&client, options, &Silent, &fixture.cancel)
        .await
        .unwrap();
    fixture
        .kubernetes
        .remove("/apis/coordination.k8s.io/v1/namespaces/shop/leases/stackctl-shop");
    let context = ApplyContext {
        objects: &fixture.objects,
        ready: &waits([("web", 100)], &[]),
        events: &Silent,
        cancel: &fixture.cancel,
        lock: Some(&lock),
        force: false,
        concurrency: 16,
    };
    let error = apply(&[service("web", &[])], &context).await.unwrap_err();
    assert_eq!(error.to_string(), "the lock was deleted by someone else");
    assert_eq!(error.report.elapsed.as_secs(), 15, "at the next renewal");
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_replaced_goes_before_it_comes() {
    let fixture = Fixture::new().await;
    let mut old = workload("web").object.value;
    old["spec"] = json!({"old": true});
    fixture.kubernetes.insert(&old);
    let mut step = service("web", &[]);
    step.workloads[0].action = Action::Replace {
        uid: "uid-web".into(),
    };
    let report = fixture.run(&[step], &waits([], &[])).await.unwrap();
    assert_eq!(report.applied[1].1, Applied::Replaced);
    let live = fixture
        .kubernetes
        .object(&path("deployments", "web"))
        .unwrap();
    assert!(live["spec"].is_null(), "{live}");
    let mut again = service("web", &[]);
    again.workloads[0].action = Action::Replace {
        uid: "another".into(),
    };
    let error = fixture.run(&[again], &waits([], &[])).await.unwrap_err();
    assert_eq!(
        error.exit(),
        Exit::Conflict,
        "it is not the one that was planned"
    );
}
