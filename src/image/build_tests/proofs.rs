//! Which images of the engine are taken for those of a service: their labels prove nothing, their names do.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use super::super::assemble::labels;
use super::*;

/// Takes the name of the image that the running command is to leave, gives it that image, and lets it end.
pub(super) async fn leave_image(scene: &Scene, id: &str) -> String {
    let root = scene.root.path();
    let name = loop {
        match fs::read_to_string(root.join("name")) {
            Ok(name) if name.ends_with('\n') => break name.trim().to_owned(),
            _ => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    let image = FakeImage {
        id: id.to_owned(),
        ..FakeImage::default()
    };
    scene.docker.add_image(&name, image);
    fs::write(root.join("go"), "").unwrap();
    name
}

/// A command that says under which name it is to leave an image, and waits until it is there.
pub(super) fn command_scene(end: &str) -> Scene {
    let script =
        format!("echo \"$STACKCTL_IMAGE\" > name; until [ -e go ]; do sleep 0.02; done; {end}");
    let build = command(&["sh", "-c", &script], &["input"]);
    Scene::new(&[("input", "1")], &[("db", build)])
}

fn references(scene: &Scene) -> Vec<String> {
    scene.docker.images().into_keys().collect()
}

#[tokio::test]
async fn what_a_refused_build_left_is_not_found_by_its_labels() {
    let mut scene = web();
    scene
        .docker
        .answer_builds([json!({"aux": {"ID": "sha256:7"}})]);
    let edited = scene.root.path().join("web/x");
    let path = edited.clone();
    scene
        .docker
        .during_builds(move || fs::write(&path, "2").unwrap());
    scene.build().await.unwrap_err();
    let left = &scene.docker.images()["sha256:7"];
    fs::write(&edited, "1").unwrap();
    let spec = specs(&scene.stack, None).unwrap().remove("web").unwrap();
    assert_eq!(
        left.labels,
        labels(&spec),
        "it says to be what it is not: {left:?}"
    );
    scene.docker.during_builds(|| {});
    scene
        .docker
        .answer_builds([json!({"aux": {"ID": "sha256:8"}})]);
    let report = scene.build().await.unwrap();
    assert_eq!(report.images["web"].outcome, BuildOutcome::Built);
    assert_eq!(
        scene.docker.images()[&scene.reference("web")].id,
        "sha256:8"
    );
    // Under another prefix the good one is found, and neither what inherited its labels nor what has but its name.
    let inherited = FakeImage {
        id: "sha256:0".into(),
        labels: labels(&spec),
        ..FakeImage::default()
    };
    scene.docker.add_image("aaa/other:1", inherited);
    let (_, tag) = spec.reference.rsplit_once(':').unwrap();
    let named = FakeImage {
        id: "sha256:00".into(),
        ..FakeImage::default()
    };
    scene.docker.add_image(&format!("aaa/web:{tag}"), named);
    scene.stack.environment.registry = Some(Registry {
        prefix: "r.example.com/team".into(),
        span: super::super::test_stack::span(),
    });
    let report = scene.build().await.unwrap();
    assert_eq!(report.images["web"].outcome, BuildOutcome::Cached);
    assert_eq!(
        scene.docker.images()[&scene.reference("web")].id,
        "sha256:8"
    );
}

#[tokio::test]
async fn of_several_images_always_the_same_is_taken() {
    let scene = web();
    let spec = specs(&scene.stack, None).unwrap().remove("web").unwrap();
    let (_, tag) = spec.reference.rsplit_once(':').unwrap();
    for (prefix, id) in [
        ("b/x", "sha256:1"),
        ("a/x", "sha256:2"),
        ("c/x", "sha256:0"),
    ] {
        let image = FakeImage {
            id: id.into(),
            labels: labels(&spec),
            ..FakeImage::default()
        };
        scene
            .docker
            .add_image(&format!("{prefix}/web:{tag}"), image);
    }
    let report = scene.build().await.unwrap();
    assert_eq!(
        report.images["web"].held,
        Held::Engine("sha256:2".into()),
        "that of the first name"
    );
}

#[tokio::test]
async fn what_a_failed_command_left_is_not_found() {
    let scene = command_scene("exit 1");
    let (built, name) = tokio::join!(scene.build(), leave_image(&scene, "sha256:1"));
    assert!(matches!(built, Err(BuildError::Command { .. })));
    assert!(!references(&scene).contains(&name), "it is taken away");
    assert!(
        references(&scene).is_empty(),
        "nothing is to be found: {:?}",
        references(&scene)
    );
    let scene = command_scene("exit 0");
    let (built, name) = tokio::join!(scene.build(), leave_image(&scene, "sha256:1"));
    let report = built.unwrap();
    assert_eq!(
        report.images["db"].held,
        Held::Engine("sha256:1".to_owned())
    );
    assert_eq!(references(&scene), [scene.reference("db")], "not {name}");
}

#[tokio::test]
async fn names_that_killed_commands_left_go_after_a_day() {
    let scene = command_scene("exit 0");
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let old = now - 25 * 3600;
    let names: BTreeMap<String, bool> = [
        (format!("seedling/db:1-unfinished-{old}-x"), false),
        (format!("seedling/db:1-unfinished-{now}-x"), true),
        (format!("other/db:1-unfinished-{old}-x"), true),
        ("seedling/db:1".to_owned(), true),
    ]
    .into();
    for (place, name) in names.keys().enumerate() {
        let image = FakeImage {
            id: format!("sha256:1{place}"),
            ..FakeImage::default()
        };
        scene.docker.add_image(name, image);
    }
    let (built, _) = tokio::join!(scene.build(), leave_image(&scene, "sha256:1"));
    built.unwrap();
    let left = references(&scene);
    for (name, stays) in names {
        assert_eq!(left.contains(&name), stays, "{name}");
    }
}
