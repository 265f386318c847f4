//! What templates can refer to: `stack`, `env`, `namespace`, `service`, `values`, `images`, `secrets`.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::secret::SecretRef;
use crate::stack::{
    Build, PortName, Service, ServiceName, ServiceType, Stack, Volume, VolumeName, WorkloadKind,
};
use crate::yaml::{self, Node};

use super::env::Env;
use super::value::{Data, Secrets, Value};

/// The user of containers whose service declares no `values.user`: the usual number for "nonroot".
const USER: u64 = 65_532;
/// How long a pod may take to end: a value of the service, and what Kubernetes gives where there is none.
const GRACE: &str = "terminationGracePeriodSeconds";
const GRACE_SECONDS: u64 = 30;

/// The part of the context that all services share.
pub(super) struct Shared {
    entries: Vec<(&'static str, Value)>,
}

impl Shared {
    pub(super) fn new(stack: &Stack, images: &BTreeMap<ServiceName, String>) -> Self {
        let environment = &stack.environment;
        let named = |name: &str, values: &Node| {
            Value::map([
                ("name", Value::text(name)),
                ("values", Value::from_node(values)),
            ])
        };
        let images = images.iter().map(|(name, reference)| {
            let place = stack
                .services
                .get(name)
                .and_then(|service| match &service.build {
                    Build::Image { span, .. } => Some(span.clone()),
                    _ => None,
                });
            let image = Value::text(reference).with_sources(place.into_iter().collect());
            (name.as_str(), image)
        });
        Self {
            entries: vec![
                ("stack", named(stack.name.as_str(), &stack.values)),
                ("env", named(environment.name.as_str(), &environment.values)),
                ("namespace", Value::text(environment.namespace.as_str())),
                ("images", Value::map(images)),
                ("secrets", secrets(stack)),
            ],
        }
    }

    /// The context of a service; without its `env` that of the templates in `env` itself.
    pub(super) fn of(&self, service: &Service, env: Option<&Env>) -> Value {
        let own = [
            ("service", Value::map(self::service(service, env))),
            ("values", Value::from_node(&service.values)),
        ];
        Value::map(self.entries.iter().cloned().chain(own))
    }
}

fn secrets(stack: &Stack) -> Value {
    let by_name = stack.environment.secrets.iter().map(|(name, secret)| {
        let reference = SecretRef {
            name: name.clone(),
            encodings: Vec::new(),
        };
        let value = Value::text(&reference.token()).with_sources(vec![secret.span.clone()]);
        (name.as_str().to_owned(), value)
    });
    let file = stack.environment.span.file();
    Value::new(Data::Secrets(Rc::new(Secrets {
        by_name: by_name.collect(),
        declared_in: file.path().display().to_string(),
    })))
}

fn service(service: &Service, env: Option<&Env>) -> Vec<(&'static str, Value)> {
    let source = |key: &str| service.source.get(key);
    let kind = match service.kind {
        WorkloadKind::Deployment => "Deployment",
        WorkloadKind::StatefulSet => "StatefulSet",
    };
    let service_type = match service.service_type {
        ServiceType::ClusterIp => "ClusterIP",
        ServiceType::NodePort => "NodePort",
        ServiceType::LoadBalancer => "LoadBalancer",
    };
    let needs = service.needs.iter().map(|name| Value::text(name.as_str()));
    let seconds = service.ready_within.as_secs().max(1);
    let mut entries = vec![
        ("name", Value::text(service.name.as_str())),
        ("kind", Value::text(kind).placed_at(source("kind"))),
        ("ports", ports(service, "ports", &service.ports)),
        (
            "serviceType",
            Value::text(service_type).placed_at(source("serviceType")),
        ),
        ("forward", ports(service, "forward", &service.forward)),
        ("volumes", volumes(service, |_| true)),
        ("claims", volumes(service, |volume| !volume.ephemeral)),
        ("scratch", volumes(service, |volume| volume.ephemeral)),
        ("resources", Value::from_node(&service.resources)),
        ("probes", probes(service)),
        ("probePort", probe_port(service)),
        (
            "needs",
            Value::list(needs.collect()).placed_at(source("needs")),
        ),
        (
            "readyWithin",
            Value::integer(seconds).placed_at(source("readyWithin")),
        ),
        ("replicas", own_value(service, "replicas", 1)),
        ("user", own_value(service, "user", USER)),
        (GRACE, own_value(service, GRACE, GRACE_SECONDS)),
        ("listenPort", listen_port(service)),
        ("podVolumes", Value::new(Data::Bool(pod_volumes(service)))),
    ];
    if let Some(env) = env {
        entries.push(("env", Value::map(env.plain.clone())));
        entries.push(("secretEnv", Value::map(env.secret.clone())));
        let has_secret = !env.secret.is_empty();
        entries.push(("hasSecretEnv", Value::new(Data::Bool(has_secret))));
    }
    entries
}

fn ports(service: &Service, key: &str, ports: &BTreeMap<PortName, u16>) -> Value {
    Value::map(ports.iter().map(|(name, port)| {
        let place = service.source.at([key, name.as_str()]);
        (name.as_str(), Value::integer(*port).placed_at(place))
    }))
    .placed_at(service.source.get(key))
}

fn volumes(service: &Service, wanted: impl Fn(&Volume) -> bool) -> Value {
    let wanted = service.volumes.iter().filter(|(_, volume)| wanted(volume));
    let volume = |name: &VolumeName, volume: &Volume| {
        let at = |key: &str| service.source.at(["volumes", name.as_str(), key]);
        Value::map([
            ("path", Value::text(&volume.path).placed_at(at("path"))),
            ("size", Value::text(&volume.size).placed_at(at("size"))),
            (
                "ephemeral",
                Value::new(Data::Bool(volume.ephemeral)).placed_at(at("ephemeral")),
            ),
        ])
        .placed_at(service.source.at(["volumes", name.as_str()]))
    };
    Value::map(wanted.map(|(name, found)| (name.as_str(), volume(name, found))))
        .placed_at(service.source.get("volumes"))
}

fn probes(service: &Service) -> Value {
    let path = |key: &str, path: Option<&String>| match path {
        Some(path) => Value::text(path).placed_at(service.source.at(["probes", key])),
        None => Value::new(Data::Null),
    };
    Value::map([
        ("ready", path("ready", service.probes.ready.as_ref())),
        ("live", path("live", service.probes.live.as_ref())),
    ])
}

/// The name of the port that is probed: the one that `probes` names, else `http`, else the first that is declared;
/// null without ports.
fn probe_port(service: &Service) -> Value {
    if let Some(port) = &service.probes.port {
        return Value::text(port.as_str()).placed_at(service.source.at(["probes", "port"]));
    }
    if service.ports.contains_key("http") {
        return Value::text("http");
    }
    let declared = service
        .source
        .get("ports")
        .map(Node::entries)
        .unwrap_or_default();
    let first = declared
        .iter()
        .map(|(key, _)| key.name.as_str())
        .find(|name| service.ports.contains_key(*name))
        .or_else(|| service.ports.keys().next().map(PortName::as_str));
    first.map_or_else(|| Value::new(Data::Null), Value::text)
}

/// What `PORT` is set to: the port `http`; null where there is none or `env` has a `PORT` of its own.
fn listen_port(service: &Service) -> Value {
    match service.ports.get("http") {
        Some(port) if !service.env.contains_key("PORT") => {
            Value::integer(*port).placed_at(service.source.at(["ports", "http"]))
        }
        _ => Value::new(Data::Null),
    }
}

/// Whether pods list volumes themselves: a StatefulSet adds those it claims.
fn pod_volumes(service: &Service) -> bool {
    let claims = service.kind == WorkloadKind::Deployment;
    service
        .volumes
        .values()
        .any(|volume| volume.ephemeral || claims)
}

/// A key of the service's `values`, or a default where it is not there or null.
fn own_value(service: &Service, key: &str, default: u64) -> Value {
    match service.values.get(key) {
        Some(node) if node.value != yaml::Value::Null => Value::from_node(node),
        _ => Value::integer(default),
    }
}
