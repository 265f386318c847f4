//! Files → [`Stack`], or every problem at once. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::diagnostic::{Code, Diagnostic, Problems, Span, did_you_mean};
use crate::yaml::{Decoder, Node, Value};

use super::environment;
use super::model::{Service, Stack};
use super::{overlay, service};
use crate::name::{EnvName, PortName, ServiceName, StackName};

/// A name of a service that the stack does not have.
const UNKNOWN_SERVICE: Code = Code::new("S0130");
/// Services that need each other.
const NEEDS_CYCLE: Code = Code::new("S0131");
/// Two ports forwarded to one local port.
const SAME_LOCAL_PORT: Code = Code::new("S0132");
/// `forward` or a probe without the port it is about.
const UNKNOWN_PORT: Code = Code::new("S0133");
/// Two volumes in one place.
const SAME_PATH: Code = Code::new("S0134");
/// A service needs one that is not there.
const NEEDS_DISABLED: Code = Code::new("S0135");
/// An environment without services.
const ALL_DISABLED: Code = Code::new("S0136");

const STACK_KEYS: &[&str] = &["name", "services", "values"];

/// Folders of `templates/` that belong to no service.
const RESERVED_NAMES: &[&str] = &["partials", "service"];

/// Local ports that are derived from names: above the registered ones most tools use, below those that
/// Linux hands out (ip_local_port_range starts at 32768).
const DERIVED_PORTS: std::ops::Range<u16> = 20_000..30_000;

/// Everything that was read for one environment.
#[derive(Debug)]
pub struct Files {
    /// `stack.yaml`.
    pub stack: Node,
    /// The environment's chain of `extends`, root first, the environment itself last.
    pub environments: Vec<Node>,
    /// `services/<name>/service.yaml` of every listed service.
    pub services: BTreeMap<ServiceName, Node>,
    /// What a service has when nothing is said.
    pub defaults: Node,
}

/// The name and the services that `stack.yaml` lists, each with its place.
pub(super) fn listed(
    stack: &Node,
    decoder: &mut Decoder,
) -> Option<(StackName, BTreeMap<ServiceName, Span>)> {
    if !decoder.keys(stack, STACK_KEYS) {
        return None;
    }
    let name = decoder
        .required(stack, "name")
        .and_then(|node| decoder.parsed(node));
    let services = decoder.required(stack, "services").map(|node| {
        decoder.list(node, |decoder, node| {
            Some((decoder.parsed::<ServiceName>(node)?, node.span.clone()))
        })
    })?;
    if services.is_empty() && decoder.problems.is_empty() {
        let span = decoder
            .optional(stack, "services")
            .map_or(&stack.span, |node| &node.span)
            .clone();
        decoder.bad_value(&span, "a stack has at least one service");
    }
    let mut unique: BTreeMap<ServiceName, Span> = BTreeMap::new();
    for (service, span) in services {
        if RESERVED_NAMES.contains(&service.as_str()) {
            let message = format!(
                "a service cannot be called {service}: templates/{service}/ has a meaning of its own"
            );
            decoder.bad_value(&span, message);
        } else if unique.insert(service.clone(), span.clone()).is_some() {
            decoder.bad_value(&span, format!("the service {service} is listed twice"));
        }
    }
    Some((name?, unique))
}

/// The stack in the environment whose chain is in `files`.
pub fn resolve(root: &Path, environment: &EnvName, files: &Files) -> Result<Stack, Problems> {
    let mut decoder = Decoder::default();
    let resolved = stack(root, environment, files, &mut decoder);
    Problems::check(decoder.problems)?;
    Ok(resolved.expect("an absent value was reported"))
}

fn stack(root: &Path, env: &EnvName, files: &Files, decoder: &mut Decoder) -> Option<Stack> {
    let (name, listed) = listed(&files.stack, decoder)?;
    let values = match decoder.optional(&files.stack, "values") {
        Some(node) => node.clone(),
        None => Node {
            span: files.stack.span.clone(),
            value: Value::Map(Vec::new()),
        },
    };
    if !matches!(values.value, Value::Map(_)) {
        decoder.wrong_type(&values, "a map");
    }
    let environment = environment::merge_chain(&files.environments, decoder)
        .and_then(|merged| environment::decode(env, &name, &merged, decoder));
    overlays_name_services(files, &listed, decoder);
    let (mut services, mut disabled) = (BTreeMap::new(), BTreeMap::new());
    for (service, file) in &files.services {
        let before = decoder.problems.len();
        let Some(merged) = merged(service, file, files, decoder) else {
            continue;
        };
        let off = service::disabled(&merged, decoder);
        let decoded = service::decode(service, merged, off.is_some(), decoder);
        // What follows from a mistake in the file itself would only hide it.
        if let (Some(decoded), true) = (&decoded, decoder.problems.len() == before) {
            check_ports(decoded, decoder);
        }
        match (off, decoded) {
            (Some(span), _) => drop(disabled.insert(service.clone(), span)),
            (None, Some(decoded)) => drop(services.insert(service.clone(), decoded)),
            (None, None) => {}
        }
    }
    check_needs(&services, &listed, decoder);
    check_needs_are_enabled(&services, &disabled, decoder);
    // One that could not be read is a problem of its own.
    if disabled.len() == listed.len() {
        check_any_is_enabled(env, &disabled, decoder);
    }
    check_volumes(&services, decoder);
    complete_forward(&mut services, decoder);
    Some(Stack {
        root: root.to_path_buf(),
        name,
        values,
        environment: environment?,
        services,
        disabled,
    })
}

/// The service's file with what its environment changes.
fn merged(name: &ServiceName, file: &Node, files: &Files, decoder: &mut Decoder) -> Option<Node> {
    if !matches!(file.value, Value::Map(_)) {
        decoder.wrong_type(file, "a map");
        return None;
    }
    let declared = declared(&files.defaults, file);
    let mut merged = overlay::merge(files.defaults.clone(), file);
    for change in environment::service_overlays(&files.environments, name.as_str()) {
        if matches!(change.value, Value::Map(_)) {
            merged = overlay::service(merged, change, &declared, &mut decoder.problems);
        } else {
            decoder.wrong_type(change, "a map");
        }
    }
    merged.span = file.span.clone();
    Some(merged)
}

/// The service as its file has it, on top of the defaults, with its nulls: they declare keys.
fn declared(defaults: &Node, file: &Node) -> Node {
    let mut entries = file.entries().to_vec();
    for (key, default) in defaults.entries() {
        match entries.iter_mut().find(|(name, _)| name.name == key.name) {
            None => entries.push((key.clone(), default.clone())),
            Some((_, own)) => {
                let missing: Vec<_> = default
                    .entries()
                    .iter()
                    .filter(|(name, _)| own.get(&name.name).is_none())
                    .cloned()
                    .collect();
                if let Value::Map(own) = &mut own.value {
                    own.extend(missing);
                }
            }
        }
    }
    Node {
        span: file.span.clone(),
        value: Value::Map(entries),
    }
}

/// Every key of `services` in an environment is a service of the stack.
fn overlays_name_services(
    files: &Files,
    listed: &BTreeMap<ServiceName, Span>,
    decoder: &mut Decoder,
) {
    for file in &files.environments {
        let Some(services) = decoder.optional(file, "services") else {
            continue;
        };
        if !matches!(services.value, Value::Map(_)) {
            decoder.wrong_type(services, "a map");
        }
        for (key, _) in services.entries() {
            if !listed.contains_key(key.name.as_str()) {
                decoder.report(unknown_service(&key.name, &key.span, listed.keys()));
            }
        }
    }
}

/// The problem of a name that is no service of the stack.
fn unknown_service<'a>(
    name: &str,
    span: &Span,
    services: impl Iterator<Item = &'a ServiceName> + Clone,
) -> Diagnostic {
    let problem = Diagnostic::error(
        UNKNOWN_SERVICE,
        format!("the stack has no service `{name}`"),
    )
    .at(span, "");
    match did_you_mean(name, services.clone().map(ServiceName::as_str)) {
        Some(near) => problem.hint(format!("did you mean `{near}`?")),
        None => {
            let names: Vec<&str> = services.map(ServiceName::as_str).collect();
            problem.hint(format!("stack.yaml lists {}", names.join(", ")))
        }
    }
}

fn check_needs(
    services: &BTreeMap<ServiceName, Service>,
    listed: &BTreeMap<ServiceName, Span>,
    decoder: &mut Decoder,
) {
    for service in services.values() {
        for need in &service.needs {
            if !listed.contains_key(need) {
                let span = span_of_need(service, need);
                decoder.report(unknown_service(need.as_str(), &span, listed.keys()));
            }
        }
    }
    let mut done = BTreeSet::new();
    for name in services.keys() {
        if let Some(cycle) = find_cycle(name, services, &mut Vec::new(), &mut done) {
            let path: Vec<&str> = cycle.iter().map(|name| name.as_str()).collect();
            let first = &services[cycle[0]];
            let message = format!(
                "services need each other: {} → {}",
                path.join(" → "),
                path[0]
            );
            let mut problem = Diagnostic::error(NEEDS_CYCLE, message);
            for (position, name) in cycle.iter().enumerate() {
                let next = cycle[(position + 1) % cycle.len()];
                let service = services.get(*name).unwrap_or(first);
                problem = problem.at(&span_of_need(service, next), format!("{name} needs {next}"));
            }
            decoder
                .report(problem.hint("remove one of these: a service that retries needs no order"));
            return;
        }
    }
}

fn check_needs_are_enabled(
    services: &BTreeMap<ServiceName, Service>,
    disabled: &BTreeMap<ServiceName, Span>,
    decoder: &mut Decoder,
) {
    for service in services.values() {
        for need in &service.needs {
            let Some(span) = disabled.get(need) else {
                continue;
            };
            let name = &service.name;
            decoder.report(
                Diagnostic::error(
                    NEEDS_DISABLED,
                    format!("{name} needs {need}, which is disabled in this environment"),
                )
                .at(&span_of_need(service, need), "")
                .at(span, format!("{need} is disabled here"))
                .hint(format!(
                    "enable {need}, disable {name} too, or give {name} other `needs` in the environment"
                )),
            );
        }
    }
}

/// An empty list was reported where it was read.
fn check_any_is_enabled(
    env: &EnvName,
    disabled: &BTreeMap<ServiceName, Span>,
    decoder: &mut Decoder,
) {
    let mut places = disabled.iter();
    let Some((first, span)) = places.next() else {
        return;
    };
    let message = format!("a stack has at least one service, and {env} disables them all");
    let problem =
        Diagnostic::error(ALL_DISABLED, message).at(span, format!("{first} is disabled here"));
    let problem = places.fold(problem, |problem, (name, span)| {
        problem.at(span, format!("{name} is disabled here"))
    });
    decoder.report(problem.hint("enable one of them"));
}

fn span_of_need(service: &Service, need: &ServiceName) -> Span {
    let needs = service.source.get("needs");
    let item = needs.and_then(|node| match &node.value {
        Value::List(items) => items
            .iter()
            .find(|item| item.value == Value::String(need.to_string())),
        _ => None,
    });
    item.or(needs).unwrap_or(&service.source).span.clone()
}

fn find_cycle<'a>(
    name: &'a ServiceName,
    services: &'a BTreeMap<ServiceName, Service>,
    path: &mut Vec<&'a ServiceName>,
    done: &mut BTreeSet<&'a ServiceName>,
) -> Option<Vec<&'a ServiceName>> {
    if let Some(start) = path.iter().position(|visited| *visited == name) {
        return Some(path[start..].to_vec());
    }
    if done.contains(name) {
        return None;
    }
    path.push(name);
    let needs = services
        .get(name)
        .map(|service| service.needs.as_slice())
        .unwrap_or_default();
    let cycle = needs
        .iter()
        .find_map(|need| find_cycle(need, services, path, done));
    path.pop();
    done.insert(name);
    cycle
}

fn check_ports(service: &Service, decoder: &mut Decoder) {
    let known: Vec<&str> = service.ports.keys().map(PortName::as_str).collect();
    let declared = service
        .source
        .get("forward")
        .map(Node::entries)
        .unwrap_or_default();
    for (key, _) in declared
        .iter()
        .filter(|(key, _)| service.forward.contains_key(key.name.as_str()))
    {
        if !service.ports.contains_key(key.name.as_str()) {
            let problem = Diagnostic::error(
                UNKNOWN_PORT,
                format!("{} has no port `{}`", service.name, key.name),
            )
            .at(&key.span, "");
            decoder.report(match did_you_mean(&key.name, known.iter().copied()) {
                Some(near) => problem.hint(format!("did you mean `{near}`?")),
                None => problem.hint("`forward` takes the names of `ports`"),
            });
        }
    }
    let mut numbers: BTreeMap<u16, &PortName> = BTreeMap::new();
    for (name, number) in &service.ports {
        if let Some(other) = numbers.insert(*number, name) {
            let node = service
                .source
                .at(["ports", name.as_str()])
                .unwrap_or(&service.source);
            decoder.bad_value(
                &node.span,
                format!("the ports {other} and {name} have one number"),
            );
        }
    }
    let probed = service.probes.ready.is_some() || service.probes.live.is_some();
    if probed && service.ports.is_empty() {
        let span = &service.source.get("probes").unwrap_or(&service.source).span;
        decoder.report(
            Diagnostic::error(
                UNKNOWN_PORT,
                format!("{} has probes but no port to probe", service.name),
            )
            .at(span, "")
            .hint("declare one: `ports: { http: 8080 }`"),
        );
    } else {
        check_probed_port(service, &known, decoder);
    }
}

fn check_probed_port(service: &Service, known: &[&str], decoder: &mut Decoder) {
    let Some(port) = &service.probes.port else {
        return;
    };
    if service.ports.contains_key(port) {
        return;
    }
    let node = service.source.at(["probes", "port"]);
    let problem = Diagnostic::error(
        UNKNOWN_PORT,
        format!("{} has no port `{port}`", service.name),
    )
    .at(&node.unwrap_or(&service.source).span, "");
    decoder.report(match did_you_mean(port.as_str(), known.iter().copied()) {
        Some(near) => problem.hint(format!("did you mean `{near}`?")),
        None => problem.hint("`probes.port` takes the name of one of `ports`"),
    });
}

fn check_volumes(services: &BTreeMap<ServiceName, Service>, decoder: &mut Decoder) {
    for service in services.values() {
        let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, volume) in &service.volumes {
            if let Some(other) = seen.insert(&volume.path, name.as_str()) {
                let node = service
                    .source
                    .at(["volumes", name.as_str(), "path"])
                    .unwrap_or(&service.source);
                decoder.report(
                    Diagnostic::error(
                        SAME_PATH,
                        format!("volumes {other} and {name} are mounted at one path"),
                    )
                    .at(&node.span, ""),
                );
            }
        }
    }
}

/// Refuses two declared local ports that are the same, then gives every other port one of its own that
/// depends on its name alone, as far as no other name takes it.
fn complete_forward(services: &mut BTreeMap<ServiceName, Service>, decoder: &mut Decoder) {
    let mut taken: BTreeMap<u16, (String, Span)> = BTreeMap::new();
    for service in services.values() {
        for (port, local) in &service.forward {
            let node = service
                .source
                .at(["forward", port.as_str()])
                .unwrap_or(&service.source);
            let owner = format!("{}:{port}", service.name);
            if let Some((other, span)) = taken.get(local) {
                decoder.report(
                    Diagnostic::error(SAME_LOCAL_PORT, format!("{other} and {owner} are forwarded to one local port"))
                        .at(&node.span, format!("{owner} here"))
                        .at(span, format!("{other} here"))
                        .hint("give one of them another port, or leave it out: then it gets one of its own"),
                );
            } else {
                taken.insert(*local, (owner, node.span.clone()));
            }
        }
    }
    for service in services.values_mut() {
        for port in service
            .ports
            .keys()
            .filter(|port| !service.forward.contains_key(*port))
            .cloned()
            .collect::<Vec<_>>()
        {
            let owner = format!("{}:{port}", service.name);
            let local = derived_port(&owner, |candidate| taken.contains_key(&candidate));
            taken.insert(local, (owner, service.source.span.clone()));
            service.forward.insert(port, local);
        }
    }
}

fn derived_port(owner: &str, taken: impl Fn(u16) -> bool) -> u16 {
    let range = u64::from(DERIVED_PORTS.end - DERIVED_PORTS.start);
    let hash = blake3::hash(owner.as_bytes());
    let seed = hash.as_bytes()[..8]
        .iter()
        .fold(0_u64, |seed, byte| (seed << 8) | u64::from(*byte));
    (0..range)
        .map(|step| DERIVED_PORTS.start + u16::try_from((seed % range + step) % range).unwrap_or(0))
        .find(|candidate| !taken(*candidate))
        .unwrap_or(DERIVED_PORTS.start)
}
