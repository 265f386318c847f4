//! `--builder docker`: the engine puts together what is made here, and it runs the same.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use oci_image::{Digest, RunConfig};
use serde_json::{Value, json};
use stackctl::image::{Assembly, Engine, LayerSource, assemble_with_engine};

use crate::cluster::{Deployed, finish};
use crate::docker::{SERVICE, docker, layer, reference};
use crate::shop::test_registry;

#[tokio::test]
#[ignore = "needs Docker and a cluster: run `cargo xtask test`"]
async fn the_engine_assembles_layers_that_were_made_here() {
    let engine = Engine::connect().await.expect("an engine");
    let unique = format!("{}", std::process::id());
    let source = |(tar, _): (Vec<u8>, Digest)| LayerSource {
        size: tar.len() as u64,
        tar: Box::new(std::io::Cursor::new(tar)),
    };
    let assembly = Assembly {
        layers: vec![source(layer("a", &unique)), source(layer("b/c", "2"))],
        run: RunConfig {
            user: "65532:65532".to_owned(),
            entrypoint: vec!["/a b".to_owned()],
            env: [("A".to_owned(), "1 \"$B\" \\".to_owned())].into(),
            labels: [("stackctl.dev/inputs".to_owned(), unique.clone())].into(),
            ..RunConfig::default()
        },
    };
    let reference = format!("stackctl-test-{unique}/assembled:1");
    let id = assemble_with_engine(&engine, assembly, &reference, &|_| {})
        .await
        .expect("an image");
    let config = docker(&[
        "image",
        "inspect",
        "--format",
        "{{.Id}} {{json .Config}}",
        &reference,
    ]);
    let (found, config) = config.split_once(' ').expect("two parts");
    assert_eq!(found, id);
    let config: serde_json::Value = serde_json::from_str(config).expect("JSON");
    assert_eq!(config["User"], "65532:65532");
    assert_eq!(config["Entrypoint"], serde_json::json!(["/a b"]));
    assert_eq!(config["Labels"]["stackctl.dev/inputs"], unique);
    let env = config["Env"].as_array().expect("a list");
    assert!(env.contains(&"A=1 \"$B\" \\".into()), "{env:?}");
    assert_eq!(files(&reference), ["a", "b/c"]);
    docker(&["image", "rm", &reference]);
}

/// What `docker image inspect` says of how an image runs, with nothing for what is the same as nothing.
fn runs(reference: &str) -> BTreeMap<String, Value> {
    let format = "{{json .Config}}";
    let text = docker(&["image", "inspect", "--format", format, reference]);
    let config: Value = serde_json::from_str(&text).expect("JSON");
    let mut runs = BTreeMap::new();
    for field in [
        "User",
        "Entrypoint",
        "Cmd",
        "Env",
        "WorkingDir",
        "StopSignal",
        "ExposedPorts",
        "Volumes",
        "Labels",
    ] {
        let mut value = config[field].clone();
        if let Some(list) = value.as_array_mut().filter(|_| field == "Env") {
            // What BuildKit adds to an image without one.
            list.retain(|variable| !variable.as_str().is_some_and(|v| v.starts_with("PATH=")));
            list.sort_by_key(ToString::to_string);
        }
        let is_nothing = [json!(null), json!([]), json!({}), json!(""), json!("/")];
        if !is_nothing.contains(&value) {
            runs.insert(field.to_owned(), value);
        }
    }
    runs
}

/// An image with everything that others inherit, in the registry of the tests: its pinned reference.
fn base_image(deployed: &Deployed) -> String {
    let name = format!("{}/{}/base:1", test_registry(), deployed.namespace);
    deployed.write(
        "base/Dockerfile",
        "FROM scratch\nCOPY file /\nENV A=\"of $the base\" B=b\nWORKDIR /srv\nUSER 7:7\nSTOPSIGNAL SIGQUIT\n\
         EXPOSE 53/udp 8080\nVOLUME [\"/data\", \"/more data\"]\nCMD [\"/file\", \"of the base\"]\n",
    );
    deployed.write("base/file", &deployed.namespace);
    let folder = deployed.path().join("base").display().to_string();
    docker(&["build", "--tag", &name, &folder]);
    docker(&["push", &name]);
    let pinned = docker(&[
        "image",
        "inspect",
        "--format",
        "{{index .RepoDigests 0}}",
        &name,
    ]);
    docker(&["image", "rm", &name]);
    pinned
}

#[test]
#[ignore = "needs Docker and a cluster: run `cargo xtask test`"]
fn what_the_engine_assembles_runs_as_what_is_made_here() {
    let deployed = Deployed::faulty();
    let base = base_image(&deployed);
    let own = r#"{ cargo: subject, arguments: ["--say", "it's \"$HOME\" \\ and\nmore"], stopSignal: SIGINT,
        workingDir: "/a $b", variables: { A: "1 \"$B\" \\" }, user: "65532:65532" }"#;
    let inherited =
        format!("{{ files: {{ base: /files }}, base: \"{base}\", entrypoint: [/files/file] }}");
    let changed = format!(
        "{{ cargo: subject, base: \"{base}\", arguments: [serve], stopSignal: SIGINT, variables: {{ B: c }} }}"
    );
    let text = std::fs::read_to_string(deployed.path().join(SERVICE)).expect("the file");
    for (build, expected) in [
        (
            own,
            json!({"Cmd": ["--say", "it's \"$HOME\" \\ and\nmore"], "StopSignal": "SIGINT"}),
        ),
        (
            &inherited,
            json!({
                "StopSignal": "SIGQUIT", "WorkingDir": "/srv",
                "ExposedPorts": {"53/udp": {}, "8080/tcp": {}},
                "Volumes": {"/data": {}, "/more data": {}},
            }),
        ),
        (
            &changed,
            json!({
                "Cmd": ["serve"], "StopSignal": "SIGINT",
                "ExposedPorts": {"53/udp": {}, "8080/tcp": {}},
            }),
        ),
    ] {
        deployed.write(SERVICE, &text.replace("{ cargo: subject }", build));
        let native = deployed.run(&["build", "--images", "images.json"]);
        assert_eq!(native.code, 0, "{}", native.stderr);
        let reference = reference(&deployed);
        let wanted = runs(&reference);
        for (field, value) in expected.as_object().expect("an object") {
            assert_eq!(wanted.get(field), Some(value), "{field} of {build}");
        }
        for buildkit in ["1", "0"] {
            docker(&["image", "rm", &reference]);
            let mut command = deployed.command(&["build", "--builder", "docker"]);
            command.env("DOCKER_BUILDKIT", buildkit);
            let assembled = finish(command);
            assert_eq!(assembled.code, 0, "{}", assembled.stderr);
            assert!(
                assembled.stderr.contains("assembled by the engine"),
                "{}",
                assembled.stderr
            );
            assert_eq!(runs(&reference), wanted, "BuildKit: {buildkit}, {build}");
        }
        docker(&["image", "rm", &reference]);
    }
}

/// The files of an image: an exported container has what the engine adds, too.
fn files(reference: &str) -> Vec<String> {
    let container = docker(&["create", reference]);
    let output = Command::new("docker")
        .args(["export", &container])
        .stderr(Stdio::inherit())
        .output()
        .expect("docker runs");
    docker(&["rm", &container]);
    let mut archive = tar::Archive::new(&output.stdout[..]);
    let mut files: Vec<String> = archive
        .entries()
        .expect("an archive")
        .map(|entry| {
            entry
                .expect("an entry")
                .path()
                .expect("a path")
                .display()
                .to_string()
        })
        .filter(|path| path == "a" || path == "b/c")
        .collect();
    files.sort();
    files
}
