//! Files that are wrong, each with the place and the words of its error; and what is right.

use super::*;
use crate::diagnostic::Explain;
use crate::stack::{Build, ClusterTarget, PortName, SecretSource};

const STACK: &str = "name: shop\nservices: [web, db]\nvalues: {log_level: info}\n";
const WEB: &str = "build: {cargo: web}\nports: {http: 8080}\nneeds: [db]\nenv: {A: '1', B: null}\nvalues: {replicas: 2, color: red}\n";
const DB: &str = "build: {image: 'db:1'}\nports: {sql: 5432}\nforward: {sql: 15432}\n";
const LOCAL: &str = "extends: base\ncluster: local\n";
const BASE: &str = "secrets: {password: {generate: 32}}\n";

fn stack_with(changes: &[(&str, &str)]) -> Result<Stack, Problems> {
    let folder = tempfile::tempdir().unwrap();
    let mut files = BTreeMap::from([
        ("stack.yaml", STACK),
        ("services/web/service.yaml", WEB),
        ("services/db/service.yaml", DB),
        ("environments/base.yaml", BASE),
        ("environments/local.yaml", LOCAL),
    ]);
    files.extend(changes.iter().copied());
    for (path, text) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    load(folder.path(), &"local".parse().unwrap())
}

#[test]
fn a_stack_is_resolved_with_its_environment() {
    let stack = stack_with(&[(
        "environments/local.yaml",
        "extends: base\ncluster: local\nnamespace: elsewhere\nservices: {web: {values: {replicas: 3}, env: {B: x}}}\n",
    )])
    .unwrap();
    assert_eq!(stack.name.as_str(), "shop");
    assert_eq!(stack.environment.namespace.as_str(), "elsewhere");
    assert_eq!(stack.environment.cluster, ClusterTarget::Local);
    assert_eq!(
        stack.environment.secrets["password"].source,
        SecretSource::Generate(32)
    );
    let web = &stack.services["web"];
    assert_eq!(
        web.values.to_json(),
        serde_json::json!({"replicas": 3, "color": "red"})
    );
    assert_eq!(
        web.values.get("replicas").unwrap().span.to_string(),
        "environments/local.yaml:4:37"
    );
    let env: Vec<_> = web
        .env
        .iter()
        .map(|(name, value)| (name.as_str(), value.text.as_str()))
        .collect();
    assert_eq!(env, [("A", "1"), ("B", "x")]);
    assert!(
        matches!(&web.build, Build::Native(build) if build.cargo.as_ref().is_some_and(|cargo| cargo.bin == "web" && cargo.profile == "release"))
    );
    assert_eq!(stack.services["db"].forward["sql"], 15432);
    assert_eq!(
        stack.services["db"].values.to_json(),
        serde_json::json!({"replicas": 1}),
        "the default"
    );
    let order: Vec<_> = stack
        .in_order_of_needs()
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    assert_eq!(order, ["db", "web"]);
}

#[test]
fn a_local_port_depends_on_the_name_alone() {
    let port = |stack: &Stack| stack.services["web"].forward["http"];
    let first = stack_with(&[]).unwrap();
    let renumbered = stack_with(&[(
        "services/db/service.yaml",
        "build: {image: 'db:1'}\nports: {x: 1}\n",
    )])
    .unwrap();
    assert_eq!(port(&first), port(&renumbered));
    assert!((20_000..30_000).contains(&port(&first)));
    assert!(
        first.services["web"]
            .forward
            .keys()
            .eq([&"http".parse::<PortName>().unwrap()])
    );
}

/// Every row: a change, the code, the place and words of the message, and words of the hint.
#[test]
fn what_is_wrong_is_said_with_its_place() {
    let web = "services/web/service.yaml";
    let local = "environments/local.yaml";
    for (path, text, code, place, message, hint) in [
        (
            "stack.yaml",
            "name: Shop\nservices: [web, db]\n",
            "S0113",
            "stack.yaml:1:7",
            "`Shop` is not a valid stack name",
            "",
        ),
        (
            "stack.yaml",
            "services: [web, db]\n",
            "S0112",
            "stack.yaml:1:1",
            "`name` is missing",
            "",
        ),
        (
            "stack.yaml",
            "name: shop\nservices: web\n",
            "S0111",
            "stack.yaml:2:11",
            "expected a list, found a string",
            "",
        ),
        (
            "stack.yaml",
            "name: shop\nservices: [web, db, db]\n",
            "S0113",
            "stack.yaml:2:21",
            "listed twice",
            "",
        ),
        (
            "stack.yaml",
            "name: shop\nservices: [web, db, api]\n",
            "S0142",
            "stack.yaml:2:21",
            "api has no file",
            "off the list",
        ),
        (
            web,
            "build: {cargo: web}\nprots: {http: 1}\n",
            "S0110",
            "services/web/service.yaml:2:1",
            "unknown key `prots`",
            "`ports`",
        ),
        (
            web,
            "ports: {http: 1}\n",
            "S0112",
            "services/web/service.yaml:1:1",
            "`build` is missing",
            "",
        ),
        (
            web,
            "build: {cargo: web, image: x}\n",
            "S0121",
            "services/web/service.yaml:1:8",
            "more than one builder",
            "only cargo, files and packages go together",
        ),
        (
            web,
            "build: {crago: web}\n",
            "S0110",
            "services/web/service.yaml:1:9",
            "unknown key `crago`",
            "`cargo`",
        ),
        (
            web,
            "build: {cargo: web}\nports: {http: 70000}\n",
            "S0113",
            "services/web/service.yaml:2:15",
            "between 1 and 65535",
            "",
        ),
        (
            web,
            "build: {cargo: web}\nports: {http: '80'}\n",
            "S0111",
            "services/web/service.yaml:2:15",
            "expected an integer, found a string",
            "",
        ),
        (
            web,
            "build: {cargo: web}\nneeds: [dp]\n",
            "S0130",
            "services/web/service.yaml:2:9",
            "no service `dp`",
            "`db`",
        ),
        (
            local,
            "extends: base\ncluster: local\nservices: {db: {enabled: false}}\n",
            "S0135",
            "services/web/service.yaml:3:9",
            "web needs db, which is disabled",
            "disable web too",
        ),
        (
            local,
            "extends: base\ncluster: local\nservices: {db: {enabled: 'no'}}\n",
            "S0111",
            "environments/local.yaml:3:26",
            "expected true or false",
            "",
        ),
        (
            web,
            "build: {cargo: web}\nneeds: [web]\n",
            "S0131",
            "services/web/service.yaml:2:9",
            "web → web",
            "remove one",
        ),
        (
            web,
            "build: {cargo: web}\nports: {http: 1}\nforward: {http: 15432}\n",
            "S0132",
            "services/web/service.yaml:3:17",
            "one local port",
            "another port",
        ),
        (
            web,
            "build: {cargo: web}\nports: {http: 1}\nforward: {htp: 1}\n",
            "S0133",
            "services/web/service.yaml:3:11",
            "no port `htp`",
            "`http`",
        ),
        (
            web,
            "build: {cargo: web}\nprobes: {ready: /r}\n",
            "S0133",
            "services/web/service.yaml:2:9",
            "no port to probe",
            "ports",
        ),
        (
            web,
            "build: {cargo: web}\nports: {http: 1}\nprobes: {ready: /r, port: htp}\n",
            "S0133",
            "services/web/service.yaml:3:27",
            "no port `htp`",
            "`http`",
        ),
        (
            web,
            "build: {cargo: web}\nreadyWithin: soon\n",
            "S0113",
            "services/web/service.yaml:2:14",
            "`soon` is no duration",
            "30s",
        ),
        (
            web,
            "build: {cargo: web}\nenv: {A-B: x}\n",
            "S0113",
            "services/web/service.yaml:2:7",
            "not a valid variable name",
            "",
        ),
        (
            web,
            "build: {cargo: web}\nvolumes: {d: {path: data, size: 1Gi}}\n",
            "S0113",
            "services/web/service.yaml:2:21",
            "absolute path",
            "",
        ),
        (
            web,
            "build: {command: [make], inputs: [../x]}\n",
            "S0113",
            "services/web/service.yaml:1:35",
            "does not leave it",
            "",
        ),
        (
            web,
            "build: {cargo: web}\nkind: DaemonSet\n",
            "S0113",
            "services/web/service.yaml:2:7",
            "neither Deployment nor StatefulSet",
            "",
        ),
        (
            web,
            "build: {cargo: web}\nserviceType: Loadbalancer\n",
            "S0113",
            "services/web/service.yaml:2:14",
            "none of ClusterIP, NodePort and LoadBalancer",
            "",
        ),
        (
            local,
            "extends: bsae\ncluster: local\n",
            "S0141",
            "environments/local.yaml:1:10",
            "no environment `bsae`",
            "`base`",
        ),
        (
            local,
            "extends: local\ncluster: local\n",
            "S0143",
            "environments/local.yaml:1:10",
            "local → local",
            "",
        ),
        (
            local,
            "extends: base\n",
            "S0112",
            "environments/local.yaml:1:1",
            "`cluster` is missing",
            "cluster: local",
        ),
        (
            local,
            "cluster: lokal\n",
            "S0113",
            "environments/local.yaml:1:10",
            "neither `local` nor a map",
            "",
        ),
        (
            local,
            "cluster: local\nservices: {wbe: {}}\n",
            "S0130",
            "environments/local.yaml:2:12",
            "no service `wbe`",
            "`web`",
        ),
        (
            local,
            "cluster: local\nservices: {web: {values: {colour: 1}}}\n",
            "S0120",
            "environments/local.yaml:2:27",
            "declares no `values.colour`",
            "`color`",
        ),
        (
            local,
            "cluster: local\nsecrets: {p: {generate: 4}}\n",
            "S0113",
            "environments/local.yaml:2:25",
            "between 8 and 1024",
            "",
        ),
        (
            local,
            "cluster: local\nsecrets: {p: {}}\n",
            "S0122",
            "environments/local.yaml:2:14",
            "exactly one source",
            "generate: 32",
        ),
        (
            local,
            "cluster: local\nregistry: https://x/y\n",
            "S0113",
            "environments/local.yaml:2:11",
            "without http",
            "",
        ),
    ] {
        let found = stack_with(&[(path, text)])
            .expect_err(message)
            .diagnostics();
        let problem = found.iter().find(|problem| problem.code.as_str() == code);
        let problem = problem.unwrap_or_else(|| panic!("{text:?}: no {code} in {found:#?}"));
        assert!(
            problem.message.contains(message),
            "{text:?}: {}",
            problem.message
        );
        assert_eq!(problem.labels[0].span.to_string(), place, "{text:?}");
        assert!(
            problem.hints.iter().any(|found| found.contains(hint)) || hint.is_empty(),
            "{text:?}: {:?}",
            problem.hints
        );
    }
}

#[test]
fn a_disabled_service_is_not_there() {
    let off = (
        "environments/local.yaml",
        "extends: base\ncluster: local\nservices: {web: {enabled: false}}\n",
    );
    let stack = stack_with(&[off]).unwrap();
    let names: Vec<_> = stack.services.keys().map(ServiceName::as_str).collect();
    assert_eq!(names, ["db"]);
    assert_eq!(
        stack.disabled["web"].to_string(),
        "environments/local.yaml:3:27"
    );
    // Its file may leave everything to the environments that enable it.
    let web = (
        "services/web/service.yaml",
        "enabled: false\nports: {http: 80}\n",
    );
    assert!(!stack_with(&[web]).unwrap().services.contains_key("web"));
    let on = "cluster: local\nservices: {web: {enabled: true, build: {image: 'web:1'}}}\n";
    let stack = stack_with(&[web, ("environments/local.yaml", on)]).unwrap();
    assert!(stack.services.contains_key("web") && stack.disabled.is_empty());
    let on = "cluster: local\nservices: {web: {enabled: true}}\n";
    let problems = stack_with(&[web, ("environments/local.yaml", on)]).unwrap_err();
    assert_eq!(
        problems.diagnostics()[0].message,
        "the key `build` is missing"
    );
}

#[test]
fn the_file_of_a_disabled_service_is_checked_too() {
    let web = (
        "services/web/service.yaml",
        "enabled: false\nprots: {http: 80}\n",
    );
    assert!(stack_with(&[web]).is_err());
    let web = (
        "services/web/service.yaml",
        "enabled: false\nbuild: {crago: web}\n",
    );
    assert!(stack_with(&[web]).is_err());
}

#[test]
fn everything_is_reported_at_once() {
    let problems = stack_with(&[
        (
            "services/web/service.yaml",
            "build: {cargo: web}\nprots: {}\nkind: X\n",
        ),
        ("services/db/service.yaml", "ports: {sql: 0}\n"),
        (
            "environments/local.yaml",
            "cluster: x\nservices: {nobody: {}}\n",
        ),
    ])
    .unwrap_err();
    let mut codes: Vec<_> = problems
        .diagnostics()
        .iter()
        .map(|problem| problem.code.as_str())
        .collect();
    codes.sort_unstable();
    assert_eq!(
        codes,
        ["S0110", "S0112", "S0113", "S0113", "S0113", "S0130"]
    );
}

#[test]
fn a_folder_without_a_stack_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let problem = find_root(folder.path())
        .unwrap_err()
        .diagnostics()
        .remove(0);
    assert_eq!(problem.code.as_str(), "S0140");
    assert!(problem.hints[0].contains("stackctl init"));
}
