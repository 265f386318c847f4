//! Builds against an engine in memory; cargo and commands are real.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use oci_image::{Decompressor, Index, Reference, media_type};
use serde_json::json;
use test_support::docker::{FakeDocker, FakeImage};
use tokio_util::sync::CancellationToken;

mod changing;
mod proofs;

use super::build::{BuildContext, BuildOptions, build};
use super::build_error::BuildError;
use super::docker::engine::Engine;
use super::elf;
use super::report::{BuildOutcome, BuildReport, BuiltImage, Held};
use super::spec::{ImageSpec, specs};
use super::state_folder::StateFolder;
use super::store::Store;
use super::target::Target;
use super::test_stack::{cargo, command, dockerfile, stack, write};
use crate::diagnostic::{Exit, Explain};
use crate::event::{Event, Recorder, TaskOutcome};
use crate::stack::{Build, Registry, ServiceName, Stack};
use crate::timings::Timings;

/// A stack in a folder of its own, its engine and what was heard.
pub(super) struct Scene {
    pub(super) root: tempfile::TempDir,
    pub(super) stack: Stack,
    docker: FakeDocker,
    cache: tempfile::TempDir,
    in_registry: BTreeMap<ServiceName, Reference>,
    pub(super) events: Recorder,
    cancel: CancellationToken,
}

impl Scene {
    pub(super) fn new(files: &[(&str, &str)], services: &[(&str, Build)]) -> Self {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), files);
        Self {
            stack: stack(root.path(), services),
            root,
            docker: FakeDocker::default(),
            cache: tempfile::tempdir().unwrap(),
            in_registry: BTreeMap::new(),
            events: Recorder::default(),
            cancel: CancellationToken::new(),
        }
    }

    pub(super) async fn build(&self) -> Result<BuildReport, BuildError> {
        self.build_only(None).await
    }

    /// Builds the images of these services.
    pub(super) async fn build_only(
        &self,
        only: Option<&[ServiceName]>,
    ) -> Result<BuildReport, BuildError> {
        self.build_of(&specs(&self.stack, only).unwrap()).await
    }

    async fn build_of(
        &self,
        specs: &BTreeMap<ServiceName, ImageSpec>,
    ) -> Result<BuildReport, BuildError> {
        let context = BuildContext {
            store: &self.store(),
            engine: Some(&Engine::from_docker(self.docker.client(), "unix:///fake")),
            in_registry: &self.in_registry,
            timings: &Timings::off(),
            events: &self.events,
            cancel: &self.cancel,
            options: BuildOptions::default(),
        };
        build(&self.stack, specs, &context).await
    }

    pub(super) fn store(&self) -> Store {
        Store::at(self.cache.path()).unwrap()
    }

    /// The files of an image in the store, layer by layer, and its configuration.
    fn image(&self, built: &BuiltImage) -> (Vec<Vec<String>>, serde_json::Value) {
        let Held::Store(descriptor) = &built.held else {
            panic!("it is not in the store: {:?}", built.held);
        };
        let store = self.store();
        let image = store.image(descriptor, &Target::host().platform).unwrap();
        let layers = image.manifest.layers.iter().map(|layer| {
            let reader = Decompressor::new(store.layout().reader(layer).unwrap(), 1 << 30);
            let mut archive = tar::Archive::new(reader.unwrap());
            let entries = archive.entries().unwrap();
            entries
                .map(|entry| entry.unwrap().path().unwrap().display().to_string())
                .collect()
        });
        (
            layers.collect(),
            serde_json::from_slice(&image.config_bytes).unwrap(),
        )
    }

    fn reference(&self, service: &str) -> String {
        specs(&self.stack, None).unwrap()[service].reference.clone()
    }

    fn outcomes(&self) -> Vec<(String, TaskOutcome)> {
        let finished = |event| match event {
            Event::TaskFinished { task, outcome, .. } => Some((task, outcome)),
            _ => None,
        };
        self.events
            .events()
            .into_iter()
            .filter_map(finished)
            .collect()
    }

    fn summary(&self) -> Option<String> {
        self.events
            .events()
            .into_iter()
            .find_map(|event| match event {
                Event::PhaseFinished { summary, .. } => Some(summary),
                _ => None,
            })
    }
}

fn web() -> Scene {
    let files = [
        ("web/Dockerfile", "FROM base\n\nRUN make\nCOPY x /x\n"),
        ("web/x", "1"),
        ("web/.dockerignore", "*.log\n"),
        ("web/a.log", ""),
    ];
    Scene::new(&files, &[("web", dockerfile("web/Dockerfile"))])
}

fn hello() -> Scene {
    let files = [
        (
            "Cargo.toml",
            "[workspace]\nresolver = \"3\"\nmembers = [\"hello\"]\n",
        ),
        (
            "Cargo.lock",
            "version = 4\n\n[[package]]\nname = \"hello\"\nversion = \"0.1.0\"\n",
        ),
        (
            "hello/Cargo.toml",
            "[package]\nname = \"hello\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
        ),
        ("hello/src/main.rs", "fn main() { println!(\"hello\"); }\n"),
    ];
    Scene::new(&files, &[("greeter", cargo("hello"))])
}

#[tokio::test]
async fn an_image_that_is_there_is_not_built() {
    let scene = web();
    let image = FakeImage {
        id: "sha256:1".into(),
        ..FakeImage::default()
    };
    scene.docker.add_image(&scene.reference("web"), image);
    let report = scene.build().await.unwrap();
    let built = &report.images["web"];
    assert_eq!(
        (built.outcome, &built.held),
        (BuildOutcome::Cached, &Held::Engine("sha256:1".into()))
    );
    assert_eq!(scene.outcomes(), [("web".into(), TaskOutcome::Unchanged)]);
    assert_eq!(scene.summary().as_deref(), Some("0 built, 1 cached"));
    assert_eq!(scene.docker.requests().len(), 1, "one look");
}

#[tokio::test]
async fn an_image_that_its_registry_has_is_not_built() {
    let mut scene = hello();
    let pinned = format!("r.example.com/greeter:1@sha256:{}", "0".repeat(64));
    let found = (
        "greeter".parse().unwrap(),
        pinned.parse::<Reference>().unwrap(),
    );
    scene.in_registry = BTreeMap::from([found]);
    let report = scene.build().await.unwrap();
    let image = &report.images["greeter"];
    assert_eq!(
        (image.outcome, &image.held, &image.reference),
        (BuildOutcome::Cached, &Held::Elsewhere, &pinned)
    );
    assert!(
        !scene.root.path().join("target").exists(),
        "nothing is compiled"
    );
    // What is here as well is taken from here.
    scene.in_registry = BTreeMap::new();
    scene.build().await.unwrap();
    scene.in_registry = BTreeMap::from([("greeter".parse().unwrap(), pinned.parse().unwrap())]);
    let image = &scene.build().await.unwrap().images["greeter"];
    assert!(matches!(image.held, Held::Store(_)), "{:?}", image.held);
}

#[tokio::test]
async fn an_image_of_another_registry_only_gets_another_name() {
    let mut scene = web();
    let spec = specs(&scene.stack, None).unwrap().remove("web").unwrap();
    let image = FakeImage {
        id: "sha256:1".into(),
        labels: super::assemble::labels(&spec),
        ..FakeImage::default()
    };
    scene.docker.add_image(&spec.reference, image);
    scene.stack.environment.registry = Some(Registry {
        prefix: "r.example.com/team".into(),
        span: super::test_stack::span(),
    });
    let report = scene.build().await.unwrap();
    assert_eq!(report.summary(), "0 built, 1 cached");
    let reference = scene.reference("web");
    assert!(reference.starts_with("r.example.com/team/web:"));
    assert_eq!(scene.docker.images()[&reference].id, "sha256:1");
}

#[tokio::test]
async fn a_dockerfile_is_built_and_tagged() {
    let scene = web();
    scene.docker.answer_builds([
        json!({"stream": "Step 1/3 : FROM base\n"}),
        json!({"stream": " ---> Running in 1\n"}),
        json!({"stream": "made\n"}),
        json!({"aux": {"ID": "sha256:7"}}),
    ]);
    let report = scene.build().await.unwrap();
    assert_eq!(report.images["web"].outcome, BuildOutcome::Built);
    assert_eq!(
        scene.docker.images()[&scene.reference("web")].id,
        "sha256:7"
    );
    assert_eq!(
        scene.docker.contexts(),
        [[".dockerignore", "Dockerfile", "x"]]
    );
    let request = &scene.docker.requests()[2];
    assert!(request.starts_with("POST /build?"), "{request}");
    assert!(
        request.contains("version=1") && request.contains("stackctl.dev%2Finputs"),
        "{request}"
    );
    let output: Vec<String> = scene
        .events
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::Output { line, .. } => Some(line),
            _ => None,
        })
        .collect();
    assert_eq!(output, ["made"]);
}

#[tokio::test]
async fn a_failing_step_is_shown_in_the_dockerfile() {
    let scene = web();
    scene.docker.answer_builds([
        json!({"stream": "Step 1/3 : FROM base\n"}),
        json!({"stream": "Step 2/3 : RUN make\n"}),
        json!({"stream": "make: no targets\n"}),
        json!({"errorDetail": {"code": 2, "message": "The command '/bin/sh -c make' returned a non-zero code: 2"}, "error": "…"}),
    ]);
    let error = scene.build().await.unwrap_err();
    assert_eq!(error.exit(), Exit::Failed);
    let found = &error.diagnostics()[0];
    assert_eq!(found.labels[0].span.to_string(), "web/Dockerfile:3:1");
    assert_eq!(found.labels[0].span.text(), "RUN make");
    assert_eq!(found.notes, ["make: no targets"]);
    assert!(scene.docker.images().is_empty());
    assert_eq!(scene.outcomes(), [("web".into(), TaskOutcome::Failed)]);
}

#[tokio::test]
async fn an_image_of_changing_sources_gets_no_tag() {
    let scene = web();
    scene
        .docker
        .answer_builds([json!({"aux": {"ID": "sha256:7"}})]);
    let edited = scene.root.path().join("web/x");
    scene
        .docker
        .during_builds(move || fs::write(&edited, "2").unwrap());
    let before = scene.reference("web");
    let error = scene.build().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "sources of web changed while it was built"
    );
    assert_eq!(error.diagnostics()[0].notes, ["changed: file web/x"]);
    assert!(!scene.docker.images().contains_key(&before));
}

#[tokio::test]
async fn a_command_must_succeed_and_leave_its_image() {
    let run = |script: &str| Scene::new(&[], &[("db", command(&["sh", "-c", script], &[]))]);
    let scene = run("echo making; echo \"$STACKCTL_IMAGE\" > image");
    let error = scene.build().await.unwrap_err();
    assert!(matches!(error, BuildError::NoImage { .. }), "{error}");
    let named = fs::read_to_string(scene.root.path().join("image")).unwrap();
    let real = scene.reference("db");
    assert!(
        named.starts_with(&format!("{real}-unfinished-")),
        "{named}: whoever looks for {real} must not find it"
    );

    let error = run("echo broken >&2; exit 3").build().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the build command of db failed: exit status: 3"
    );
    assert_eq!(error.diagnostics()[0].notes, ["broken"]);

    let missing = Scene::new(&[], &[("db", command(&["no-such-program-here"], &[]))]);
    let error = missing.build().await.unwrap_err();
    assert_eq!(error.to_string(), "failed to run `no-such-program-here`");
}

#[tokio::test]
async fn ctrl_c_ends_a_build_at_once() {
    let scene = Scene::new(&[], &[("db", command(&["sleep", "60"], &[]))]);
    let started = Instant::now();
    let cancel = scene.cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(200)).await;
        cancel.cancel();
    });
    let error = scene.build().await.unwrap_err();
    assert_eq!(error.exit(), Exit::Interrupted);
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn a_cargo_service_becomes_an_image_of_its_binary() {
    let scene = hello();
    let report = scene.build().await.unwrap();
    assert_eq!(report.images["greeter"].outcome, BuildOutcome::Built);
    let (layers, config) = scene.image(&report.images["greeter"]);
    assert_eq!(layers, [["hello"]]);
    let run = &config["config"];
    assert_eq!(run["Entrypoint"], json!(["/hello"]));
    assert_eq!(run["User"], "65532:65532");
    assert_eq!(run["Labels"]["org.opencontainers.image.title"], "greeter");
    assert_eq!(run["Labels"]["org.opencontainers.image.version"], "0.1.0");
    assert!(scene.docker.requests().is_empty(), "no engine is asked");
    let Target { triple, platform } = Target::host();
    let binary = scene
        .root
        .path()
        .join("target/stackctl")
        .join(triple)
        .join("release/hello");
    assert_eq!(
        elf::check(&fs::read(binary).unwrap(), &platform.architecture),
        Ok(())
    );

    let again = scene.build().await.unwrap();
    assert_eq!(again.summary(), "0 built, 1 cached");
    let warned = scene
        .events
        .events()
        .iter()
        .any(|event| matches!(event, Event::Warning(_)));
    assert!(!warned, "all sources are declared");
}

#[tokio::test]
async fn a_binary_does_not_depend_on_what_is_built_with_it() {
    let scene = two_with_one_library();
    let services = |names: &[&str]| -> Vec<ServiceName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    };
    let digest = async |names: &[&str]| {
        let cache = tempfile::tempdir().unwrap();
        let context = BuildContext {
            store: &Store::at(cache.path()).unwrap(),
            engine: None,
            in_registry: &BTreeMap::new(),
            timings: &Timings::off(),
            events: &scene.events,
            cancel: &scene.cancel,
            options: BuildOptions::default(),
        };
        let specs = specs(&scene.stack, Some(&services(names))).unwrap();
        let report = build(&scene.stack, &specs, &context).await.unwrap();
        report.images["plain"].held.clone()
    };
    let alone = digest(&["plain"]).await;
    assert_eq!(alone, digest(&["plain", "rich"]).await);
    let output = std::process::Command::new(
        scene
            .root
            .path()
            .join("target/stackctl")
            .join(Target::host().triple)
            .join("release/plain"),
    )
    .output()
    .unwrap();
    assert_eq!(
        output.stdout, b"true\n",
        "features are united over the whole stack"
    );
}

#[test]
fn a_feature_that_another_service_switches_on_is_an_input() {
    let scene = two_with_one_library();
    let tags = || {
        let specs = specs(&scene.stack, None).unwrap();
        ["plain", "rich"].map(|name| specs[name].reference.clone())
    };
    let before = tags();
    let file = scene.root.path().join("rich/Cargo.toml");
    let manifest = fs::read_to_string(&file).unwrap();
    fs::write(&file, manifest.clone() + "\n[lints]\n").unwrap();
    assert_eq!(tags(), before, "lints are compiled into nothing");
    fs::write(&file, manifest.replace("[\"rich\"]", "[]")).unwrap();
    let after = tags();
    assert_ne!(
        after[0], before[0],
        "`plain` is compiled without the feature now"
    );
    assert_ne!(after[1], before[1]);
}

/// `rich` switches on a feature of the library that `plain` uses, too.
fn two_with_one_library() -> Scene {
    let main = "fn main() { println!(\"{}\", kit::rich()); }\n";
    let manifest = |name: &str, rest: &str| {
        format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n{rest}")
    };
    let lock = |name: &str, rest: &str| {
        format!("\n[[package]]\nname = \"{name}\"\nversion = \"0.1.0\"\n{rest}")
    };
    let needs = "dependencies = [\n \"kit\",\n]\n";
    let files = [
        (
            "Cargo.toml",
            "[workspace]\nresolver = \"3\"\nmembers = [\"kit\", \"plain\", \"rich\"]\n".to_owned(),
        ),
        (
            "Cargo.lock",
            "version = 4\n".to_owned()
                + &lock("kit", "")
                + &lock("plain", needs)
                + &lock("rich", needs),
        ),
        ("kit/Cargo.toml", manifest("kit", "[features]\nrich = []\n")),
        (
            "kit/src/lib.rs",
            "pub fn rich() -> bool { cfg!(feature = \"rich\") }\n".to_owned(),
        ),
        (
            "plain/Cargo.toml",
            manifest("plain", "[dependencies]\nkit = { path = \"../kit\" }\n"),
        ),
        ("plain/src/main.rs", main.to_owned()),
        (
            "rich/Cargo.toml",
            manifest(
                "rich",
                "[dependencies]\nkit = { path = \"../kit\", features = [\"rich\"] }\n",
            ),
        ),
        ("rich/src/main.rs", main.to_owned()),
    ];
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(file, text)| (*file, text.as_str()))
        .collect();
    Scene::new(
        &files,
        &[("plain", cargo("plain")), ("rich", cargo("rich"))],
    )
}

#[tokio::test]
async fn the_compilers_words_are_shown() {
    let scene = hello();
    write(
        scene.root.path(),
        &[("hello/src/main.rs", "fn main() { nothing }\n")],
    );
    let error = scene.build().await.unwrap_err();
    assert_eq!(error.to_string(), "cargo could not compile hello");
    assert!(error.diagnostics()[0].notes[0].contains("cannot find value `nothing`"));
    assert!(scene.store().layout().names().unwrap().is_empty());
}

#[tokio::test]
async fn a_source_that_the_tag_does_not_cover_is_an_error() {
    let scene = hello();
    let main = "fn main() { print!(\"{}\", include_str!(\"../tests/words.txt\")); }\n";
    write(
        scene.root.path(),
        &[("hello/src/main.rs", main), ("hello/tests/words.txt", "x")],
    );
    let error = scene.build().await.unwrap_err();
    let problem = &error.diagnostics()[0];
    assert_eq!(
        problem.message,
        "`hello/tests/words.txt` is compiled into greeter, but its tag does not depend on it"
    );
    assert_eq!(
        problem.hints,
        ["write `inputs: [hello/tests/words.txt]` below `build` in services/greeter/service.yaml"]
    );
    let names = scene.store().layout().names().unwrap();
    assert!(names.is_empty(), "the image has no name");
}

#[tokio::test]
async fn a_second_build_waits_for_the_first() {
    let scene = hello();
    let held = lock(scene.root.path());
    let build = scene.build();
    let release = async {
        let waits = |event: &Event| matches!(event, Event::Note(note) if note.contains("waiting"));
        while !scene.events.events().iter().any(waits) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let spec = specs(&scene.stack, None)
            .unwrap()
            .remove("greeter")
            .unwrap();
        let image = scene
            .store()
            .layout()
            .add(media_type::INDEX, &Index::new(Vec::new()).to_json());
        scene.store().keep(&spec, &image.unwrap()).unwrap();
        drop(held);
    };
    let (report, ()) = tokio::join!(build, release);
    let report = report.unwrap();
    assert_eq!(
        report.summary(),
        "0 built, 1 cached",
        "the first one built it"
    );
}

fn lock(root: &Path) -> fs::File {
    StateFolder::of(root)
        .try_lock("build.lock")
        .unwrap()
        .unwrap()
}
