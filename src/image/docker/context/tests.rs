//! Contexts of folders on disk.

use super::*;
use crate::diagnostic::{SourceFile, Span};

fn build(dockerfile: &str, context: &str) -> DockerfileBuild {
    let span = Span::start_of(&SourceFile::new("service.yaml", ""));
    let mut build = DockerfileBuild::new(dockerfile.into(), span);
    build.context = context.into();
    build
}

fn write(root: &Path, files: &[(&str, &str)]) {
    for (file, text) in files {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

fn listing(context: &Context) -> Vec<String> {
    let bytes = context.write(Vec::new()).unwrap();
    tar_paths(&bytes)
}

fn tar_paths(bytes: &[u8]) -> Vec<String> {
    tar::Archive::new(bytes)
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect()
}

#[test]
fn the_archive_holds_what_is_not_ignored_and_the_dockerfile() {
    let root = tempfile::tempdir().unwrap();
    write(
        root.path(),
        &[
            ("app/Dockerfile", "FROM scratch\n"),
            ("app/.dockerignore", "*\n!src\nsrc/*.log\n!deep/keep\n"),
            ("app/src/main.rs", ""),
            ("app/src/a.log", ""),
            ("app/deep/keep", ""),
            ("app/deep/other", ""),
            ("app/other/x", ""),
        ],
    );
    let build = build("app/Dockerfile", "app");
    let context = Context::read(root.path(), &build).unwrap();
    assert_eq!(
        listing(&context),
        [
            ".dockerignore",
            "Dockerfile",
            "deep/",
            "deep/keep",
            "src/",
            "src/main.rs"
        ]
    );
    assert_eq!(context.files(&build).len(), 4);
}

#[test]
fn what_we_write_ourselves_is_no_input() {
    let root = tempfile::tempdir().unwrap();
    write(
        root.path(),
        &[
            ("Dockerfile", "FROM scratch\n"),
            (".stackctl/build.lock", ""),
            ("target/stackctl/x", ""),
            ("target/y", ""),
        ],
    );
    let context = Context::read(root.path(), &build("Dockerfile", ".")).unwrap();
    assert_eq!(listing(&context), ["Dockerfile", "target/", "target/y"]);
}

#[test]
fn a_file_with_a_secret_is_not_sent() {
    let root = tempfile::tempdir().unwrap();
    write(
        root.path(),
        &[
            ("Dockerfile", "FROM scratch\n"),
            ("keys/token", "s3cret"),
            ("keys/b", ""),
        ],
    );
    let mut build = build("Dockerfile", "");
    let secret = crate::stack::BuildSecret {
        source: BuildSecretSource::File("keys/token".into()),
        span: build.span.clone(),
    };
    build.secrets.insert("token".to_owned(), secret);
    let context = Context::read(root.path(), &build).unwrap();
    assert_eq!(listing(&context), ["Dockerfile", "keys/", "keys/b"]);
    assert!(context.has("./keys/b") && context.has(".") && context.has("/keys/"));
    assert!(!context.has("keys/token") && context.is_ignored("keys/token"));
    assert!(!context.is_ignored("keys/c"));
}

#[test]
fn a_dockerfile_outside_its_context_and_its_own_ignore_file() {
    let root = tempfile::tempdir().unwrap();
    write(
        root.path(),
        &[
            ("docker/app.Dockerfile", "FROM scratch\n"),
            ("docker/app.Dockerfile.dockerignore", "b\n"),
            ("app/.dockerignore", "a\n"),
            ("app/a", ""),
            ("app/b", ""),
        ],
    );
    let build = build("docker/app.Dockerfile", "app");
    let context = Context::read(root.path(), &build).unwrap();
    assert_eq!(context.dockerfile, ".dockerfile.stackctl");
    assert_eq!(
        listing(&context),
        [".dockerfile.stackctl", ".dockerignore", "a"]
    );
    assert!(
        context
            .files(&build)
            .contains(&"docker/app.Dockerfile".into())
    );
}

#[test]
fn a_dockerfile_from_outside_stands_where_its_name_belongs() {
    let root = tempfile::tempdir().unwrap();
    write(
        root.path(),
        &[
            ("docker/Dockerfile", "FROM scratch\n"),
            ("app/+page.svelte", ""),
            ("app/.babelrc", ""),
            ("app/.cargo/config.toml", ""),
            ("app/.circleci/config.yml", ""),
            ("app/.dockerfile.d/x", ""),
            ("app/.env", ""),
            ("app/src/main.rs", ""),
        ],
    );
    let context = Context::read(root.path(), &build("docker/Dockerfile", "app")).unwrap();
    assert_eq!(
        listing(&context),
        [
            "+page.svelte",
            ".babelrc",
            ".cargo/",
            ".cargo/config.toml",
            ".circleci/",
            ".circleci/config.yml",
            ".dockerfile.d/",
            ".dockerfile.d/x",
            ".dockerfile.stackctl",
            ".env",
            "src/",
            "src/main.rs"
        ]
    );
    assert!(
        !context.has(".dockerfile.stackctl"),
        "nobody may copy what is not theirs"
    );
}

#[test]
fn a_file_of_the_name_that_the_dockerfile_gets_stays() {
    let root = tempfile::tempdir().unwrap();
    write(
        root.path(),
        &[
            ("docker/Dockerfile", "FROM scratch\n"),
            ("app/.dockerfile.stackctl", "theirs"),
            ("app/.dockerfile.stackctl-1/x", "theirs"),
        ],
    );
    let context = Context::read(root.path(), &build("docker/Dockerfile", "app")).unwrap();
    assert_eq!(context.dockerfile, ".dockerfile.stackctl-2");
    assert_eq!(
        listing(&context),
        [
            ".dockerfile.stackctl",
            ".dockerfile.stackctl-1/",
            ".dockerfile.stackctl-1/x",
            ".dockerfile.stackctl-2"
        ]
    );
}

#[test]
fn what_is_missing_is_named() {
    let root = tempfile::tempdir().unwrap();
    let error = Context::read(root.path(), &build("Dockerfile", "")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the Dockerfile `Dockerfile` does not exist"
    );
    write(root.path(), &[("Dockerfile", "")]);
    let error = Context::read(root.path(), &build("Dockerfile", "app")).unwrap_err();
    assert_eq!(error.to_string(), "the context `app` does not exist");
}
