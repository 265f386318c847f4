//! A stack of one service, and files read against it.

use std::path::Path;

use super::parse;
use super::spec::Suite;
use crate::diagnostic::{Diagnostic, SourceFile, Span};
use crate::stack::{
    Build, ClusterTarget, Environment, Probes, Secret, SecretName, SecretSource, Service,
    ServiceName, ServiceType, Stack, WorkloadKind,
};
use crate::yaml::{self, Node};

fn node(text: &str) -> Node {
    yaml::document(&SourceFile::new("values.yaml", text)).unwrap()
}

fn secret(name: &str) -> (SecretName, Secret) {
    let source = SecretSource::Generate(32);
    let span = node("").span;
    (name.parse().unwrap(), Secret { source, span })
}

/// `birthday` with the ports `http` and `metrics`.
pub(super) fn stack() -> Stack {
    let service = Service {
        name: "birthday".parse().unwrap(),
        source: node(""),
        build: Build::Image {
            reference: "birthday:1".into(),
            span: node("").span,
        },
        kind: WorkloadKind::Deployment,
        ports: [("http", 8080), ("metrics", 9090)]
            .map(|(name, port)| (name.parse().unwrap(), port))
            .into(),
        service_type: ServiceType::ClusterIp,
        forward: [("http".parse().unwrap(), 18081)].into(),
        env: [].into(),
        volumes: [].into(),
        resources: node(""),
        probes: Probes::default(),
        ready_within: std::time::Duration::from_secs(30),
        needs: Vec::new(),
        values: node("greeting: Hello\nreplicas: 2\nnothing: \"\""),
    };
    let disabled = Span::start_of(&SourceFile::new("environments/local.yaml", ""));
    Stack {
        root: "/nowhere".into(),
        name: "seedling".parse().unwrap(),
        values: node("log_level: info"),
        environment: Environment {
            name: "local".parse().unwrap(),
            span: Span::start_of(&SourceFile::new("environments/local.yaml", "")),
            cluster: ClusterTarget::Local,
            namespace: "seedling".parse().unwrap(),
            registry: None,
            protected: false,
            values: node("domain: example.com"),
            secrets: ["api-key", "login"].map(secret).into(),
        },
        services: [(service.name.clone(), service)].into(),
        disabled: [("mailer".parse().unwrap(), disabled)].into(),
    }
}

/// Reads a smoke.yaml of `birthday`, whose folder holds `smoke/pixel.png` alone.
pub(super) fn read(text: &str) -> Result<Suite, Vec<Diagnostic>> {
    let stack = stack();
    let service: ServiceName = "birthday".parse().unwrap();
    let document = yaml::document(&SourceFile::new("services/birthday/smoke.yaml", text))?;
    parse::suite(&document, &stack, &stack.services[&service], &|path| {
        if path == Path::new("smoke/pixel.png") {
            Ok(b"\x89PNG".to_vec())
        } else {
            Err(std::io::ErrorKind::NotFound.into())
        }
    })
}
