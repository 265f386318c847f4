//! Builds of Dockerfiles against an engine in memory.

use std::fs;

use serde_json::{Value, json};
use test_support::docker::FakeDocker;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::diagnostic::{Exit, Explain};
use crate::event::{Event, Phase, Recorder};
use crate::image::spec::specs;
use crate::image::test_stack::{dockerfile, span, stack, write};
use crate::stack::{Build, BuildSecret, BuildSecretSource};

const DOCKERFILE: &str = "FROM base\n\nRUN make\nCOPY x /x\n";

struct Scene {
    root: tempfile::TempDir,
    docker: FakeDocker,
    events: Recorder,
    build: DockerfileBuild,
}

impl Scene {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        write(
            root.path(),
            &[("web/Dockerfile", DOCKERFILE), ("web/x", "1")],
        );
        let Build::Dockerfile(build) = dockerfile("web/Dockerfile") else {
            panic!("it is one");
        };
        Self {
            root,
            docker: FakeDocker::default(),
            events: Recorder::default(),
            build,
        }
    }

    fn secret(&mut self, id: &str, file: &str, value: &str) {
        fs::write(self.root.path().join(file), value).unwrap();
        let secret = BuildSecret {
            source: BuildSecretSource::File(file.into()),
            span: span(),
        };
        self.build.secrets.insert(id.to_owned(), secret);
    }

    async fn build(&self) -> Result<String, BuildError> {
        let build = Build::Dockerfile(self.build.clone());
        let stack = stack(self.root.path(), &[("web", build)]);
        let specs = specs(&stack, None).unwrap();
        let task = Task::start(&self.events, Phase::Build, "web");
        let job = Job {
            stack: &stack,
            spec: &specs["web"],
            engine: &Engine::from_carrier(self.docker.carrier(), "unix:///fake"),
            task: &task,
            cancel: &CancellationToken::new(),
        };
        super::build(&job, &self.build).await
    }

    fn heard(&self) -> Vec<String> {
        let text = |event| match event {
            Event::TaskProgress { message, .. } => Some(message),
            Event::Output { line, .. } => Some(format!("> {line}")),
            _ => None,
        };
        self.events.events().into_iter().filter_map(text).collect()
    }

    fn request(&self, start: &str) -> String {
        let requests = self.docker.requests();
        let found = requests.into_iter().find(|found| found.starts_with(start));
        found.unwrap_or_else(|| panic!("no request {start}"))
    }
}

fn image() -> Value {
    json!({"id": "moby.image.id", "aux": {"ID": "sha256:7"}})
}

#[tokio::test]
async fn buildkit_is_used_where_the_engine_has_it() {
    let mut scene = Scene::new();
    scene.build.target = Some("final".to_owned());
    scene.build.platform = Some("linux/arm64".parse().unwrap());
    scene.build.cache_from = vec!["r.example.com/cache:1".to_owned()];
    scene.build.args.insert("A".to_owned(), "1 2".to_owned());
    scene.docker.with_buildkit(&[]);
    scene.docker.answer_builds([image()]);
    assert_eq!(scene.build().await.unwrap(), "sha256:7");
    let request = scene.request("POST /build");
    for part in [
        "version=2",
        "session=",
        "target=final",
        "platform=linux%2Farm64",
        "cachefrom=%5B%22r.example.com%2Fcache%3A1%22%5D",
        "buildargs=%7B%22A%22%3A%221%202%22%7D",
        "stackctl.dev%2Finputs",
        "dockerfile=Dockerfile",
    ] {
        assert!(request.contains(part), "{part} in {request}");
    }
    assert_eq!(
        scene.docker.offered(),
        ["/moby.filesync.v1.Auth/Credentials"]
    );
    assert_eq!(scene.docker.contexts(), [["Dockerfile", "x"]]);
}

#[tokio::test]
async fn an_older_engine_builds_with_the_classic_builder() {
    let scene = Scene::new();
    scene.docker.answer_builds([
        json!({"stream": "Step 1/3 : FROM base\n"}),
        json!({"stream": " ---> 1234\n"}),
        json!({"stream": "Step 2/3 : RUN make\n"}),
        json!({"stream": "made\n"}),
        json!({"aux": {"ID": "sha256:7"}}),
    ]);
    assert_eq!(scene.build().await.unwrap(), "sha256:7");
    assert!(scene.request("POST /build").contains("version=1"));
    assert_eq!(
        scene.heard(),
        ["[1/3] FROM base", "[2/3] RUN make", "> made"]
    );
}

#[tokio::test]
async fn secrets_reach_the_engine_and_nobody_else() {
    let mut scene = Scene::new();
    scene.secret("token", "web/token", "s3cret");
    scene.docker.with_buildkit(&["token", "other"]);
    scene
        .docker
        .answer_builds([json!({"stream": "it is s3cret\n"}), image()]);
    scene.build().await.unwrap();
    assert_eq!(
        scene.docker.secrets(),
        [
            Ok(b"s3cret".to_vec()),
            Err("Some requested entity was not found".to_owned()),
        ]
    );
    assert_eq!(scene.heard(), ["> it is ***"]);
    assert_eq!(
        scene.docker.contexts(),
        [["Dockerfile", "x"]],
        "the file with the secret stays here"
    );
    assert!(!scene.docker.requests().concat().contains("s3cret"));
}

#[tokio::test]
async fn a_secret_is_no_input_but_that_there_is_one_is() {
    let tag = |scene: &Scene| {
        let build = Build::Dockerfile(scene.build.clone());
        let stack = stack(scene.root.path(), &[("web", build)]);
        specs(&stack, None).unwrap()["web"].reference.clone()
    };
    let mut scene = Scene::new();
    let without = tag(&scene);
    scene.secret("token", "token", "1");
    let with = tag(&scene);
    scene.secret("token", "token", "2");
    assert_eq!(with, tag(&scene));
    assert_ne!(without, with);
    scene.build.platform = Some("linux/arm64".parse().unwrap());
    assert_ne!(with, tag(&scene));
}

#[tokio::test]
async fn what_the_engine_cannot_do_is_said_before_it_is_tried() {
    let mut scene = Scene::new();
    scene.secret("token", "token", "s3cret");
    let error = scene.build().await.unwrap_err();
    assert_eq!(error.exit(), Exit::BadInput);
    assert_eq!(error.to_string(), "the build secret `token` needs BuildKit");
    let found = &error.diagnostics()[0];
    assert_eq!(
        found.labels[0].span.to_string(),
        "services/a/service.yaml:1:10"
    );
    assert!(found.hints[0].contains("18.09"), "{:?}", found.hints);
    assert!(scene.docker.contexts().is_empty());
}

#[tokio::test]
async fn a_failure_is_shown_where_it_is_written() {
    let scene = Scene::new();
    scene.docker.with_buildkit(&[]);
    // Vertex "sha256:1" named "[2/3] RUN make", its log, its error: protobuf of moby.buildkit.v1.StatusResponse.
    let vertex = |error: &str| {
        let field = |tag: u8, bytes: &[u8]| {
            let mut field = vec![tag << 3 | 2, u8::try_from(bytes.len()).unwrap()];
            field.extend_from_slice(bytes);
            field
        };
        let mut body = [
            field(1, b"sha256:1"),
            field(3, b"[2/3] RUN make"),
            field(5, b"\x08\x01"),
        ]
        .concat();
        if !error.is_empty() {
            body.extend(field(7, error.as_bytes()));
        }
        let log = [
            field(1, b"sha256:1"),
            vec![3 << 3, 1],
            field(4, b"make: no targets\n"),
        ]
        .concat();
        let status = [field(1, &body), field(3, &log)].concat();
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(status);
        json!({"id": "moby.buildkit.trace", "aux": text})
    };
    let message = "executor failed running [/bin/sh -c make]: exit code: 2";
    scene.docker.answer_builds([
        vertex(""),
        vertex(message),
        json!({"errorDetail": {"message": message}, "error": message}),
    ]);
    let error = scene.build().await.unwrap_err();
    assert_eq!(error.exit(), Exit::Failed);
    let found = &error.diagnostics()[0];
    assert_eq!(
        found.message,
        "the Docker engine could not build web: `RUN make` failed with exit code 2"
    );
    assert_eq!(found.labels[0].span.to_string(), "web/Dockerfile:3:1");
    assert_eq!(found.labels[0].span.text(), "RUN make");
    assert_eq!(found.notes, ["make: no targets\nmake: no targets"]);
    assert_eq!(scene.heard()[0], "[2/3] RUN make");
}

#[tokio::test]
async fn an_engine_that_says_nothing_has_built_nothing() {
    let scene = Scene::new();
    scene.docker.with_buildkit(&[]);
    scene.docker.answer_builds([]);
    let error = scene.build().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the Docker engine could not build web: it named no image"
    );
}
