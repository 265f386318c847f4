//! Edges between the crates of the workspace, read from their `Cargo.toml`s:
//! services know nothing of the tool, and nothing depends on it.

use super::{SourceFile, Violation};

/// Which crates of the workspace a crate may depend on.
struct Rule {
    /// The folder of the crate, or of all such crates where it ends in `/`.
    folder: &'static str,
    /// Names of crates.
    may: &'static [&'static str],
}

/// The first rule whose folder fits is the one.
const RULES: [Rule; 11] = [
    Rule {
        folder: "xtask",
        may: &[],
    },
    Rule {
        folder: "crates/test-support",
        may: &["k8s-model", "oci-image"],
    },
    Rule {
        folder: "crates/debian-packages",
        may: &["oci-image"],
    },
    Rule {
        folder: "crates/",
        may: &[],
    },
    Rule {
        folder: "services/service-kit",
        may: &[],
    },
    Rule {
        folder: "services/hits-api",
        may: &["service-kit", "hits"],
    },
    // Its tests post to the API whose stream it reads.
    Rule {
        folder: "services/hits-worker",
        may: &["service-kit", "hits", "hits-api"],
    },
    // Feeds the parsers of all services.
    Rule {
        folder: "services/parsers",
        may: &[
            "birthday",
            "counter",
            "hits",
            "hits-api",
            "hits-worker",
            "picture",
            "picture-source",
            "service-kit",
            "upload",
        ],
    },
    // Its tests look at a real gateway.
    Rule {
        folder: "services/prometheus",
        may: &["service-kit", "gateway"],
    },
    Rule {
        folder: "services/",
        may: &["service-kit"],
    },
    Rule {
        folder: "",
        may: &["debian-packages", "k8s-model", "oci-image", "test-support"],
    },
];

/// Dependencies that no rule allows.
pub(super) fn check(files: &[SourceFile]) -> Vec<Violation> {
    let manifests: Vec<(&SourceFile, &str)> = files
        .iter()
        .filter_map(|file| Some((file, folder(&file.path)?)))
        .collect();
    let members: Vec<&str> = manifests
        .iter()
        .filter_map(|(file, _)| name(&file.text))
        .collect();
    let mut violations = Vec::new();
    for (file, folder) in &manifests {
        let own = name(&file.text);
        let Some(rule) = rule(folder) else { continue };
        for (line, dependency) in dependencies(&file.text) {
            // A crate may name itself: features for its own tests.
            let is_edge = members.contains(&dependency) && own != Some(dependency);
            if is_edge && !rule.may.contains(&dependency) {
                violations.push(Violation {
                    path: file.path.clone(),
                    line,
                    message: format!(
                        "{} may not depend on `{dependency}`",
                        own.unwrap_or("this crate")
                    ),
                });
            }
        }
    }
    violations
}

/// The folder of a `Cargo.toml`: empty for that of the root.
fn folder(path: &str) -> Option<&str> {
    let folder = path.strip_suffix("Cargo.toml")?;
    Some(folder.trim_end_matches('/'))
}

fn rule(folder: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| {
        folder == rule.folder || (rule.folder.ends_with('/') && folder.starts_with(rule.folder))
    })
}

/// `name` of `[package]`.
fn name(text: &str) -> Option<&str> {
    let package = text.split("[package]").nth(1)?;
    let line = package.lines().find(|line| line.starts_with("name"))?;
    line.split('"').nth(1)
}

/// Names in all tables of dependencies, with their lines. The list of versions
/// that the workspace shares is no edge.
fn dependencies(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut table = "";
    text.lines().enumerate().filter_map(move |(index, line)| {
        let line = line.trim();
        if line.starts_with('[') {
            table = line.trim_matches(['[', ']']);
            // `[dependencies.NAME]`
            let (_, name) = table.split_once("dependencies.")?;
            return Some((index + 1, name));
        }
        let is_edge = table.ends_with("dependencies") && table != "workspace.dependencies";
        let key = line.split(['=', '.', ' ']).next()?.trim_matches('"');
        (is_edge && !key.is_empty() && !key.starts_with('#')).then_some((index + 1, key))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(path: &str, name: &str, dependencies: &str) -> SourceFile {
        SourceFile {
            path: path.to_owned(),
            text: format!("[package]\nname = \"{name}\"\n\n{dependencies}\n"),
        }
    }

    fn workspace(service: &str) -> Vec<SourceFile> {
        vec![
            manifest(
                "Cargo.toml",
                "stackctl",
                "[dependencies]\noci-image.workspace = true",
            ),
            manifest(
                "crates/oci-image/Cargo.toml",
                "oci-image",
                "[dependencies]\nserde = \"1\"",
            ),
            manifest("services/service-kit/Cargo.toml", "service-kit", ""),
            manifest("services/counter/Cargo.toml", "counter", service),
        ]
    }

    #[test]
    fn the_intended_edges_pass() {
        let service = "[dependencies]\nservice-kit.workspace = true\n# stackctl\naxum = \"0.8\"";
        assert_eq!(check(&workspace(service)), []);
    }

    #[test]
    fn a_service_that_knows_the_tool_is_found_in_every_spelling() {
        let cases = [
            "[dependencies]\nstackctl = { path = \"../..\" }",
            "[dev-dependencies]\noci-image.workspace = true",
            "[dependencies.oci-image]\nworkspace = true",
            "[target.'cfg(unix)'.dependencies]\nstackctl.workspace = true",
        ];
        for service in cases {
            let found = check(&workspace(service));
            assert_eq!(found.len(), 1, "{service}: {found:?}");
            assert!(found[0].message.starts_with("counter may not depend on"));
        }
    }

    #[test]
    fn xtask_stays_light() {
        let mut files = workspace("");
        files.push(manifest(
            "xtask/Cargo.toml",
            "xtask",
            "[dependencies]\noci-image.workspace = true",
        ));
        assert_eq!(check(&files).len(), 1);
    }

    #[test]
    fn the_shared_versions_of_the_workspace_are_no_edges() {
        let text =
            "[workspace.dependencies]\ntest-support = { path = \"x\" }\n[package]\nname = \"a\"\n";
        assert_eq!(dependencies(text).count(), 0);
    }
}
