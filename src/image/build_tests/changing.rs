//! Sources that are edited while images are made of them, and restored before anybody looks.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::SystemTime;

use super::super::test_stack::span;
use super::proofs::{command_scene, leave_image};
use super::*;
use crate::stack::{CargoBuild, Copied, FilesBuild, NativeBuild};

fn copied(from: &str, to: &str) -> FilesBuild {
    let copied = Copied {
        to: to.to_owned(),
        span: span(),
    };
    FilesBuild {
        copies: [(PathBuf::from(from), copied)].into(),
        ..FilesBuild::default()
    }
}

/// An image of the folder `web` that starts `/srv/run`.
fn pages() -> Scene {
    let mut build = NativeBuild::from(CargoBuild::new("unused", span()));
    build.cargo = None;
    build.files = copied("web", "/srv");
    build.run.entrypoint = vec!["/srv/run".to_owned()];
    let files = [("web/run", "1"), (".gitignore", "web\n")];
    Scene::new(&files, &[("pages", Build::Native(Box::new(build)))])
}

/// Puts another content in place of that of `path`, and the old one back with the old time.
fn edit_and_restore(path: &Path) {
    let before = fs::read(path).unwrap();
    let time = fs::metadata(path).unwrap().modified().unwrap();
    fs::write(path, "something else").unwrap();
    fs::write(path, before).unwrap();
    set_time(path, time);
}

fn set_time(path: &Path, time: SystemTime) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(time).unwrap();
}

/// The clock of a file system moves but every few milliseconds.
fn wait_for_the_clock() {
    std::thread::sleep(Duration::from_millis(50));
}

#[tokio::test]
async fn a_context_that_was_edited_and_restored_gives_no_image() {
    let scene = web();
    scene
        .docker
        .answer_builds([json!({"aux": {"ID": "sha256:7"}})]);
    let edited = scene.root.path().join("web/x");
    wait_for_the_clock();
    scene
        .docker
        .during_builds(move || edit_and_restore(&edited));
    let error = scene.build().await.unwrap_err();
    let found = &error.diagnostics()[0];
    assert_eq!(found.notes, ["changed: file web/x"]);
    assert_eq!(found.hints.len(), 1, "no command did it: {:?}", found.hints);
    assert!(!scene.docker.images().contains_key(&scene.reference("web")));
}

#[tokio::test]
async fn a_command_that_writes_its_inputs_is_told_so() {
    let scene = command_scene("echo 2 > input; printf 1 > input");
    wait_for_the_clock();
    let (built, _) = tokio::join!(scene.build(), leave_image(&scene, "sha256:1"));
    let found = built.unwrap_err().diagnostics().remove(0);
    assert_eq!(found.notes, ["changed: file input"]);
    assert!(
        found.hints[1].contains("`inputs` name only what it reads"),
        "{:?}",
        found.hints
    );
}

#[tokio::test]
async fn a_built_front_end_that_git_ignores_is_in_the_image() {
    let scene = pages();
    let report = scene.build().await.unwrap();
    let (layers, config) = scene.image(&report.images["pages"]);
    assert_eq!(layers, [["srv/run"]]);
    assert_eq!(config["config"]["Entrypoint"], json!(["/srv/run"]));
    let before = scene.reference("pages");
    write(scene.root.path(), &[("web/run", "2")]);
    assert_ne!(scene.reference("pages"), before);
    fs::remove_dir_all(scene.root.path().join("web")).unwrap();
    fs::create_dir(scene.root.path().join("web")).unwrap();
    let error = specs(&scene.stack, None).unwrap_err();
    assert_eq!(error.to_string(), "there is no file in `web`");
    assert_eq!(error.exit(), Exit::BadInput);
    assert_eq!(error.diagnostics()[0].labels.len(), 1);
}

#[tokio::test]
async fn only_what_the_tag_says_is_packed() {
    let scene = pages();
    write(scene.root.path(), &[("web/a", "1")]);
    std::os::unix::fs::symlink("a", scene.root.path().join("web/link")).unwrap();
    let specs = specs(&scene.stack, None).unwrap();
    let path = |file: &str| scene.root.path().join(file);
    type Edit<'a> = &'a dyn Fn();
    let table: &[(&str, Edit<'_>, Edit<'_>)] = &[
        ("web/a", &|| fs::write(path("web/a"), "2").unwrap(), &|| {
            fs::write(path("web/a"), "1").unwrap();
        }),
        ("web/b", &|| fs::write(path("web/b"), "").unwrap(), &|| {
            fs::remove_file(path("web/b")).unwrap();
        }),
        (
            "web/a",
            &|| fs::remove_file(path("web/a")).unwrap(),
            &|| {
                fs::write(path("web/a"), "1").unwrap();
            },
        ),
        (
            "web/link",
            &|| fs::rename(path("web/link"), path("web/other")).unwrap(),
            &|| fs::rename(path("web/other"), path("web/link")).unwrap(),
        ),
    ];
    for (file, edit, restore) in table {
        edit();
        let error = scene.build_of(&specs).await.unwrap_err();
        let note = &error.diagnostics()[0].notes[0];
        assert!(note.contains(&format!("file {file}")), "{note}");
        assert!(matches!(error, BuildError::SourcesChanged { .. }));
        restore();
    }
    scene.build_of(&specs).await.unwrap();
}

#[tokio::test]
async fn nobody_waits_while_files_are_packed() {
    let scene = pages();
    let noise: Vec<u8> = (0..2_000_000_u64)
        .flat_map(|number| blake3::hash(&number.to_le_bytes()).as_bytes()[..8].to_vec())
        .collect();
    fs::write(scene.root.path().join("web/noise"), noise).unwrap();
    let specs = specs(&scene.stack, None).unwrap();
    let mut ticks = 0;
    let tick = async {
        loop {
            tokio::time::sleep(Duration::from_millis(1)).await;
            ticks += 1;
        }
    };
    tokio::select! {
        built = scene.build_of(&specs) => drop(built.unwrap()),
        () = tick => {}
    }
    assert!(ticks > 20, "16 MB were packed in {ticks} ticks");
}

#[tokio::test]
async fn a_file_that_came_and_went_is_not_in_an_image() {
    let scene = web();
    scene
        .docker
        .answer_builds([json!({"aux": {"ID": "sha256:7"}})]);
    let specs = specs(&scene.stack, None).unwrap();
    let new = scene.root.path().join("web/new");
    fs::write(&new, "").unwrap();
    scene
        .docker
        .during_builds(move || fs::remove_file(&new).unwrap());
    let error = scene.build_of(&specs).await.unwrap_err();
    assert_eq!(error.diagnostics()[0].notes, ["changed: file web/new"]);
}

/// `hello`, which says the words in a file.
fn wordy(files: &[(&str, &str)]) -> Scene {
    let scene = hello();
    let main = "fn main() { println!(\"{}\", include_str!(\"words\")); }\n";
    let own = [("hello/src/main.rs", main), ("hello/src/words", "right")];
    write(scene.root.path(), &own);
    write(scene.root.path(), files);
    wait_for_the_clock();
    scene
}

fn output(scene: &Scene) -> String {
    let folder = scene.root.path().join("target/stackctl");
    let binary = folder.join(Target::host().triple).join("release/hello");
    let output = std::process::Command::new(binary).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// In place of rustc: the first time it compiles other words, and gives the old ones back with their time.
const WRAPPER: &str = r#"#!/bin/sh
here=$(dirname "$0")
words="$here/hello/src/words"
case "$*" in
*"--crate-name hello "*)
    if mkdir "$here/ran" 2>/dev/null; then
        cp -p "$words" "$here/kept"
        printf wrong > "$words"
        "$@"
        status=$?
        cat "$here/kept" > "$words"
        touch -r "$here/kept" "$words"
        exit $status
    fi ;;
esac
exec "$@"
"#;

#[tokio::test]
async fn a_source_that_was_edited_and_restored_is_compiled_again() {
    let scene = wordy(&[
        ("bin/rustc.sh", WRAPPER),
        (
            ".cargo/config.toml",
            "build.rustc-wrapper = \"bin/rustc.sh\"\n",
        ),
    ]);
    let wrapper = scene.root.path().join("bin/rustc.sh");
    let text = WRAPPER.replace(
        "$(dirname \"$0\")",
        &scene.root.path().display().to_string(),
    );
    fs::write(&wrapper, text).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    let report = scene.build().await.unwrap();
    assert!(scene.root.path().join("ran").exists(), "it took the place");
    assert_eq!(report.images["greeter"].outcome, BuildOutcome::Built);
    assert_eq!(output(&scene), "right\n");
}

#[tokio::test]
async fn a_build_script_may_generate_sources() {
    let script = "fn main() { std::fs::write(\"src/words\", \"right\").unwrap(); }\n";
    let scene = wordy(&[("hello/build.rs", script)]);
    let report = scene.build().await.unwrap();
    assert_eq!(report.images["greeter"].outcome, BuildOutcome::Built);
    assert_eq!(output(&scene), "right\n");
}

#[tokio::test]
async fn a_source_of_a_failed_build_is_not_taken_for_compiled() {
    let scene = wordy(&[]);
    let words = scene.root.path().join("hello/src/words");
    scene.build().await.unwrap();
    // Cargo is given these in a run that compiles nothing.
    fs::write(&words, "others").unwrap();
    let broken = [(".cargo/config.toml", "build.rustc-wrapper = \"bin/no\"\n")];
    write(scene.root.path(), &broken);
    scene.build().await.unwrap_err();
    fs::remove_dir_all(scene.root.path().join(".cargo")).unwrap();
    set_time(&words, SystemTime::now() - Duration::from_secs(1000));
    scene.build().await.unwrap();
    assert_eq!(output(&scene), "others\n");
}
