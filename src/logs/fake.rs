//! The part of an API server that logs need, in this process.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::sync::broadcast;

/// Pods, what their logs answer in turn, and what was asked.
#[derive(Clone)]
pub(super) struct Fake(Arc<Inner>);

struct Inner {
    pods: Mutex<BTreeMap<String, Value>>,
    changes: broadcast::Sender<String>,
    logs: Mutex<BTreeMap<String, VecDeque<Answer>>>,
    asked: Mutex<Vec<String>>,
}

/// One answer of a container's log.
pub(super) enum Answer {
    /// These bytes, then the end.
    Ends(&'static str),
    /// These bytes, and nothing more for ever.
    Stays(&'static str),
    /// An error.
    Fails(u16, &'static str),
}

type Parameters = Query<BTreeMap<String, String>>;

impl Fake {
    pub(super) fn new() -> Self {
        Self(Arc::new(Inner {
            pods: Mutex::default(),
            changes: broadcast::channel(64).0,
            logs: Mutex::default(),
            asked: Mutex::default(),
        }))
    }

    pub(super) fn client(&self) -> kube::Client {
        let router = Router::new()
            .route("/api/v1/namespaces/ns/pods", get(pods))
            .route("/api/v1/namespaces/ns/pods/{name}", get(pod))
            .route("/api/v1/namespaces/ns/pods/{name}/log", get(log))
            .with_state(self.clone());
        kube::Client::new(router, "ns")
    }

    /// The pod `name` of service `web`, whose only container `app` is in this state.
    pub(super) fn put(&self, name: &str, id: &str, state: Value, last: Value) {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": name, "namespace": "ns", "resourceVersion": "2",
                "labels": { "app.kubernetes.io/name": "web", "app.kubernetes.io/part-of": "st" },
            },
            "status": { "containerStatuses": [{
                "name": "app", "containerID": id, "image": "i", "imageID": "i", "ready": true,
                "restartCount": 0, "state": state, "lastState": last,
            }] },
        });
        let event = json!({ "type": "MODIFIED", "object": pod });
        self.0.pods.lock().unwrap().insert(name.into(), pod);
        let _ = self.0.changes.send(format!("{event}\n"));
    }

    pub(super) fn answers(&self, pod: &str, answers: impl IntoIterator<Item = Answer>) {
        let mut logs = self.0.logs.lock().unwrap();
        logs.entry(pod.into()).or_default().extend(answers);
    }

    /// The requests for logs: the pod and the parameters that matter.
    pub(super) fn asked(&self) -> Vec<String> {
        self.0.asked.lock().unwrap().clone()
    }
}

pub(super) fn running() -> Value {
    json!({ "running": { "startedAt": "2026-01-01T00:00:00Z" } })
}

pub(super) fn ended(id: &str, code: i32) -> Value {
    json!({ "terminated": { "exitCode": code, "containerID": id } })
}

async fn pods(State(fake): State<Fake>, Query(parameters): Parameters) -> Response {
    if parameters.contains_key("watch") {
        let changes = fake.0.changes.subscribe();
        let body = stream::unfold(changes, |mut changes| async {
            let event = changes.recv().await.ok()?;
            Some((Ok::<_, Infallible>(Bytes::from(event)), changes))
        });
        return Body::from_stream(body).into_response();
    }
    assert!(parameters["labelSelector"].starts_with("app.kubernetes.io/part-of=st"));
    let items: Vec<Value> = fake.0.pods.lock().unwrap().values().cloned().collect();
    axum::Json(json!({
        "apiVersion": "v1", "kind": "PodList", "metadata": { "resourceVersion": "1" },
        "items": items,
    }))
    .into_response()
}

async fn pod(State(fake): State<Fake>, Path(name): Path<String>) -> Response {
    match fake.0.pods.lock().unwrap().get(&name) {
        Some(pod) => axum::Json(pod.clone()).into_response(),
        None => status(404, "not found"),
    }
}

async fn log(
    State(fake): State<Fake>,
    Path(name): Path<String>,
    Query(parameters): Parameters,
) -> Response {
    let told: Vec<String> = ["follow", "previous", "tailLines", "sinceTime"]
        .iter()
        .filter_map(|key| Some(format!(" {key}={}", parameters.get(*key)?)))
        .collect();
    let request = format!("{name}{}", told.concat());
    fake.0.asked.lock().unwrap().push(request);
    assert_eq!(parameters["timestamps"], "true");
    let answer = fake
        .0
        .logs
        .lock()
        .unwrap()
        .get_mut(&name)
        .and_then(VecDeque::pop_front);
    match answer {
        None => Body::empty().into_response(),
        Some(Answer::Ends(text)) => text.into_response(),
        Some(Answer::Stays(text)) => {
            let text = stream::once(async move { Ok::<_, Infallible>(Bytes::from(text)) });
            Body::from_stream(text.chain(stream::pending())).into_response()
        }
        Some(Answer::Fails(code, message)) => status(code, message),
    }
}

fn status(code: u16, message: &str) -> Response {
    let reason = if code == 403 { "Forbidden" } else { "NotFound" };
    let body = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure",
        "code": code, "reason": reason, "message": message,
    });
    (StatusCode::from_u16(code).unwrap(), axum::Json(body)).into_response()
}
