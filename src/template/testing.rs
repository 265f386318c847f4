//! Small stacks for tests of this module.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::diagnostic::{Diagnostic, Explain, SourceFile, Span};
use crate::manifest::Object;
use crate::stack::{
    Build, CargoBuild, ClusterTarget, EnvTemplate, Environment, Probes, Secret, SecretSource,
    Service, ServiceName, ServiceType, Stack, Volume, WorkloadKind,
};
use crate::yaml::{self, Node};

use super::load::Templates;
use super::render::render;

pub(super) fn node(path: &str, text: &str) -> Node {
    yaml::document(&SourceFile::new(path, text)).unwrap()
}

/// A stack `shop` in environment `local` with secrets `password` and `api-key`, and these services.
pub(super) fn stack(services: Vec<Service>) -> Stack {
    let environment = node(
        "environments/local.yaml",
        "values: { domain: example.com }\nsecrets:\n  password: { generate: 32 }\n  api-key: { generate: 8 }\n",
    );
    let secrets = environment.get("secrets").unwrap().entries().iter();
    let secret = |span: &Span| Secret {
        source: SecretSource::Generate(32),
        span: span.clone(),
    };
    Stack {
        root: "/nowhere".into(),
        name: "shop".parse().unwrap(),
        values: node("stack.yaml", "log_level: info\nempty: null\n"),
        environment: Environment {
            name: "local".parse().unwrap(),
            span: environment.span.clone(),
            cluster: ClusterTarget::Local,
            namespace: "shop-local".parse().unwrap(),
            registry: None,
            protected: false,
            values: environment.get("values").unwrap().clone(),
            secrets: secrets
                .map(|(key, value)| (key.name.parse().unwrap(), secret(&value.span)))
                .collect(),
        },
        disabled: [].into(),
        services: services
            .into_iter()
            .map(|service| (service.name.clone(), service))
            .collect(),
    }
}

/// A service as its service.yaml has it, as far as templates are concerned.
pub(super) fn service(name: &str, text: &str) -> Service {
    let source = node(&format!("services/{name}/service.yaml"), text);
    let empty = node("empty.yaml", "{}");
    let section = |key: &str| source.get(key).unwrap_or(&empty).clone();
    let string = |node: &Node| node.to_json().as_str().map(str::to_owned);
    let ports = |key: &str| {
        let port = |node: &Node| u16::try_from(node.to_json().as_u64().unwrap()).unwrap();
        let entries = section(key);
        let entries = entries.entries().iter();
        entries
            .map(|(key, value)| (key.name.parse().unwrap(), port(value)))
            .collect()
    };
    let volume = |node: &Node| Volume {
        path: node.get("path").and_then(string).unwrap(),
        size: node.get("size").and_then(string).unwrap(),
        ephemeral: node
            .get("ephemeral")
            .is_some_and(|node| node.to_json() == true),
    };
    let variable = |node: &Node| EnvTemplate {
        text: string(node).unwrap_or_else(|| node.to_json().to_string()),
        span: node.span.clone(),
    };
    Service {
        name: name.parse().unwrap(),
        build: Build::Native(Box::new(CargoBuild::new(name, source.span.clone()).into())),
        kind: match source.get("kind").and_then(string).as_deref() {
            Some("StatefulSet") => WorkloadKind::StatefulSet,
            _ => WorkloadKind::Deployment,
        },
        ports: ports("ports"),
        service_type: match source.get("serviceType").and_then(string).as_deref() {
            Some("NodePort") => ServiceType::NodePort,
            Some("LoadBalancer") => ServiceType::LoadBalancer,
            _ => ServiceType::ClusterIp,
        },
        forward: ports("forward"),
        env: section("env")
            .entries()
            .iter()
            .map(|(key, value)| (key.name.parse().unwrap(), variable(value)))
            .collect(),
        volumes: section("volumes")
            .entries()
            .iter()
            .map(|(key, value)| (key.name.parse().unwrap(), volume(value)))
            .collect(),
        resources: section("resources"),
        probes: Probes {
            ready: source.at(["probes", "ready"]).and_then(string),
            live: source.at(["probes", "live"]).and_then(string),
            port: source
                .at(["probes", "port"])
                .and_then(string)
                .map(|port| port.parse().unwrap()),
        },
        ready_within: Duration::from_secs(30),
        needs: Vec::new(),
        values: section("values"),
        source,
    }
}

pub(super) fn images(stack: &Stack) -> BTreeMap<ServiceName, String> {
    let image = |name: &ServiceName| (name.clone(), format!("registry.test/{name}:1"));
    stack.services.keys().map(image).collect()
}

/// Templates for every service of `stack`: pairs of a name and a text; those named `partials/…` are partials.
pub(super) fn templates(stack: &Stack, files: &[(&str, &str)]) -> Templates {
    let file = |name: &str, text: &str| SourceFile::new(format!("templates/{name}"), text);
    let (partials, plain): (Vec<_>, Vec<_>) = files
        .iter()
        .partition(|(name, _)| name.starts_with("partials/"));
    let plain: Vec<Arc<SourceFile>> = plain.iter().map(|(name, text)| file(name, text)).collect();
    let bare = |name: &str| {
        name.trim_start_matches("partials/")
            .trim_end_matches(".hbs")
            .to_owned()
    };
    Templates {
        services: stack
            .services
            .keys()
            .map(|name| (name.clone(), plain.clone()))
            .collect(),
        partials: partials
            .iter()
            .map(|(name, text)| (bare(name), file(name, text)))
            .collect(),
    }
}

/// The objects that one template `t.hbs` gives for one service.
pub(super) fn objects(service: Service, template: &str) -> Result<Vec<Object>, Vec<Diagnostic>> {
    let stack = stack(vec![service]);
    let templates = templates(&stack, &[("t.hbs", template)]);
    render(&stack, &templates, &images(&stack)).map_err(|problems| problems.diagnostics())
}

/// The field `data` of a ConfigMap whose template ends in `fields`, for a service with these `values`.
pub(super) fn data(values: &str, fields: &str) -> Result<serde_json::Value, Vec<Diagnostic>> {
    let service = service("web", &format!("values:\n{values}"));
    let mut objects = objects(service, &format!("{CONFIG_MAP}{fields}"))?;
    assert_eq!(objects.len(), 1);
    Ok(objects.remove(0).value["data"].take())
}

/// Five lines, so that the first line of `fields` is line 6.
pub(super) const CONFIG_MAP: &str =
    "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{service.name}}\ndata:\n";

/// `CODE file:line:column message` of each.
pub(super) fn lines(problems: &[Diagnostic]) -> Vec<String> {
    let line = |problem: &Diagnostic| {
        let place = problem
            .labels
            .first()
            .map(|label| label.span.to_string())
            .unwrap_or_default();
        format!("{} {place} {}", problem.code, problem.message)
    };
    problems.iter().map(line).collect()
}
