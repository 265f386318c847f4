//! A scripted Kubernetes: an axum router over objects in memory, behind a real [`kube::Client`].
//!
//! It plays what a client relies on (resource versions, conditional writes, label selectors, dry run,
//! finalizers, missing namespaces) and whatever else a test scripts, request by request. Server-side
//! apply is a deep merge; ownership of fields is scripted where a test is about it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode, Uri};
use serde_json::{Value, json};
use tower::ServiceExt;

/// A cluster of one process. Clones share it.
#[derive(Clone)]
pub struct Kubernetes(Arc<Mutex<Cluster>>);

/// What happens to one request before, or in place of, the ordinary answer.
pub enum Script {
    /// This answer, and nothing else happens.
    Respond(u16, Value),
    /// The ordinary answer, this much later.
    Delay(Duration),
    /// Something else happens first, such as another client's write.
    Before(Box<dyn FnOnce(&Kubernetes) + Send>),
    /// The connection breaks before the server sees the request.
    Break,
}

struct Cluster {
    kinds: Vec<Kind>,
    objects: BTreeMap<String, Value>,
    scripts: BTreeMap<(String, String), VecDeque<Script>>,
    requests: Vec<String>,
    version: u64,
}

#[derive(Clone, Copy)]
struct Kind {
    /// As `apiVersion` has it.
    group_version: &'static str,
    plural: &'static str,
    kind: &'static str,
    namespaced: bool,
}

const fn kind(
    group_version: &'static str,
    plural: &'static str,
    kind: &'static str,
    namespaced: bool,
) -> Kind {
    Kind {
        group_version,
        plural,
        kind,
        namespaced,
    }
}

/// What Kubernetes v1.20 serves of the kinds that stacks use.
const KINDS: &[Kind] = &[
    kind("v1", "namespaces", "Namespace", false),
    kind("v1", "nodes", "Node", false),
    kind("v1", "configmaps", "ConfigMap", true),
    kind("v1", "endpoints", "Endpoints", true),
    kind("v1", "events", "Event", true),
    kind(
        "v1",
        "persistentvolumeclaims",
        "PersistentVolumeClaim",
        true,
    ),
    kind("v1", "pods", "Pod", true),
    kind("v1", "secrets", "Secret", true),
    kind("v1", "serviceaccounts", "ServiceAccount", true),
    kind("v1", "services", "Service", true),
    kind("apps/v1", "deployments", "Deployment", true),
    kind("apps/v1", "replicasets", "ReplicaSet", true),
    kind("apps/v1", "statefulsets", "StatefulSet", true),
    kind("batch/v1", "jobs", "Job", true),
    kind("batch/v1beta1", "cronjobs", "CronJob", true),
    kind("coordination.k8s.io/v1", "leases", "Lease", true),
    kind(
        "policy/v1beta1",
        "poddisruptionbudgets",
        "PodDisruptionBudget",
        true,
    ),
];

impl Default for Kubernetes {
    fn default() -> Self {
        Self::new()
    }
}

impl Kubernetes {
    /// A cluster with the namespaces `default` and `kube-system`; the latter's UID is `uid-kube-system`.
    #[must_use]
    pub fn new() -> Self {
        let cluster = Self(Arc::new(Mutex::new(Cluster {
            kinds: KINDS.to_vec(),
            objects: BTreeMap::new(),
            scripts: BTreeMap::new(),
            requests: Vec::new(),
            version: 100,
        })));
        for name in ["default", "kube-system"] {
            cluster.insert(&namespace(name));
        }
        cluster
    }

    /// A client that reaches the router without a socket.
    #[must_use]
    pub fn client(&self) -> kube::Client {
        let cluster = self.clone();
        let router = self.router();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let cluster = cluster.clone();
            let router = router.clone();
            async move {
                if cluster.breaks(request.method(), request.uri()) {
                    return Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
                }
                match router.oneshot(request.map(Body::new)).await {
                    Ok(response) => Ok(response),
                    Err(never) => match never {},
                }
            }
        });
        kube::Client::new(service, "default")
    }

    /// The API as a router, for tests that serve it on a socket.
    pub fn router(&self) -> Router {
        Router::new().fallback(answer).with_state(self.clone())
    }

    /// Puts an object in as if it had been created; its UID is `uid-NAME` unless it has one.
    ///
    /// # Panics
    /// Where the kind is not served or the object has no name: a mistake in the test.
    pub fn insert(&self, object: &Value) {
        let mut cluster = self.lock();
        let path = cluster.path_of(object).expect("a served kind and a name");
        cluster.store(&path, object.clone());
    }

    /// The object at an API path such as `/api/v1/namespaces/shop/configmaps/web`.
    #[must_use]
    pub fn object(&self, path: &str) -> Option<Value> {
        self.lock().objects.get(path).cloned()
    }

    /// Removes the object at an API path.
    pub fn remove(&self, path: &str) {
        self.lock().objects.remove(path);
    }

    /// The API paths of all objects, sorted.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        self.lock().objects.keys().cloned().collect()
    }

    /// Scripts the next request with this method and API path (without the query); calls queue up.
    pub fn script(&self, method: &str, path: &str, script: Script) {
        self.lock()
            .scripts
            .entry((method.to_owned(), path.to_owned()))
            .or_default()
            .push_back(script);
    }

    /// All requests so far, as `METHOD path?query`.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.lock().requests.clone()
    }

    /// The requests so far that change something: neither reads nor dry runs.
    #[must_use]
    pub fn writes(&self) -> Vec<String> {
        self.requests()
            .into_iter()
            .filter(|request| !request.starts_with("GET ") && !request.contains("dryRun=All"))
            .map(|request| request.split('?').next().unwrap_or_default().to_owned())
            .collect()
    }

    fn breaks(&self, method: &Method, uri: &Uri) -> bool {
        let mut cluster = self.lock();
        let key = (method.to_string(), uri.path().to_owned());
        let Some(queue) = cluster.scripts.get_mut(&key) else {
            return false;
        };
        if !matches!(queue.front(), Some(Script::Break)) {
            return false;
        }
        queue.pop_front();
        cluster.requests.push(format!("{method} {uri}"));
        true
    }

    fn next_script(&self, method: &Method, uri: &Uri) -> Option<Script> {
        let mut cluster = self.lock();
        cluster.requests.push(format!("{method} {uri}"));
        cluster
            .scripts
            .get_mut(&(method.to_string(), uri.path().to_owned()))
            .and_then(VecDeque::pop_front)
    }

    fn lock(&self) -> MutexGuard<'_, Cluster> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A Namespace object.
#[must_use]
pub fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

/// A failure as the API server words it.
#[must_use]
pub fn failure(code: u16, reason: &str, message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "details": {}, "code": code,
    })
}

type Answer = Result<(StatusCode, Value), (u16, Value)>;

fn refuse(code: u16, reason: &str, message: &str) -> Answer {
    Err((code, failure(code, reason, message)))
}

async fn answer(State(cluster): State<Kubernetes>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    match cluster.next_script(&parts.method, &parts.uri) {
        None | Some(Script::Break) => {}
        Some(Script::Respond(code, body)) => return respond(Err((code, body))),
        Some(Script::Delay(time)) => tokio::time::sleep(time).await,
        Some(Script::Before(action)) => action(&cluster),
    }
    let bytes = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    let content_type = parts
        .headers
        .get("content-type")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let call = Call {
        method: parts.method,
        query: query(&parts.uri),
        apply: content_type.contains("apply-patch"),
        body,
    };
    respond(cluster.lock().call(parts.uri.path(), call))
}

fn respond(answer: Answer) -> Response {
    let (code, body) = match answer {
        Ok(done) => done,
        Err((code, body)) => (
            StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            body,
        ),
    };
    (code, axum::Json(body)).into_response()
}

fn query(uri: &Uri) -> BTreeMap<String, String> {
    let decode = |text: &str| {
        text.replace("%3D", "=")
            .replace("%2C", ",")
            .replace("%2F", "/")
            .replace("%21", "!")
    };
    uri.query()
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.to_owned(), decode(value)))
        .collect()
}

struct Call {
    method: Method,
    query: BTreeMap<String, String>,
    apply: bool,
    body: Value,
}

impl Call {
    fn dry_run(&self) -> bool {
        self.query.contains_key("dryRun")
    }
}

/// A parsed API path.
struct Place {
    kind: Kind,
    namespace: Option<String>,
    name: Option<String>,
}

impl Cluster {
    fn call(&mut self, path: &str, call: Call) -> Answer {
        if let Some(discovery) = self.discovery(path) {
            return Ok((StatusCode::OK, discovery));
        }
        let Some(place) = self.place(path) else {
            return refuse(
                404,
                "NotFound",
                "the server could not find the requested resource",
            );
        };
        if let Some(namespace) = &place.namespace {
            let exists = self
                .objects
                .contains_key(&format!("/api/v1/namespaces/{namespace}"));
            if !exists && matches!(call.method, Method::POST | Method::PATCH | Method::PUT) {
                return missing_namespace(namespace);
            }
        }
        match (&call.method, &place.name) {
            (&Method::GET, Some(name)) => self.get(path, &place, name),
            (&Method::GET, None) => Ok((StatusCode::OK, self.list(path, &place, &call))),
            (&Method::POST, None) => self.create(path, &place, call),
            (&Method::PUT, Some(_)) => self.replace(path, call),
            (&Method::PATCH, Some(name)) => self.patch(path, &place, &name.clone(), call),
            (&Method::DELETE, Some(name)) => self.delete(path, &place, &name.clone(), &call),
            _ => refuse(
                405,
                "MethodNotAllowed",
                "the server does not allow this method",
            ),
        }
    }

    fn discovery(&self, path: &str) -> Option<Value> {
        let resources = |group_version: &str| {
            let resources: Vec<Value> = self
                .kinds
                .iter()
                .filter(|kind| kind.group_version == group_version)
                .flat_map(|kind| {
                    let verbs = ["create", "delete", "get", "list", "patch", "update", "watch"];
                    [
                        json!({"name": kind.plural, "singularName": "", "namespaced": kind.namespaced,
                               "kind": kind.kind, "verbs": verbs}),
                        json!({"name": format!("{}/status", kind.plural), "singularName": "",
                               "namespaced": kind.namespaced, "kind": kind.kind, "verbs": ["get"]}),
                    ]
                })
                .collect();
            (!resources.is_empty()).then(|| {
                json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version,
                       "resources": resources})
            })
        };
        match path {
            "/version" => Some(json!({
                "major": "1", "minor": "20", "gitVersion": "v1.20.2", "gitCommit": "", "gitTreeState": "clean",
                "buildDate": "2021-01-13T13:20:00Z", "goVersion": "go1.15.5", "compiler": "gc",
                "platform": "linux/amd64",
            })),
            "/api" => Some(json!({"kind": "APIVersions", "versions": ["v1"],
                                  "serverAddressByClientCIDRs": []})),
            "/apis" => Some(self.groups()),
            _ => resources(path.strip_prefix("/api/").or(path.strip_prefix("/apis/"))?),
        }
    }

    fn groups(&self) -> Value {
        let mut groups: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for kind in &self.kinds {
            if let Some((group, version)) = kind.group_version.split_once('/') {
                let entry = json!({"groupVersion": kind.group_version, "version": version});
                let versions = groups.entry(group).or_default();
                if !versions.contains(&entry) {
                    versions.push(entry);
                }
            }
        }
        let groups: Vec<Value> = groups
            .into_iter()
            .map(|(name, versions)| {
                json!({"name": name, "preferredVersion": versions[0], "versions": versions})
            })
            .collect();
        json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
    }

    fn place(&self, path: &str) -> Option<Place> {
        let (group_version, rest) = split_group(path)?;
        let segments: Vec<&str> = rest.split('/').collect();
        let (namespace, plural, name) = match segments.as_slice() {
            ["namespaces"] => (None, "namespaces", None),
            ["namespaces", name] => (None, "namespaces", Some(*name)),
            ["namespaces", namespace, plural] => (Some(*namespace), *plural, None),
            ["namespaces", namespace, plural, name] => (Some(*namespace), *plural, Some(*name)),
            [plural] => (None, *plural, None),
            [plural, name] => (None, *plural, Some(*name)),
            _ => return None,
        };
        let kind = *self
            .kinds
            .iter()
            .find(|kind| kind.group_version == group_version && kind.plural == plural)?;
        Some(Place {
            kind,
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
        })
    }

    fn path_of(&self, object: &Value) -> Option<String> {
        let (version, name) = (object["apiVersion"].as_str()?, object["kind"].as_str()?);
        let kind = self
            .kinds
            .iter()
            .find(|kind| kind.group_version == version && kind.kind == name)?;
        let root = if version.contains('/') { "apis" } else { "api" };
        let namespace = if kind.namespaced {
            format!(
                "/namespaces/{}",
                object["metadata"]["namespace"]
                    .as_str()
                    .unwrap_or("default")
            )
        } else {
            String::new()
        };
        let name = object["metadata"]["name"].as_str()?;
        Some(format!(
            "/{root}/{version}{namespace}/{}/{name}",
            kind.plural
        ))
    }

    /// Gives the object what every stored one has and keeps it.
    fn store(&mut self, path: &str, mut object: Value) -> Value {
        self.version += 1;
        complete(&mut object, self.version);
        self.objects.insert(path.to_owned(), object.clone());
        object
    }

    fn get(&self, path: &str, place: &Place, name: &str) -> Answer {
        match self.objects.get(path) {
            Some(object) => Ok((StatusCode::OK, object.clone())),
            None => missing(place, name),
        }
    }

    fn list(&self, path: &str, place: &Place, call: &Call) -> Value {
        let selector = call.query.get("labelSelector").cloned().unwrap_or_default();
        let in_place = |object_path: &str| match &place.namespace {
            Some(_) => object_path.starts_with(&format!("{path}/")),
            None => self
                .place(object_path)
                .is_some_and(|other| other.kind.plural == place.kind.plural),
        };
        let items: Vec<Value> = self
            .objects
            .iter()
            .filter(|(object_path, object)| in_place(object_path) && selected(object, &selector))
            .map(|(_, object)| {
                let mut item = object.clone();
                if let Value::Object(fields) = &mut item {
                    fields.remove("apiVersion");
                    fields.remove("kind");
                }
                item
            })
            .collect();
        json!({
            "kind": format!("{}List", place.kind.kind), "apiVersion": place.kind.group_version,
            "metadata": {"resourceVersion": self.version.to_string()}, "items": items,
        })
    }

    fn create(&mut self, path: &str, place: &Place, call: Call) -> Answer {
        let name = call.body["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let path = format!("{path}/{name}");
        if self.objects.contains_key(&path) {
            let message = format!("{} \"{name}\" already exists", place.kind.plural);
            return refuse(409, "AlreadyExists", &message);
        }
        let mut object = call.body;
        identify(&mut object, place, &name);
        Ok((StatusCode::CREATED, self.store(&path, object)))
    }

    fn replace(&mut self, path: &str, call: Call) -> Answer {
        let Some(old) = self.objects.get(path) else {
            return refuse(404, "NotFound", "not found");
        };
        if !same_version(old, &call.body) {
            return modified();
        }
        let mut object = call.body;
        object["metadata"]["uid"] = old["metadata"]["uid"].clone();
        Ok((StatusCode::OK, self.store(path, object)))
    }

    fn patch(&mut self, path: &str, place: &Place, name: &str, call: Call) -> Answer {
        let old = self.objects.get(path).cloned();
        let dry_run = call.dry_run();
        let mut object = match &old {
            Some(old) if !same_version(old, &call.body) => return modified(),
            Some(old) => old.clone(),
            None if call.apply => json!({}),
            None => return missing(place, name),
        };
        merge(&mut object, call.body);
        identify(&mut object, place, name);
        if old.as_ref() == Some(&object) {
            return Ok((StatusCode::OK, object));
        }
        if dry_run {
            complete(&mut object, self.version);
            return Ok((StatusCode::OK, object));
        }
        let code = if old.is_some() {
            StatusCode::OK
        } else {
            StatusCode::CREATED
        };
        Ok((code, self.store(path, object)))
    }

    fn delete(&mut self, path: &str, place: &Place, name: &str, call: &Call) -> Answer {
        let Some(object) = self.objects.get(path).cloned() else {
            return missing(place, name);
        };
        let wanted = &call.body["preconditions"];
        for (key, field) in [("uid", "uid"), ("resourceVersion", "resourceVersion")] {
            if !wanted[key].is_null() && wanted[key] != object["metadata"][field] {
                return refuse(
                    409,
                    "Conflict",
                    &format!("Precondition failed: {field} in precondition"),
                );
            }
        }
        let held = object["metadata"]["finalizers"]
            .as_array()
            .is_some_and(|finalizers| !finalizers.is_empty());
        if held {
            let mut object = object;
            object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            return Ok((StatusCode::OK, self.store(path, object)));
        }
        self.objects.remove(path);
        if place.kind.plural == "namespaces" {
            let inside = format!("/namespaces/{name}/");
            self.objects.retain(|path, _| !path.contains(&inside));
        }
        Ok((
            StatusCode::OK,
            json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}),
        ))
    }
}

fn split_group(path: &str) -> Option<(String, &str)> {
    if let Some(rest) = path.strip_prefix("/api/") {
        let (version, rest) = rest.split_once('/')?;
        return Some((version.to_owned(), rest));
    }
    let rest = path.strip_prefix("/apis/")?;
    let (group, rest) = rest.split_once('/')?;
    let (version, rest) = rest.split_once('/')?;
    Some((format!("{group}/{version}"), rest))
}

fn selected(object: &Value, selector: &str) -> bool {
    selector
        .split(',')
        .filter(|term| !term.is_empty())
        .all(|term| match term.split_once('=') {
            Some((key, value)) => {
                object["metadata"]["labels"][key] == json!(value.trim_start_matches('='))
            }
            None => !object["metadata"]["labels"][term].is_null(),
        })
}

fn identify(object: &mut Value, place: &Place, name: &str) {
    object["apiVersion"] = json!(place.kind.group_version);
    object["kind"] = json!(place.kind.kind);
    object["metadata"]["name"] = json!(name);
    if let Some(namespace) = &place.namespace {
        object["metadata"]["namespace"] = json!(namespace);
    }
}

fn complete(object: &mut Value, version: u64) {
    let metadata = &mut object["metadata"];
    if metadata["uid"].is_null() {
        metadata["uid"] = json!(format!(
            "uid-{}",
            metadata["name"].as_str().unwrap_or_default()
        ));
    }
    if metadata["creationTimestamp"].is_null() {
        metadata["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
    }
    metadata["resourceVersion"] = json!(version.to_string());
}

fn merge(target: &mut Value, patch: Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (key, value) in patch {
                if value.is_null() {
                    target.remove(&key);
                } else {
                    merge(target.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (target, patch) => *target = patch,
    }
}

fn same_version(old: &Value, new: &Value) -> bool {
    let wanted = &new["metadata"]["resourceVersion"];
    wanted.is_null() || *wanted == old["metadata"]["resourceVersion"]
}

fn modified() -> Answer {
    refuse(
        409,
        "Conflict",
        "the object has been modified; please apply your changes to the latest version and try again",
    )
}

fn missing(place: &Place, name: &str) -> Answer {
    let mut body = failure(
        404,
        "NotFound",
        &format!("{} \"{name}\" not found", place.kind.plural),
    );
    body["details"] = json!({"name": name, "kind": place.kind.plural});
    Err((404, body))
}

fn missing_namespace(name: &str) -> Answer {
    let mut body = failure(404, "NotFound", &format!("namespaces \"{name}\" not found"));
    body["details"] = json!({"name": name, "kind": "namespaces"});
    Err((404, body))
}
