//! Builds with a real cargo: that each image holds its own program, made from what its tag says.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use oci_image::Decompressor;

use super::build_tests::Scene;
use super::report::{BuildReport, Held};
use super::spec::specs;
use super::target::Target;
use super::test_stack::{cargo, span, stack, write};
use crate::diagnostic::Explain;
use crate::stack::{Build, CargoBuild, CargoInput, ServiceName};

fn manifest(name: &str, rest: &str) -> String {
    format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n{rest}")
}

fn locked(name: &str, dependencies: &str) -> String {
    format!("\n[[package]]\nname = \"{name}\"\nversion = \"0.1.0\"\n{dependencies}")
}

/// A workspace of `packages`, each with the rest of its manifest and its `main`.
fn workspace(packages: &[(&str, &str, &str)]) -> Vec<(String, String)> {
    let names: Vec<String> = packages
        .iter()
        .map(|(name, ..)| format!("{name:?}"))
        .collect();
    let lock: String = packages.iter().map(|(name, ..)| locked(name, "")).collect();
    let mut files = vec![
        (
            "Cargo.toml".to_owned(),
            format!(
                "[workspace]\nresolver = \"3\"\nmembers = [{}]\n",
                names.join(", ")
            ),
        ),
        ("Cargo.lock".to_owned(), format!("version = 4\n{lock}")),
    ];
    for (name, rest, main) in packages {
        files.push((format!("{name}/Cargo.toml"), manifest(name, rest)));
        files.push((format!("{name}/src/main.rs"), (*main).to_owned()));
    }
    files
}

fn scene(files: &[(String, String)], services: &[(&str, Build)]) -> Scene {
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(file, text)| (file.as_str(), text.as_str()))
        .collect();
    Scene::new(&files, services)
}

fn with_bin(package: &str, bin: &str) -> Build {
    let build = CargoBuild {
        bin: bin.to_owned(),
        ..CargoBuild::new(package, span())
    };
    Build::Native(Box::new(build.into()))
}

fn with_input(package: &str, path: &str) -> Build {
    let build = CargoBuild {
        inputs: vec![CargoInput::Path {
            path: path.into(),
            span: span(),
        }],
        ..CargoBuild::new(package, span())
    };
    Build::Native(Box::new(build.into()))
}

/// What the program in the image of a service prints.
fn printed(scene: &Scene, report: &BuildReport, service: &str) -> String {
    let Held::Store(descriptor) = &report.images[service].held else {
        panic!("it is not in the store");
    };
    let store = scene.store();
    let image = store.image(descriptor, &Target::host().platform).unwrap();
    let layer = image.manifest.layers.last().unwrap();
    let reader = Decompressor::new(store.layout().reader(layer).unwrap(), 1 << 30).unwrap();
    let mut archive = tar::Archive::new(reader);
    let mut program = Vec::new();
    let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
    entry.read_to_end(&mut program).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("program");
    fs::write(&path, program).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    // A shell starts it: another test that forks meanwhile may still hold the file open for writing.
    let script =
        "until out=$(\"$0\" 2>/dev/null) || [ $? != 126 ]; do sleep 0.05; done; echo \"$out\"";
    let output = Command::new("sh")
        .args(["-c", script])
        .arg(&path)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn prints(words: &str) -> String {
    format!("fn main() {{ println!({words}); }}\n")
}

#[tokio::test]
async fn two_packages_with_a_binary_of_one_name_keep_their_programs() {
    let bin = "[[bin]]\nname = \"server\"\npath = \"src/main.rs\"\n";
    let (one, other) = (prints("\"one\""), prints("\"other\""));
    let files = workspace(&[("one", bin, &one), ("other", bin, &other)]);
    let services = [
        ("one", with_bin("one", "server")),
        ("other", with_bin("other", "server")),
    ];
    let built = scene(&files, &services);
    let report = built.build().await.unwrap();
    let held = |report: &BuildReport| -> BTreeMap<String, Held> {
        let images = report.images.iter();
        images
            .map(|(name, image)| (name.to_string(), image.held.clone()))
            .collect()
    };
    for name in ["one", "other"] {
        assert_eq!(printed(&built, &report, name), name);
        // Alone and in a fresh folder, then with what was compiled for both: the same image.
        let alone = scene(&files, &services);
        let only: [ServiceName; 1] = [name.parse().unwrap()];
        let single = alone.build_only(Some(&only)).await.unwrap();
        assert_eq!(held(&single)[name], held(&report)[name], "{name}");
    }
}

#[tokio::test]
async fn a_declared_file_is_an_input_even_where_cargo_does_not_see_it() {
    let script = "fn main() {\n    let words = std::fs::read_to_string(\"../shared/words\").unwrap();\n    \
                  println!(\"cargo::rustc-env=WORDS={words}\");\n    println!(\"cargo::rerun-if-changed=build.rs\");\n}\n";
    let main = prints("\"{} {}\", env!(\"WORDS\"), include_str!(\"../../shared/other\")");
    let mut files = workspace(&[("app", "", &main)]);
    for (file, text) in [
        ("app/build.rs", script),
        ("shared/words", "first"),
        ("shared/other", "text"),
    ] {
        files.push((file.to_owned(), text.to_owned()));
    }
    let scene = scene(&files, &[("app", with_input("app", "shared"))]);
    let report = scene.build().await.unwrap();
    assert_eq!(printed(&scene, &report, "app"), "first text");
    write(scene.root.path(), &[("shared/words", "second")]);
    let report = scene.build().await.unwrap();
    assert_eq!(printed(&scene, &report, "app"), "second text");
}

#[tokio::test]
async fn what_a_build_script_makes_needs_no_declaration() {
    let script = "fn main() {\n    let folder = std::env::var(\"OUT_DIR\").unwrap();\n    \
                  std::fs::write(format!(\"{folder}/made\"), \"made\").unwrap();\n    \
                  println!(\"cargo::rerun-if-changed=proto\");\n}\n";
    let main = prints("\"{}\", include_str!(concat!(env!(\"OUT_DIR\"), \"/made\"))");
    let mut files = workspace(&[("app", "", &main)]);
    files.push(("app/build.rs".to_owned(), script.to_owned()));
    files.push(("app/proto/a.proto".to_owned(), String::new()));
    let scene = scene(&files, &[("app", cargo("app"))]);
    let report = scene.build().await.unwrap();
    assert_eq!(printed(&scene, &report, "app"), "made");
}

#[tokio::test]
async fn a_file_that_git_ignores_is_no_hidden_source() {
    let main = prints("\"{}\", include_str!(\"generated.txt\")");
    let mut files = workspace(&[("app", "", &main)]);
    files.push((".gitignore".to_owned(), "generated.txt\n".to_owned()));
    files.push(("app/src/generated.txt".to_owned(), "x".to_owned()));
    let scene = scene(&files, &[("app", cargo("app"))]);
    let error = scene.build().await.unwrap_err();
    assert_eq!(
        error.diagnostics()[0].message,
        "`app/src/generated.txt` is compiled into app, but its tag does not depend on it"
    );
}

/// `app` over `a` of another workspace beside the repository, which inherits the path of `kit` there.
fn beside(folder: &Path) -> PathBuf {
    let needs = |name: &str| format!("dependencies = [\n \"{name}\",\n]\n");
    let lock = [
        locked("a", &needs("kit")),
        locked("app", &needs("a")),
        locked("kit", ""),
    ];
    let files = [
        (
            "repo/Cargo.toml",
            "[workspace]\nresolver = \"3\"\nmembers = [\"app\"]\n".to_owned(),
        ),
        ("repo/Cargo.lock", format!("version = 4\n{}", lock.concat())),
        (
            "repo/app/Cargo.toml",
            manifest("app", "[dependencies]\na = { path = \"../../shared/a\" }\n"),
        ),
        ("repo/app/src/main.rs", prints("\"{}\", a::place()")),
        (
            "shared/Cargo.toml",
            "[workspace]\nresolver = \"3\"\nmembers = [\"a\"]\n[workspace.dependencies]\nkit = { path = \"kit\" }\n"
                .to_owned(),
        ),
        ("shared/a/Cargo.toml", manifest("a", "[dependencies]\nkit.workspace = true\n")),
        (
            "shared/a/src/lib.rs",
            "pub fn place() -> &'static str { kit::place() }\n".to_owned(),
        ),
        ("shared/kit/Cargo.toml", manifest("kit", "")),
        (
            "shared/kit/src/lib.rs",
            "pub fn place() -> &'static str { file!() }\n".to_owned(),
        ),
    ];
    for (file, text) in &files {
        write(folder, &[(file, text)]);
    }
    folder.join("repo")
}

#[tokio::test]
async fn packages_beside_the_repository_are_inputs_and_their_place_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let root = beside(folder.path());
    let services = [("app", cargo("app"))];
    let mut scene = Scene::new(&[], &services);
    scene.stack = stack(&root, &services);
    let reference = |scene: &Scene| specs(&scene.stack, None).unwrap()["app"].reference.clone();
    let before = reference(&scene);
    let report = scene.build().await.unwrap();
    assert_eq!(
        printed(&scene, &report, "app"),
        "/source/../shared/kit/src/lib.rs"
    );
    let library = "pub fn place() -> &'static str { \"edited\" }\n";
    write(folder.path(), &[("shared/kit/src/lib.rs", library)]);
    assert_ne!(reference(&scene), before);
    let report = scene.build().await.unwrap();
    assert_eq!(printed(&scene, &report, "app"), "edited");
}
