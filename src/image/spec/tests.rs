//! What an image is made of, for each builder.

use std::fs;
use std::path::Path;

use super::super::features::Features;
use super::super::test_stack::{cargo, command, dockerfile, stack, workspace, write};
use super::*;
use crate::diagnostic::{Exit, Explain};
use crate::stack::Registry;

/// As `specs`, for lock files that name no real packages: cargo is not asked for features.
fn specs(
    stack: &Stack,
    only: Option<&[ServiceName]>,
) -> Result<BTreeMap<ServiceName, ImageSpec>, ImageError> {
    let surroundings = Surroundings {
        environment: &Environment::of_process(),
        resolve: &|_, _, _, _| Ok(Features::default()),
    };
    specs_with(stack, only, surroundings)
}

fn references(stack: &Stack) -> BTreeMap<String, String> {
    specs(stack, None)
        .unwrap()
        .into_values()
        .map(|spec| (spec.service.to_string(), spec.reference))
        .collect()
}

/// Which references an edit changes.
fn changed(stack: &Stack, edit: impl FnOnce(&Path)) -> Vec<String> {
    let before = references(stack);
    edit(&stack.root);
    references(stack)
        .into_iter()
        .filter(|(service, reference)| before[service] != *reference)
        .map(|(service, _)| service)
        .collect()
}

fn replace(root: &Path, file: &str, from: &str, to: &str) {
    let text = fs::read_to_string(root.join(file)).unwrap();
    assert!(text.contains(from), "{file} has no {from}");
    fs::write(root.join(file), text.replace(from, to)).unwrap();
}

fn two_services() -> (tempfile::TempDir, Stack) {
    let root = tempfile::tempdir().unwrap();
    workspace(root.path());
    let stack = stack(root.path(), &[("a", cargo("a")), ("b", cargo("b"))]);
    (root, stack)
}

#[test]
fn an_edit_changes_the_tags_of_what_is_made_from_it() {
    type Edit = fn(&Path);
    let table: &[(&str, Edit, &[&str])] = &[
        (
            "a source of a",
            |root| write(root, &[("services/a/src/main.rs", "fn main() {}")]),
            &["a"],
        ),
        (
            "a new source of b",
            |root| write(root, &[("services/b/src/x.rs", "")]),
            &["b"],
        ),
        (
            "the library under a",
            |root| write(root, &[("crates/kit/src/lib.rs", "")]),
            &["a"],
        ),
        (
            "a lock entry of b",
            |root| replace(root, "Cargo.lock", "r1", "r2"),
            &["b"],
        ),
        (
            "a lock entry of a",
            |root| replace(root, "Cargo.lock", "s1", "s2"),
            &["a"],
        ),
        (
            "a lock entry of tests",
            |root| replace(root, "Cargo.lock", "i1", "i2"),
            &[],
        ),
        (
            "a test",
            |root| write(root, &[("services/a/tests/api.rs", "")]),
            &[],
        ),
        (
            "the service file",
            |root| write(root, &[("services/a/service.yaml", "ports: {}")]),
            &[],
        ),
        (
            "the profile",
            |root| replace(root, "Cargo.toml", "strip = true", "strip = false"),
            &["a", "b"],
        ),
        (
            "another profile",
            |root| replace(root, "Cargo.toml", "opt-level = 1", "opt-level = 2"),
            &[],
        ),
        (
            "the lints",
            |root| replace(root, "Cargo.toml", "forbid", "deny"),
            &[],
        ),
        (
            "a shared dependency of b",
            |root| replace(root, "Cargo.toml", "rand = \"0.9\"", "rand = \"0.9.0\""),
            &["b"],
        ),
        (
            "the shared licence, which nobody inherits",
            |root| replace(root, "Cargo.toml", "MIT", "Apache-2.0"),
            &[],
        ),
        (
            "cargo's flags",
            |root| {
                write(
                    root,
                    &[(".cargo/config.toml", "build.rustflags = '-Copt-level=1'")],
                )
            },
            &["a", "b"],
        ),
        (
            "something else",
            |root| write(root, &[("docs/x.md", ""), ("target/x", "")]),
            &[],
        ),
    ];
    for (what, edit, expected) in table {
        let (_root, stack) = two_services();
        assert_eq!(changed(&stack, edit), *expected, "{what}");
    }
}

#[test]
fn an_alias_of_cargo_is_no_input() {
    let (_root, stack) = two_services();
    write(
        &stack.root,
        &[(
            ".cargo/config.toml",
            "[build]\njobs = 1\n[alias]\nx = 'run'\n",
        )],
    );
    let edit = |root: &Path| replace(root, ".cargo/config.toml", "'run'", "'build'");
    assert!(changed(&stack, edit).is_empty());
}

#[test]
fn references_hold_prefix_service_and_digest_and_are_the_same_in_every_folder() {
    let (_one, mut stack) = two_services();
    let (_two, elsewhere) = two_services();
    let first = references(&stack);
    assert_eq!(first, references(&elsewhere));
    let (name, tag) = first["a"].split_once(':').unwrap();
    assert_eq!(name, "seedling/a");
    assert!(
        tag.len() == 20 && tag.chars().all(|c| c.is_ascii_hexdigit()),
        "{tag}"
    );
    stack.environment.registry = Some(Registry {
        prefix: "r.example.com/team".into(),
        span: super::super::test_stack::span(),
    });
    assert_eq!(
        references(&stack)["a"],
        format!("r.example.com/team/a:{tag}")
    );
    let only = specs(&stack, Some(&["b".parse().unwrap()])).unwrap();
    assert_eq!(only.len(), 1);
    let spec = &only["b"];
    assert_eq!(spec.labels["org.opencontainers.image.version"], "0.1.0");
}

#[test]
fn dockerfiles_and_commands_depend_on_what_they_are_given() {
    let root = tempfile::tempdir().unwrap();
    write(
        root.path(),
        &[
            ("web/Dockerfile", "FROM scratch\nCOPY x /\n"),
            ("web/.dockerignore", "*.log\n"),
            ("web/x", ""),
            ("images/db/rules", ""),
        ],
    );
    let ready = Build::Image {
        reference: "redis:7".into(),
        span: super::super::test_stack::span(),
    };
    let services = [
        ("db", command(&["cargo", "xtask", "image"], &["images/db"])),
        ("cache", ready),
        ("web", dockerfile("web/Dockerfile")),
    ];
    let stack = stack(root.path(), &services);
    assert_eq!(references(&stack)["cache"], "redis:7");
    type Edit = fn(&Path);
    let table: &[(Edit, &[&str])] = &[
        (|root| write(root, &[("web/x", "1")]), &["web"]),
        (|root| write(root, &[("web/a.log", "1")]), &[]),
        (
            |root| fs::create_dir(root.join("web/empty")).unwrap(),
            &["web"],
        ),
        (|root| write(root, &[("images/db/rules", "1")]), &["db"]),
        (|root| write(root, &[("images/x", "1")]), &[]),
    ];
    for (edit, expected) in table {
        assert_eq!(changed(&stack, edit), *expected);
    }
}

fn first_problem(stack: &Stack) -> String {
    let error = specs(stack, None).unwrap_err();
    assert_eq!(error.exit(), Exit::BadInput, "{error}");
    let diagnostics = error.diagnostics();
    assert!(diagnostics.iter().all(|found| !found.labels.is_empty()));
    diagnostics[0].message.clone()
}

#[test]
fn what_is_wrong_is_named() {
    type Edit = fn(&Path);
    let table: &[(Edit, &str)] = &[
        (
            |root| fs::remove_file(root.join("Cargo.lock")).unwrap(),
            "there is no Cargo.lock, so what an image would be made from is not known",
        ),
        (
            |root| fs::remove_file(root.join("Cargo.toml")).unwrap(),
            "there is no Cargo.toml in the repository, but a service is built by cargo",
        ),
        (
            |root| replace(root, "Cargo.lock", ", \"serde\"]", "]"),
            "Cargo.lock is out of date: it does not know that `a` needs `serde`",
        ),
        (
            |root| replace(root, "services/a/Cargo.toml", "\"a\"", "\"c\""),
            "there is no package `a` in this workspace",
        ),
        (
            |root| fs::remove_file(root.join("services/a/src/main.rs")).unwrap(),
            "package `a` has no binary `a`",
        ),
        (
            |root| write(root, &[("services/b/Cargo.toml", "[package\n")]),
            "unclosed table, expected `]`",
        ),
    ];
    for (edit, expected) in table {
        let (_root, stack) = two_services();
        edit(&stack.root);
        assert_eq!(first_problem(&stack), *expected);
    }
}

#[test]
fn all_problems_are_found_at_once() {
    let root = tempfile::tempdir().unwrap();
    workspace(root.path());
    let services = [
        ("a", cargo("aa")),
        ("b", dockerfile("b/Dockerfile")),
        ("c", command(&["make"], &["nowhere"])),
    ];
    let error = specs(&stack(root.path(), &services), None).unwrap_err();
    let messages: Vec<String> = error.0.iter().map(ToString::to_string).collect();
    assert_eq!(
        messages,
        [
            "there is no package `aa` in this workspace",
            "the Dockerfile `b/Dockerfile` does not exist",
            "the input `nowhere` does not exist",
        ]
    );
    assert_eq!(error.diagnostics()[0].hints, ["did you mean `a`?"]);
}
