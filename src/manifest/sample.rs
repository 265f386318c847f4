//! A small stack and objects of it, for tests.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::diagnostic::{SourceFile, Span};
use crate::stack::{
    Build, ClusterTarget, Environment, Probes, Service, ServiceName, ServiceType, Stack,
    WorkloadKind,
};
use crate::yaml::{self, Node};

use super::object::{Object, Origin, Origins};

/// The stack `shop` in `staging`: `web` needs `api`, `api` needs `db`.
pub(crate) fn stack() -> Stack {
    Stack {
        root: PathBuf::new(),
        name: "shop".parse().unwrap(),
        values: empty(),
        environment: Environment {
            name: "staging".parse().unwrap(),
            span: span("environments/staging.yaml"),
            cluster: ClusterTarget::Local,
            namespace: "shop-staging".parse().unwrap(),
            registry: None,
            protected: false,
            values: empty(),
            secrets: BTreeMap::new(),
        },
        disabled: [].into(),
        services: [("web", vec!["api"]), ("api", vec!["db"]), ("db", vec![])]
            .into_iter()
            .map(|(name, needs)| (name.parse().unwrap(), service(name, &needs)))
            .collect(),
    }
}

/// An object of `service` that was written in `<service>.yaml.hbs`.
pub(crate) fn object(service: &str, value: Value) -> Object {
    let mut origins = Origins::default();
    origins.insert(
        String::new(),
        Origin {
            template: span(&format!("{service}.yaml.hbs")),
            values: Vec::new(),
        },
    );
    Object {
        value,
        service: Some(service.parse().unwrap()),
        origins,
    }
}

fn service(name: &str, needs: &[&str]) -> Service {
    Service {
        name: name.parse().unwrap(),
        source: empty(),
        build: Build::Image {
            reference: format!("registry.example.com/{name}:1"),
            span: span("services/service.yaml"),
        },
        kind: WorkloadKind::Deployment,
        ports: BTreeMap::new(),
        service_type: ServiceType::ClusterIp,
        forward: BTreeMap::new(),
        env: BTreeMap::new(),
        volumes: BTreeMap::new(),
        resources: empty(),
        probes: Probes::default(),
        ready_within: Duration::from_secs(30),
        needs: needs
            .iter()
            .map(|need| need.parse::<ServiceName>().unwrap())
            .collect(),
        values: empty(),
    }
}

fn empty() -> Node {
    Node {
        span: span("stack.yaml"),
        value: yaml::Value::Map(Vec::new()),
    }
}

fn span(path: &str) -> Span {
    Span::start_of(&SourceFile::new(path, ""))
}
