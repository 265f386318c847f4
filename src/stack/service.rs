//! The shape of a service's file: from the merged [`Node`] to a [`Service`].

use std::path::PathBuf;
use std::time::Duration;

use oci_image::Reference;

use crate::diagnostic::{Code, Diagnostic, Span};
use crate::yaml::{Decoder, Node};

use super::layers;
use super::model::{
    Build, BuildSecret, BuildSecretSource, CommandBuild, DockerfileBuild, EnvTemplate, Probes,
    Service, ServiceType, Volume, WorkloadKind,
};
use crate::name::ServiceName;

/// `build` names no builder, or more than one.
const BUILD: Code = Code::new("S0121");

/// What `readyWithin` is where a null takes the default away.
const READY_WITHIN: Duration = Duration::from_secs(60);

const KEYS: &[&str] = &[
    "enabled",
    "build",
    "kind",
    "ports",
    "serviceType",
    "forward",
    "env",
    "volumes",
    "resources",
    "probes",
    "readyWithin",
    "needs",
    "values",
];
/// The keys that choose another builder than the native one, each with the further keys it takes.
const BUILDERS: &[(&str, &[&str])] = &[
    (
        "dockerfile",
        &[
            "context",
            "target",
            "args",
            "secrets",
            "ssh",
            "cacheFrom",
            "platform",
        ],
    ),
    ("command", &["inputs"]),
    ("image", &[]),
];

/// Where a merged service file says `enabled: false`.
pub(super) fn disabled(source: &Node, decoder: &mut Decoder) -> Option<Span> {
    let node = decoder.optional(source, "enabled")?;
    let is_enabled = decoder.boolean(node)?;
    (!is_enabled).then(|| node.span.clone())
}

/// Reads a merged service file; `forward` holds only the declared ports. A service that is disabled may do without
/// `build`, and is none then.
pub(super) fn decode(
    name: &ServiceName,
    source: Node,
    is_disabled: bool,
    decoder: &mut Decoder,
) -> Option<Service> {
    if !decoder.keys(&source, KEYS) {
        return None;
    }
    let build = if is_disabled {
        decoder.optional(&source, "build")
    } else {
        decoder.required(&source, "build")
    };
    let build = build.and_then(|node| build_of(name, node, decoder));
    let kind = match source.get("kind") {
        Some(node) => kind(node, decoder),
        None => Some(WorkloadKind::Deployment),
    };
    let service_type = match decoder.optional(&source, "serviceType") {
        Some(node) => service_type(node, decoder),
        None => Some(ServiceType::default()),
    };
    let field = |key: &str| source.get(key);
    let ports = field("ports")
        .map(|node| decoder.map(node, Decoder::port))
        .unwrap_or_default();
    let forward = field("forward")
        .map(|node| decoder.map(node, Decoder::port))
        .unwrap_or_default();
    let env = field("env")
        .map(|node| decoder.map(node, env_template))
        .unwrap_or_default();
    let volumes = field("volumes")
        .map(|node| decoder.map(node, volume))
        .unwrap_or_default();
    let resources = map_or_empty(&source, "resources", decoder);
    decoder.keys(&resources, &["requests", "limits"]);
    let probes = field("probes")
        .map(|node| probes(node, decoder))
        .unwrap_or_default();
    let ready_within = match decoder.optional(&source, "readyWithin") {
        Some(node) => ready_within(node, decoder).unwrap_or(READY_WITHIN),
        None => READY_WITHIN,
    };
    let needs = field("needs")
        .map(|node| decoder.list(node, Decoder::parsed))
        .unwrap_or_default();
    let values = map_or_empty(&source, "values", decoder);
    Some(Service {
        name: name.clone(),
        build: build?,
        kind: kind?,
        ports,
        service_type: service_type?,
        forward,
        env,
        volumes,
        resources,
        probes,
        ready_within,
        needs,
        values,
        source,
    })
}

fn ready_within(node: &Node, decoder: &mut Decoder) -> Option<Duration> {
    let duration = decoder.duration(node)?;
    if duration < Duration::from_secs(1) {
        decoder.bad_value(&node.span, "a pod gets at least a second to become ready");
        return None;
    }
    Some(duration)
}

fn map_or_empty(source: &Node, key: &str, decoder: &mut Decoder) -> Node {
    use crate::yaml::Value;
    let empty = Node {
        span: source.span.clone(),
        value: Value::Map(Vec::new()),
    };
    match decoder.optional(source, key) {
        Some(node) if matches!(node.value, Value::Map(_)) => node.clone(),
        Some(node) => {
            decoder.wrong_type(node, "a map");
            empty
        }
        None => empty,
    }
}

fn kind(node: &Node, decoder: &mut Decoder) -> Option<WorkloadKind> {
    match decoder.string(node)?.as_str() {
        "Deployment" => Some(WorkloadKind::Deployment),
        "StatefulSet" => Some(WorkloadKind::StatefulSet),
        other => {
            decoder.bad_value(
                &node.span,
                format!("`{other}` is neither Deployment nor StatefulSet"),
            );
            None
        }
    }
}

fn service_type(node: &Node, decoder: &mut Decoder) -> Option<ServiceType> {
    match decoder.string(node)?.as_str() {
        "ClusterIP" => Some(ServiceType::ClusterIp),
        "NodePort" => Some(ServiceType::NodePort),
        "LoadBalancer" => Some(ServiceType::LoadBalancer),
        other => {
            decoder.bad_value(
                &node.span,
                format!("`{other}` is none of ClusterIP, NodePort and LoadBalancer"),
            );
            None
        }
    }
}

fn env_template(decoder: &mut Decoder, node: &Node) -> Option<EnvTemplate> {
    Some(EnvTemplate {
        text: decoder.scalar_text(node)?,
        span: node.span.clone(),
    })
}

fn volume(decoder: &mut Decoder, node: &Node) -> Option<Volume> {
    if !decoder.keys(node, &["path", "size", "ephemeral"]) {
        return None;
    }
    let path = decoder.required(node, "path").and_then(|path| {
        let text = decoder.string(path)?;
        if !text.starts_with('/') || text == "/" {
            decoder.bad_value(
                &path.span,
                "a volume is mounted at an absolute path below /",
            );
            return None;
        }
        Some(text)
    });
    let size = decoder
        .required(node, "size")
        .and_then(|size| decoder.text(size));
    let ephemeral = match decoder.optional(node, "ephemeral") {
        Some(node) => decoder.boolean(node)?,
        None => false,
    };
    Some(Volume {
        path: path?,
        size: size?,
        ephemeral,
    })
}

fn probes(node: &Node, decoder: &mut Decoder) -> Probes {
    if !decoder.keys(node, &["ready", "live", "port"]) {
        return Probes::default();
    }
    let mut path = |key: &str| {
        let node = decoder.optional(node, key)?;
        let text = decoder.string(node)?;
        if !text.starts_with('/') {
            decoder.bad_value(&node.span, "a probe is a path that starts with /");
            return None;
        }
        Some(text)
    };
    Probes {
        ready: path("ready"),
        live: path("live"),
        port: decoder
            .optional(node, "port")
            .and_then(|node| decoder.parsed(node)),
    }
}

fn build_of(service: &ServiceName, node: &Node, decoder: &mut Decoder) -> Option<Build> {
    let others: Vec<_> = BUILDERS
        .iter()
        .filter(|(key, _)| node.get(key).is_some())
        .collect();
    let is_native = layers::LAYERS.iter().any(|key| node.get(key).is_some());
    match (is_native, &others[..]) {
        (true, []) => {
            layers::decode(service, node, decoder).map(|build| Build::Native(Box::new(build)))
        }
        (false, [(builder, further)]) => {
            let known: Vec<&str> = [&[*builder], *further].concat();
            decoder.keys(node, &known);
            match *builder {
                "dockerfile" => dockerfile(node, decoder),
                "command" => command(node, decoder),
                _ => image(node, decoder),
            }
        }
        (_, found) => {
            no_builder(service, node, is_native || !found.is_empty(), decoder);
            None
        }
    }
}

fn no_builder(service: &ServiceName, node: &Node, any: bool, decoder: &mut Decoder) {
    let names: Vec<&str> = layers::LAYERS
        .iter()
        .copied()
        .chain(BUILDERS.iter().map(|(key, _)| *key))
        .collect();
    if !any && !node.entries().is_empty() {
        decoder.keys(node, &names);
    }
    let found = match any {
        true => "more than one builder",
        false => "no builder",
    };
    decoder.report(
        Diagnostic::error(BUILD, format!("`build` of {service} names {found}"))
            .at(&node.span, "")
            .hint(format!(
                "one of {}; only cargo, files and packages go together",
                names.join(", ")
            )),
    );
}

fn image(node: &Node, decoder: &mut Decoder) -> Option<Build> {
    let image = node.get("image")?;
    let reference = image_reference(image, decoder)?;
    Some(Build::Image {
        reference,
        span: image.span.clone(),
    })
}

fn image_reference(node: &Node, decoder: &mut Decoder) -> Option<String> {
    let text = decoder.text(node)?;
    if let Err(error) = text.parse::<Reference>() {
        decoder.bad_value(&node.span, error.to_string());
        return None;
    }
    Some(text)
}

fn dockerfile(node: &Node, decoder: &mut Decoder) -> Option<Build> {
    let file = node.get("dockerfile")?;
    let mut build = DockerfileBuild::new(repository_path(file, decoder)?, file.span.clone());
    if let Some(node) = decoder.optional(node, "context") {
        build.context = repository_path(node, decoder)?;
    }
    build.target = decoder
        .optional(node, "target")
        .and_then(|node| decoder.text(node));
    if let Some(node) = decoder.optional(node, "args") {
        build.args = decoder.map(node, |decoder, node| decoder.scalar_text(node));
    }
    if let Some(node) = decoder.optional(node, "secrets") {
        build.secrets = decoder.map(node, build_secret);
    }
    if let Some(node) = decoder.optional(node, "ssh") {
        build.ssh = decoder.boolean(node)?.then(|| node.span.clone());
    }
    if let Some(node) = decoder.optional(node, "cacheFrom") {
        build.cache_from = decoder.list(node, |decoder, node| image_reference(node, decoder));
    }
    if let Some(node) = decoder.optional(node, "platform") {
        build.platform = Some(decoder.parsed(node)?);
    }
    Some(Build::Dockerfile(build))
}

/// `{ env: VARIABLE }` or `{ file: PATH }`
fn build_secret(decoder: &mut Decoder, node: &Node) -> Option<BuildSecret> {
    if !decoder.keys(node, &["env", "file"]) {
        return None;
    }
    let source = match (node.get("env"), node.get("file")) {
        (Some(env), None) => BuildSecretSource::Env(decoder.text(env)?),
        (None, Some(file)) => BuildSecretSource::File(repository_path(file, decoder)?),
        _ => {
            decoder.bad_value(
                &node.span,
                "a build secret comes from exactly one of `env` and `file`",
            );
            return None;
        }
    };
    Some(BuildSecret {
        source,
        span: node.span.clone(),
    })
}

fn command(node: &Node, decoder: &mut Decoder) -> Option<Build> {
    let argv = node.get("command")?;
    let command = decoder.list(argv, Decoder::string);
    if command.is_empty() {
        decoder.bad_value(&argv.span, "a command has at least a program");
        return None;
    }
    let inputs = decoder
        .required(node, "inputs")
        .map(|node| decoder.list(node, |decoder, node| repository_path(node, decoder)))?;
    Some(Build::Command(CommandBuild {
        command,
        inputs,
        span: argv.span.clone(),
    }))
}

/// A path relative to the repository that does not leave it.
pub(super) fn repository_path(node: &Node, decoder: &mut Decoder) -> Option<PathBuf> {
    use std::path::Component;
    let path = PathBuf::from(decoder.text(node)?);
    let stays = path
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !stays {
        decoder.bad_value(
            &node.span,
            "a path here is relative to the repository and does not leave it",
        );
        return None;
    }
    Some(
        path.components()
            .filter(|part| *part != Component::CurDir)
            .collect(),
    )
}
