//! What would make images that nobody finds, or other ones than are meant: refused before anything is built.

use crate::pages::{self, FILES};

/// Characters that may stand in a reference, in an order that makes none.
#[test]
fn a_registry_that_makes_no_reference_is_refused_where_it_is_written() {
    for registry in [
        "r.io/a:b",
        "r.io//x",
        "r.io/-x",
        "r.io/a/",
        ":5000/x",
        "r.io:port/x",
        "''",
    ] {
        let workspace = pages::stack(FILES);
        let environment = format!("cluster: local\nregistry: {registry}\n");
        workspace.write("environments/local.yaml", environment);
        let run = pages::run(&workspace, &["build", "--to", "registry"]);
        if registry == "r.io/a/" {
            // A slash at the end says nothing else.
            assert!(!run.stderr.contains("local.yaml"), "{}", run.stderr);
            continue;
        }
        assert_eq!(run.code, 2, "{registry}: {}", run.stderr);
        for words in ["environments/local.yaml:2:11", "registry"] {
            assert!(run.stderr.contains(words), "{registry}: {}", run.stderr);
        }
        assert!(!pages::cache(&workspace).exists(), "nothing was begun");
    }
}

#[test]
fn registries_are_hosts_with_and_without_port_and_path() {
    for registry in ["localhost:5000", "r.io", "r.io/team/shop", "team"] {
        let workspace = pages::stack(FILES);
        let environment = format!("cluster: local\nregistry: {registry}\n");
        workspace.write("environments/local.yaml", environment);
        let run = pages::run(&workspace, &["build", "--to", "oci:out"]);
        assert_eq!(run.code, 0, "{registry}: {}", run.stderr);
    }
}

#[test]
fn a_malformed_time_is_no_time() {
    let workspace = pages::stack(FILES);
    for time in ["yesterday", "-1", "1e9", "99999999999999"] {
        for command in [&["build", "--to", "oci:out"][..], &["build", "--sbom"]] {
            let run = pages::run_with(&workspace, command, &[("SOURCE_DATE_EPOCH", time)]);
            assert_eq!(run.code, 2, "{time}: {}", run.stderr);
            let expected = format!("error[S0470]: SOURCE_DATE_EPOCH is `{time}`");
            assert!(run.stderr.contains(&expected), "{}", run.stderr);
        }
        assert!(!workspace.path().join("out").exists());
    }
    for (time, created) in [
        ("1714564800", "2024-05-01T12:00:00Z"),
        ("", "1970-01-01T00:00:00Z"),
    ] {
        let arguments = &["build", "--to", "oci:out"];
        let run = pages::run_with(&workspace, arguments, &[("SOURCE_DATE_EPOCH", time)]);
        assert_eq!(run.code, 0, "{}", run.stderr);
        let images = pages::images(&workspace);
        let manifest = pages::manifest(&images, &pages::named(&images, "pages:"));
        let found = &manifest.annotations["org.opencontainers.image.created"];
        assert_eq!(found, created);
        pages::remove(&pages::cache(&workspace));
    }
}

/// Users are lines of `/etc/passwd`, whether an image has packages or not.
#[test]
fn users_that_would_break_the_list_of_users_are_refused_where_they_are_written() {
    for (users, place, words) in [
        (
            "{ app: { uid: 5, home: \"/a:b\" } }",
            "4:33",
            "a home has neither colons nor line breaks",
        ),
        (
            "{ root: { uid: 5 } }",
            "4:18",
            "root is there without being named",
        ),
        (
            "{ app: { uid: 5 }, web: { uid: 5 } }",
            "4:34",
            "`web` has the number of `app`: 5",
        ),
    ] {
        let workspace = pages::stack(&format!("{FILES}  users: {users}\n"));
        let run = pages::run(&workspace, &["build", "--to", "oci:out"]);
        assert_eq!(run.code, 2, "{users}: {}", run.stderr);
        for words in [&format!("services/pages/service.yaml:{place}"), words] {
            assert!(run.stderr.contains(words), "{words}: {}", run.stderr);
        }
    }
}

#[test]
fn a_list_of_images_that_cannot_be_written_is_refused_before_anything_is_built() {
    let workspace = pages::stack(FILES);
    let run = pages::run(&workspace, &["build", "--images", "nowhere/images.json"]);
    assert_eq!(run.code, 2, "{}", run.stderr);
    for words in ["error[S0430]", "nowhere/images.json", "No such file"] {
        assert!(run.stderr.contains(words), "{}", run.stderr);
    }
    assert!(!pages::cache(&workspace).exists(), "nothing was begun");
}

#[test]
fn a_list_of_images_is_not_lost_when_the_build_fails() {
    let workspace = pages::stack(FILES);
    workspace.write("images.json", "kept");
    workspace.write("environments/local.yaml", "cluster: local\nregistry: -\n");
    let run = pages::run(&workspace, &["build", "--images", "images.json"]);
    assert_eq!(run.code, 2, "{}", run.stderr);
    let kept = std::fs::read_to_string(workspace.path().join("images.json"));
    assert_eq!(kept.expect("the file"), "kept");
}

#[test]
fn a_list_of_images_appears_only_once_there_are_images() {
    let workspace = pages::stack("  fils: { pages: /srv }\n");
    let before = workspace.contents();
    for images in ["images.json", "./images.json"] {
        let run = pages::run(&workspace, &["build", "--images", images]);
        assert_eq!(run.code, 2, "{}", run.stderr);
        assert_eq!(workspace.contents(), before, "nothing is left behind");
    }

    let workspace = pages::stack(FILES);
    let run = pages::run(&workspace, &["build", "--images", "images.json"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let images = std::fs::read_to_string(workspace.path().join("images.json"));
    assert!(images.expect("the file").contains("pages:"));
    let leftover = |(name, _): &(String, Vec<u8>)| !name.contains('/') && name.starts_with('.');
    assert!(!workspace.contents().iter().any(leftover));
}

/// Whoever reads it may come later, or never where the build fails.
#[test]
fn a_list_of_images_may_be_a_pipe_or_standard_output() {
    let workspace = pages::stack("  fils: { pages: /srv }\n");
    let pipe = workspace.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo").success());
    let run = pages::run(&workspace, &["build", "--images", "pipe"]);
    assert_eq!(run.code, 2, "{}", run.stderr);

    workspace.write(pages::PAGES, format!("build:\n{FILES}"));
    let reader = std::thread::spawn(move || std::fs::read_to_string(pipe));
    let run = pages::run(&workspace, &["build", "--images", "pipe"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let read = reader.join().expect("the reader").expect("text");
    assert!(read.contains("pages:"), "{read}");

    let run = pages::run(&workspace, &["build", "--images", "/dev/stdout"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.contains("pages:"), "{}", run.stdout);
}
