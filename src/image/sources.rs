//! Whether the tag of an image depends on every file that its binaries were compiled from.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::diagnostic::{Code, Diagnostic, Span};
use crate::name::ServiceName;

use super::cache_key::Inputs;
use super::input_error::InputError;
use super::lexical::{normal, relative};
use super::manifests;
use super::walk::{self, Links};

/// A file that a binary is compiled from, but that its tag does not depend on.
const UNDECLARED: Code = Code::new("S0412");
/// The same of a file that belongs to this machine's system.
const OF_THE_SYSTEM: Code = Code::new("S0446");
/// What is below them was installed with the compilers: headers that a build script looks at.
const SYSTEM: [&str; 3] = ["/usr", "/opt", "/nix/store"];
/// So many are named.
const SHOWN: usize = 3;

/// Sources of a service that its tag does not depend on.
#[derive(Debug, thiserror::Error)]
#[error("{} compiled into {service}, but its tag does not depend on {}", listed(.sources), it(.sources))]
pub struct UndeclaredSources {
    /// Whose.
    pub service: ServiceName,
    /// Relative to the repository; those outside begin with `..`.
    pub sources: Vec<PathBuf>,
    /// Where the build is declared.
    pub span: Span,
}

/// Files that were compiled, and that nothing stands for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Undeclared {
    /// Relative to the repository.
    pub sources: Vec<PathBuf>,
    /// Files of this machine's system.
    pub of_the_system: Vec<PathBuf>,
}

impl UndeclaredSources {
    /// What is said about it.
    pub(crate) fn diagnostic(&self) -> Diagnostic {
        let found = Diagnostic::error(UNDECLARED, self.to_string()).at(&self.span, "built here");
        let (outside, inside): (Vec<&PathBuf>, Vec<&PathBuf>) = self
            .sources
            .iter()
            .partition(|source| source.starts_with(".."));
        let found = match inside.is_empty() {
            true => found,
            false => found.hint(format!(
                "write `inputs: [{}]` below `build` in services/{}/service.yaml",
                inside
                    .iter()
                    .map(|source| source.to_string_lossy())
                    .collect::<Vec<_>>()
                    .join(", "),
                self.service
            )),
        };
        match outside.is_empty() {
            true => found,
            false => found.hint("what a service is made from lies in the repository, or in a package that it depends on"),
        }
    }
}

/// A warning about files of the system; `None` where there are none.
pub(crate) fn warning(service: &ServiceName, files: &[PathBuf]) -> Option<Diagnostic> {
    if files.is_empty() {
        return None;
    }
    let text = format!(
        "{} compiled into {service}, but its tag does not depend on {}",
        listed(files),
        it(files)
    );
    let warning = Diagnostic::warning(OF_THE_SYSTEM, text);
    Some(warning.hint(
        "another machine may make another binary of the same tag: keep a copy in the repository",
    ))
}

/// Which of `sources`, files and folders by their absolute paths, are neither inputs nor files of packages that
/// `Cargo.lock` pins. `root` is the repository, without links.
pub(crate) fn undeclared(
    root: &Path,
    cargo_home: Option<&Path>,
    inputs: &Inputs,
    sources: &BTreeSet<PathBuf>,
) -> Result<Undeclared, InputError> {
    let mut found = Undeclared::default();
    for source in sources {
        let source = normal(source);
        let is_pinned = cargo_home.is_some_and(|home| {
            ["registry", "git"]
                .iter()
                .any(|folder| source.starts_with(home.join(folder)))
        });
        // A build script may name what is not there.
        if is_pinned || !source.exists() {
            continue;
        }
        let path = relative(root, &source);
        let is_of_system = SYSTEM.iter().any(|folder| source.starts_with(folder));
        if is_covered(root, inputs, &path)? {
            continue;
        }
        match is_of_system && path.starts_with("..") {
            true => found.of_the_system.push(source),
            false => found.sources.push(path),
        }
    }
    Ok(found)
}

/// Whether a file is an input; a folder, whether all in it are: a build script may look at all of it.
fn is_covered(root: &Path, inputs: &Inputs, path: &Path) -> Result<bool, InputError> {
    let is_input = |file: &Path| inputs.contains("file", &file.to_string_lossy());
    if !root.join(path).is_dir() {
        return Ok(is_input(path));
    }
    // Its own package: what of it is compiled is known.
    let manifest = manifests::read(root, &path.join("Cargo.toml"))?;
    if manifest.is_some_and(|manifest| manifest.contains_key("package")) {
        return Ok(true);
    }
    if path.starts_with("..") {
        return Ok(false);
    }
    let below = walk::whole(root, path, Links::Followed)?;
    Ok(below.iter().all(|found| is_input(&found.path)))
}

fn listed(sources: &[PathBuf]) -> String {
    let names = sources.iter().take(SHOWN);
    let names: Vec<String> = names.map(|path| format!("`{}`", path.display())).collect();
    match sources.len() {
        1 => format!("{} is", names[0]),
        count if count <= SHOWN => format!("{} are", names.join(", ")),
        count => format!("{} and {} more are", names.join(", "), count - SHOWN),
    }
}

fn it(sources: &[PathBuf]) -> &'static str {
    match sources.len() {
        1 => "it",
        _ => "them",
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_stack::{span, write};
    use super::*;

    const SOURCES: [&str; 11] = [
        "repo/app",
        "repo/app/src/main.rs",
        "repo/app/proto",
        "repo/app/src/../../shared/x.sql",
        "repo/app/Cargo.toml",
        "repo/shared/declared.sql",
        "repo/shared",
        "repo/nowhere",
        "shared/y.sql",
        "home/registry/src/x/lib.rs",
        "home/config.toml",
    ];

    #[test]
    fn what_the_tag_does_not_cover_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        let root = folder.join("repo");
        write(
            &folder,
            &[
                ("repo/app/Cargo.toml", "[package]\nname = 'app'\n"),
                ("repo/app/src/main.rs", ""),
                ("repo/app/proto/a.proto", ""),
                ("repo/shared/x.sql", ""),
                ("repo/shared/declared.sql", ""),
                ("shared/y.sql", ""),
                ("home/registry/src/x/lib.rs", ""),
                ("home/config.toml", ""),
            ],
        );
        let mut inputs = Inputs::default();
        for file in [
            "app/src/main.rs",
            "app/proto/a.proto",
            "shared/declared.sql",
        ] {
            inputs.add("file", file, "1");
        }
        let sources = SOURCES.iter().map(|path| folder.join(path));
        let sources = sources.chain(["/usr/bin/env".into()]).collect();
        let home = folder.join("home");
        let found = undeclared(&root, Some(&home), &inputs, &sources).unwrap();
        let expected = [
            "../home/config.toml",
            "app/Cargo.toml",
            "shared/x.sql",
            "shared",
            "../shared/y.sql",
        ];
        assert_eq!(found.sources, expected.map(PathBuf::from));
        assert_eq!(found.of_the_system, [PathBuf::from("/usr/bin/env")]);
    }

    #[test]
    fn the_error_names_file_service_and_remedy() {
        let error = |sources: &[&str]| UndeclaredSources {
            service: "a".parse().unwrap(),
            sources: sources.iter().map(PathBuf::from).collect(),
            span: span(),
        };
        let one = error(&["shared/x.sql"]).diagnostic();
        assert_eq!(
            one.message,
            "`shared/x.sql` is compiled into a, but its tag does not depend on it"
        );
        assert_eq!(
            one.hints,
            ["write `inputs: [shared/x.sql]` below `build` in services/a/service.yaml"]
        );
        let many = error(&["../x", "b", "c", "d"]).diagnostic();
        assert_eq!(
            many.message,
            "`../x`, `b`, `c` and 1 more are compiled into a, but its tag does not depend on them"
        );
        assert_eq!(many.hints.len(), 2);
    }
}
