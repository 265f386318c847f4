//! The stack of this repository: each of its environments gives manifests that are valid, and what it is for.

use std::collections::BTreeMap;
use std::path::Path;

use assert_cmd::Command;

/// What all environments have; `grafana` is with those that name its image.
const SERVICES: [&str; 12] = [
    "birthday",
    "counter",
    "gateway",
    "hits-api",
    "hits-worker",
    "picture",
    "picture-source",
    "postgres",
    "prometheus",
    "redis",
    "sentinel",
    "upload",
];

/// The manifests of an environment by service, checked as every command checks them.
fn rendered(environment: &str) -> BTreeMap<String, String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = Command::cargo_bin("stackctl")
        .expect("the binary is built")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_remove("STACKCTL_ENV")
        .env("STACKCTL_CACHE", folder.path().join("cache"))
        .env("KUBECONFIG", folder.path().join("no-kubeconfig"))
        .args(["render", environment, "--to"])
        .arg(folder.path().join("out"))
        .output()
        .expect("the binary runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{environment}: {stderr}");
    let files = std::fs::read_dir(folder.path().join("out")).expect("a folder");
    let files = files.map(|entry| entry.expect("an entry").path());
    files
        .map(|path| {
            let service = path.file_stem().expect("a name").to_string_lossy();
            let text = std::fs::read_to_string(&path).expect("a file");
            (service.into_owned(), text)
        })
        .collect()
}

fn has(environment: &BTreeMap<String, String>, service: &str, words: &str) {
    let text = &environment[service];
    assert!(text.contains(words), "{words:?} is missing in\n{text}");
}

#[test]
fn every_environment_renders_every_service() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("environments");
    let mut seen = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy();
        if name == "base" {
            continue;
        }
        let mut services: Vec<&str> = SERVICES.to_vec();
        if ["staging", "production"].contains(&&*name) {
            services.insert(3, "grafana");
        }
        let rendered = rendered(&name);
        let found: Vec<&String> = rendered.keys().collect();
        assert_eq!(found, services, "{name}");
        seen.push(name.into_owned());
    }
    seen.sort();
    let expected = [
        "faults",
        "local",
        "minikube",
        "production",
        "staging",
        "test",
    ];
    assert_eq!(seen, expected);
}

#[test]
fn staging_and_production_pull_their_images_and_have_grafana() {
    for name in ["staging", "production"] {
        let rendered = rendered(name);
        for service in SERVICES {
            let image = format!("image: registry.example.com/seedling/{service}:");
            has(&rendered, service, &image);
        }
        has(&rendered, "grafana", "image: docker.io/grafana/grafana:");
        has(&rendered, "grafana", "<secret grafana-password>");
    }
}

#[test]
fn production_is_larger_and_can_be_reached() {
    let rendered = rendered("production");
    for service in ["counter", "gateway"] {
        has(&rendered, service, "  replicas: 3\n");
        has(&rendered, service, "  type: LoadBalancer\n");
    }
}

#[test]
fn each_service_has_the_password_of_its_own_database() {
    let rendered = rendered("production");
    has(&rendered, "postgres", "value: birthday hits\n");
    for (service, own, other) in [
        ("birthday", "birthday", "hits"),
        ("hits-api", "hits", "birthday"),
        ("hits-worker", "hits", "birthday"),
    ] {
        let given = format!(
            "POSTGRES_PASSWORD_{}: <secret {own}-password>",
            own.to_uppercase()
        );
        has(&rendered, "postgres", &given);
        let url = format!("postgres://{own}:<secret {own}-password>@postgres:5432/{own}");
        has(&rendered, service, &url);
        let foreign = format!("<secret {other}-password>");
        assert!(!rendered[service].contains(&foreign), "{service}");
    }
}

#[test]
fn prometheus_wants_a_pod_of_all_that_it_asks() {
    let rendered = rendered("local");
    for service in SERVICES {
        let stores = ["postgres", "redis", "sentinel"];
        let wanted = format!("labels: {{ service: \"{service}\" }}");
        let found = rendered["prometheus"].contains(&wanted);
        assert_eq!(found, !stores.contains(&service), "{service}");
    }
}
