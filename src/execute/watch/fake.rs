//! A Kubernetes in this process that lists and watches, behind a real [`kube::Client`]; its time is
//! [`fixture::START`](crate::diagnosis::fixture::START) when a client first asks.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream::unfold;
use http::{Request, Response, StatusCode, Uri};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Clones share the cluster.
#[derive(Clone, Default)]
pub(in crate::execute) struct Fake(Arc<Mutex<Cluster>>);

#[derive(Default)]
struct Cluster {
    version: u64,
    /// By plural and name.
    objects: BTreeMap<(String, String), Value>,
    /// Plural, version and line of every change.
    history: Vec<(String, u64, String)>,
    watches: Vec<(String, UnboundedSender<Bytes>)>,
    refused: BTreeSet<String>,
    down: bool,
    lagging: bool,
    /// The oldest version a watch may begin at.
    oldest: u64,
    logs: BTreeMap<String, String>,
    requests: Vec<String>,
}

impl Fake {
    pub(in crate::execute) fn client(&self) -> kube::Client {
        let fake = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let response = fake.lock().answer(request.uri());
            async move { Ok::<_, Infallible>(response) }
        });
        kube::Client::new(service, "shop")
    }

    /// Creates or replaces an object.
    pub(in crate::execute) fn put(&self, mut object: Value) {
        let mut cluster = self.lock();
        cluster.version += 1;
        let version = cluster.version;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let key = key(&object);
        let known = cluster
            .objects
            .insert(key.clone(), object.clone())
            .is_some();
        let line = json!({"type": if known { "MODIFIED" } else { "ADDED" }, "object": object});
        cluster.publish(&key.0, line.to_string());
    }

    pub(in crate::execute) fn delete(&self, object: &Value) {
        let mut cluster = self.lock();
        cluster.version += 1;
        let key = key(object);
        let mut last = cluster.objects.remove(&key).unwrap();
        last["metadata"]["resourceVersion"] = json!(cluster.version.to_string());
        let line = json!({"type": "DELETED", "object": last});
        cluster.publish(&key.0, line.to_string());
    }

    /// Sends a bookmark to the watches of a kind, at a version of its own.
    pub(in crate::execute) fn bookmark(&self, plural: &str) -> u64 {
        let mut cluster = self.lock();
        cluster.version += 1;
        let version = cluster.version;
        let object = json!({"kind": "Any", "apiVersion": "v1", "metadata": {"resourceVersion": version.to_string()}});
        let line = json!({"type": "BOOKMARK", "object": object});
        cluster.publish(plural, line.to_string());
        version
    }

    /// Breaks all watches off.
    pub(in crate::execute) fn hang_up(&self) {
        self.lock().watches.clear();
    }

    /// Forgets the history: a watch that wants to continue is told 410 Gone.
    pub(in crate::execute) fn compact(&self) {
        let mut cluster = self.lock();
        cluster.version += 1;
        cluster.oldest = cluster.version;
    }

    /// Whether all requests are answered with 503.
    pub(in crate::execute) fn set_down(&self, down: bool) {
        self.lock().down = down;
        if down {
            self.hang_up();
        }
    }

    /// Whether watches get nothing for the time being; the changes come when it ends.
    pub(in crate::execute) fn set_lagging(&self, lagging: bool) {
        self.lock().lagging = lagging;
        if !lagging {
            self.hang_up();
        }
    }

    pub(in crate::execute) fn refuse(&self, plural: &str) {
        self.lock().refused.insert(plural.to_owned());
    }

    /// What a container wrote: in its current run, or in the previous one.
    pub(in crate::execute) fn log(&self, pod: &str, previous: bool, text: &str) {
        self.lock()
            .logs
            .insert(format!("{pod} {previous}"), text.to_owned());
    }

    pub(in crate::execute) fn requests(&self) -> Vec<String> {
        self.lock().requests.clone()
    }

    /// How many watches somebody still reads.
    pub(in crate::execute) fn open_watches(&self) -> usize {
        let cluster = self.lock();
        cluster
            .watches
            .iter()
            .filter(|(_, watch)| !watch.is_closed())
            .count()
    }

    fn lock(&self) -> MutexGuard<'_, Cluster> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cluster {
    fn answer(&mut self, uri: &Uri) -> Response<Body> {
        self.requests.push(uri.to_string());
        let query: BTreeMap<&str, &str> = uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .collect();
        if self.down {
            return status(503, "etcdserver: no leader");
        }
        if uri.path() == "/version" {
            let date = "Sat, 21 Nov 2026 04:00:00 GMT";
            return Response::builder()
                .header("date", date)
                .body(Body::empty())
                .unwrap();
        }
        let (_, path) = uri.path().split_once("/namespaces/shop/").unwrap();
        let segments: Vec<&str> = path.split('/').collect();
        if self.refused.contains(segments[0]) {
            return status(403, &format!("{} is forbidden", segments[0]));
        }
        match segments[..] {
            [_, pod, "log"] => {
                let previous = query.get("previous") == Some(&"true");
                match self.logs.get(&format!("{pod} {previous}")) {
                    Some(text) => Response::new(Body::from(text.clone())),
                    None => status(400, "no such run"),
                }
            }
            [plural, name] => match self.objects.get(&(plural.to_owned(), name.to_owned())) {
                Some(object) => Response::new(Body::from(object.to_string())),
                None => status(404, "not found"),
            },
            [plural] if query.contains_key("watch") => {
                let from = query
                    .get("resourceVersion")
                    .and_then(|from| from.parse().ok());
                self.watch(plural, from.unwrap())
            }
            [plural] => self.list(plural),
            _ => panic!("nobody asks for {path}"),
        }
    }

    fn list(&self, plural: &str) -> Response<Body> {
        let items: Vec<Value> = self
            .objects
            .iter()
            .filter(|((kind, _), _)| kind == plural)
            .map(|(_, object)| {
                // As in a real list, the items do not repeat what they are.
                let mut item = object.clone();
                let fields = item.as_object_mut().unwrap();
                fields.remove("kind");
                fields.remove("apiVersion");
                item
            })
            .collect();
        let version = self.version.to_string();
        let list = json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": version}, "items": items});
        Response::new(Body::from(list.to_string()))
    }

    fn watch(&mut self, plural: &str, from: u64) -> Response<Body> {
        let (sender, receiver) = unbounded_channel();
        if from < self.oldest {
            let gone = json!({"kind": "Status", "status": "Failure", "reason": "Expired", "code": 410, "message": "too old"});
            let line = json!({"type": "ERROR", "object": gone}).to_string() + "\n";
            sender.send(line.into()).unwrap();
        } else {
            let missed = self
                .history
                .iter()
                .filter(|(kind, version, _)| kind == plural && *version > from && !self.lagging);
            for (_, _, line) in missed {
                sender.send(line.clone().into()).unwrap();
            }
            self.watches.push((plural.to_owned(), sender));
        }
        Response::new(Body::from_stream(unfold(receiver, next)))
    }

    fn publish(&mut self, plural: &str, line: String) {
        let line = line + "\n";
        if !self.lagging {
            for (_, watch) in self.watches.iter().filter(|(kind, _)| kind == plural) {
                // Nobody reads a watch that was dropped.
                let _ = watch.send(line.clone().into());
            }
        }
        self.history.push((plural.to_owned(), self.version, line));
    }
}

type Line = (Result<Bytes, Infallible>, UnboundedReceiver<Bytes>);

async fn next(mut receiver: UnboundedReceiver<Bytes>) -> Option<Line> {
    let line = receiver.recv().await?;
    Some((Ok(line), receiver))
}

fn key(object: &Value) -> (String, String) {
    let kind = object["kind"].as_str().unwrap().to_lowercase() + "s";
    (
        kind,
        object["metadata"]["name"].as_str().unwrap().to_owned(),
    )
}

fn status(code: u16, message: &str) -> Response<Body> {
    let reason = match code {
        403 => "Forbidden",
        404 => "NotFound",
        _ => "",
    };
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": reason, "code": code});
    Response::builder()
        .status(StatusCode::from_u16(code).unwrap())
        .body(Body::from(body.to_string()))
        .unwrap()
}
