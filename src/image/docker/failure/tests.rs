//! Messages of engines, and what becomes of them.

use std::fs;

use super::*;
use crate::diagnostic::SourceFile;

const DOCKERFILE: &str = "\
FROM debian:12 AS build
WORKDIR /src
COPY src/main.c .
RUN make \\
  all
FROM scratch
COPY --from=build /src/main /main
COPY [\"ignored\", \"/x\"]
COPY --from=biuld /a /b
";

/// (place, message, first hint)
fn explained(at: At, message: &str) -> (String, String, String) {
    explained_with(at, message, None)
}

fn explained_with(at: At, message: &str, target: Option<&str>) -> (String, String, String) {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("web");
    fs::create_dir_all(folder.join("src")).unwrap();
    for (file, text) in [
        ("Dockerfile", DOCKERFILE),
        (".dockerignore", "ignored\n"),
        ("ignored", ""),
        ("src/mian.c", ""),
    ] {
        fs::write(folder.join(file), text).unwrap();
    }
    let service = SourceFile::new("service.yaml", "build: { dockerfile: web/Dockerfile }\n");
    let mut build = DockerfileBuild::new("web/Dockerfile".into(), Span::new(&service, 21..35));
    build.target = target.map(str::to_owned);
    let instructions = Instructions::read(&SourceFile::new("web/Dockerfile", DOCKERFILE));
    let scene = Scene {
        service: &"web".parse().unwrap(),
        build: &build,
        instructions: &instructions,
        context: &Context::read(root.path(), &build).unwrap(),
    };
    let failure = Failure {
        message: message.to_owned(),
        at,
        tail: Vec::new(),
    };
    match explain(&scene, failure) {
        DockerfileError::Failed {
            message,
            place,
            hints,
            ..
        } => (
            format!("{place} {}", place.text()),
            message,
            hints.into_iter().next().unwrap_or_default(),
        ),
        other => panic!("{other}"),
    }
}

fn vertex(name: &str) -> At {
    At::Vertex(name.to_owned())
}

#[test]
fn messages_of_both_builders_find_their_place() {
    // (where the engine says it is, what it says, (place, message, hint))
    let table = [
        (
            At::Nowhere,
            "dockerfile parse error line 4: unknown instruction: RUNN",
            (
                "web/Dockerfile:4:1 RUN make \\",
                "unknown instruction: RUNN",
                "did you mean `RUN`?",
            ),
        ),
        (
            At::Nowhere,
            "failed to solve: dockerfile parse error on line 6: FROM requires either one or three arguments\nmore",
            (
                "web/Dockerfile:6:1 FROM scratch",
                "FROM requires either one or three arguments",
                "",
            ),
        ),
        (
            vertex("[build 4/4] RUN make all"),
            "executor failed running [/bin/sh -c make all]: exit code: 2",
            (
                "web/Dockerfile:4:1 RUN make \\",
                "`RUN make all` failed with exit code 2",
                "",
            ),
        ),
        (
            vertex("[linux/amd64 build 4/4] RUN make all"),
            "process \"/bin/sh -c make all\" did not complete successfully: exit code: 137",
            (
                "web/Dockerfile:4:1 RUN make \\",
                "`RUN make all` failed with exit code 137",
                "it was killed, mostly because the engine's machine had too little memory",
            ),
        ),
        (
            // An engine that does not count WORKDIR.
            vertex("[build 3/3] RUN make all"),
            "exit code: 127",
            (
                "web/Dockerfile:4:1 RUN make \\",
                "`RUN make all` failed with exit code 127",
                "a program that it calls is not in the image",
            ),
        ),
        (
            At::Step(4),
            "The command '/bin/sh -c make all' returned a non-zero code: 2",
            (
                "web/Dockerfile:4:1 RUN make \\",
                "`RUN make all` failed with exit code 2",
                "",
            ),
        ),
        (
            vertex("[build 3/4] COPY src/main.c ."),
            "failed to compute cache key: \"/src/main.c\" not found: not found",
            (
                "web/Dockerfile:3:6 src/main.c",
                "`src/main.c` is not in the build context `web`",
                "did you mean `src/mian.c`?",
            ),
        ),
        (
            At::Step(3),
            "COPY failed: file not found in build context or excluded by .dockerignore: stat src/main.c: file does not exist",
            (
                "web/Dockerfile:3:6 src/main.c",
                "`src/main.c` is not in the build context `web`",
                "did you mean `src/mian.c`?",
            ),
        ),
        (
            vertex("[stage-1 2/3] COPY [ignored, /x]"),
            "\"/ignored\": not found",
            (
                "web/Dockerfile:8:8 ignored",
                "`ignored` is not in the build context `web`",
                "it is there, but .dockerignore leaves it out",
            ),
        ),
        (
            vertex("[stage-1 1/3] COPY --from=build /src/main /main"),
            "\"/src/main\": not found",
            (
                "web/Dockerfile:7:19 /src/main",
                "`/src/main` is not in `build`",
                "",
            ),
        ),
        (
            At::Step(9),
            "invalid from flag value biuld: pull access denied for biuld, repository does not exist",
            (
                "web/Dockerfile:9:13 biuld",
                "there is neither a stage nor an image `biuld`",
                "did you mean the stage `build`?",
            ),
        ),
        (
            vertex("FROM docker.io/library/biuld:latest"),
            "failed to do request: Head \"https://registry-1.docker.io/v2/library/biuld/manifests/latest\": dial tcp: no such host",
            (
                "web/Dockerfile:9:13 biuld",
                "there is neither a stage nor an image `biuld`",
                "did you mean the stage `build`?",
            ),
        ),
        (
            vertex("[internal] load metadata for docker.io/library/debian:12"),
            "failed to solve: debian:12: not found",
            (
                "web/Dockerfile:1:6 debian:12",
                "the image `debian:12` cannot be had: debian:12: not found",
                "is there such a tag in docker.io?",
            ),
        ),
        (
            At::Step(1),
            "pull access denied for debian, repository does not exist or may require 'docker login'",
            (
                "web/Dockerfile:1:6 debian:12",
                "the image `debian:12` cannot be had: pull access denied for debian, repository does not exist or may require 'docker login'",
                "is the name right? If it is private: `docker login docker.io`",
            ),
        ),
        (
            At::Nowhere,
            "failed to solve with frontend dockerfile.v0: something else",
            ("service.yaml:1:22 web/Dockerfile", "something else", ""),
        ),
    ];
    for (at, message, (place, said, hint)) in table {
        let found = explained(at, message);
        assert_eq!(
            (found.0.as_str(), found.1.as_str(), found.2.as_str()),
            (place, said, hint),
            "{message}"
        );
    }
}

#[test]
fn an_unknown_target_is_shown_where_it_is_chosen() {
    for message in [
        "failed to reach build target biuld in Dockerfile",
        "failed to solve: target stage biuld could not be found",
    ] {
        let (place, said, hint) = explained_with(At::Nowhere, message, Some("biuld"));
        assert_eq!(place, "service.yaml:1:22 web/Dockerfile");
        assert_eq!(said, "there is no stage `biuld`");
        assert_eq!(hint, "did you mean the stage `build`?");
    }
}

#[test]
fn images_have_one_full_name() {
    for (image, full) in [
        ("debian", "docker.io/library/debian:latest"),
        ("me/app:1", "docker.io/me/app:1"),
        ("localhost:5000/a", "localhost:5000/a:latest"),
        (
            "docker.io/library/a@sha256:1",
            "docker.io/library/a@sha256:1",
        ),
    ] {
        assert_eq!(familiar(image), full);
    }
}
