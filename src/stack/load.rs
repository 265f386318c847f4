//! Reads the files of a stack: the only place of the model that touches the disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::diagnostic::{Code, Diagnostic, Problems, SourceFile, Span, did_you_mean};
use crate::yaml::{self, Decoder, Node};

use super::model::Stack;
use super::resolve::{Files, listed, resolve};
use crate::name::{EnvName, ServiceName};

/// There is no stack here.
const NO_STACK: Code = Code::new("S0140");
/// There is no such environment.
const NO_ENVIRONMENT: Code = Code::new("S0141");
/// A listed service has no file.
const NO_SERVICE_FILE: Code = Code::new("S0142");
/// Environments that extend each other.
const EXTENDS_CYCLE: Code = Code::new("S0143");
/// A file cannot be read.
const UNREADABLE: Code = Code::new("S0144");

const STACK_FILE: &str = "stack.yaml";

/// The nearest folder with a `stack.yaml`, from `start` upwards.
pub fn find_root(start: &Path) -> Result<PathBuf, Problems> {
    start
        .ancestors()
        .find(|folder| folder.join(STACK_FILE).is_file())
        .map(Path::to_path_buf)
        .ok_or_else(|| {
            Diagnostic::error(
                NO_STACK,
                format!(
                    "there is no {STACK_FILE} in {} or above it",
                    start.display()
                ),
            )
            .hint("`stackctl init` writes a first stack; `-C DIR` names another folder")
            .into()
        })
}

/// Reads and resolves the stack in one environment.
pub fn load(root: &Path, environment: &EnvName) -> Result<Stack, Problems> {
    let mut reader = Reader {
        root,
        problems: Vec::new(),
    };
    let stack = reader.document(Path::new(STACK_FILE));
    let environments = reader.chain(environment);
    let services = stack
        .as_ref()
        .map(|stack| reader.services(stack))
        .unwrap_or_default();
    let (Some(stack), true) = (stack, reader.problems.is_empty()) else {
        return Err(reader.into_problems());
    };
    let defaults = SourceFile::new("built-in service defaults", include_str!("defaults.yaml"));
    let defaults = yaml::document(&defaults).expect("the built-in defaults are valid YAML");
    resolve(
        root,
        environment,
        &Files {
            stack,
            environments,
            services,
            defaults,
        },
    )
}

/// The environments that have a file, sorted.
#[must_use]
pub fn environments(root: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(root.join("environments"))
        .into_iter()
        .flatten()
        .flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| {
            Some(
                entry
                    .file_name()
                    .to_str()?
                    .strip_suffix(".yaml")?
                    .to_owned(),
            )
        })
        .collect();
    names.sort();
    names
}

struct Reader<'a> {
    root: &'a Path,
    problems: Vec<Diagnostic>,
}

impl Reader<'_> {
    fn into_problems(self) -> Problems {
        Problems::check(self.problems).expect_err("a file that is missing was reported")
    }

    /// A file's text, or the reported problem.
    fn text(&mut self, path: &Path) -> Option<Arc<SourceFile>> {
        match std::fs::read(self.root.join(path)).map(String::from_utf8) {
            Ok(Ok(text)) => Some(SourceFile::new(path, text)),
            Ok(Err(error)) => {
                let at = error.utf8_error().valid_up_to();
                let problem = format!(
                    "{} is not UTF-8 text: byte {at} is no character",
                    path.display()
                );
                self.problems
                    .push(Diagnostic::error(UNREADABLE, problem).hint("save the file as UTF-8"));
                None
            }
            Err(error) => {
                let problem = format!("{} cannot be read: {error}", path.display());
                self.problems.push(Diagnostic::error(UNREADABLE, problem));
                None
            }
        }
    }

    fn document(&mut self, path: &Path) -> Option<Node> {
        let file = self.text(path)?;
        match yaml::document(&file) {
            Ok(node) => Some(node),
            Err(problems) => {
                self.problems.extend(problems);
                None
            }
        }
    }

    /// The environment and what it extends, root first.
    fn chain(&mut self, environment: &EnvName) -> Vec<Node> {
        let mut chain: Vec<(String, Node)> = Vec::new();
        let mut next = Some((environment.to_string(), None::<Span>));
        while let Some((name, extended_at)) = next.take() {
            if chain.iter().any(|(visited, _)| *visited == name) {
                let path: Vec<&str> = chain
                    .iter()
                    .map(|(name, _)| name.as_str())
                    .chain([name.as_str()])
                    .collect();
                let problem = format!("environments extend each other: {}", path.join(" → "));
                let mut problem = Diagnostic::error(EXTENDS_CYCLE, problem);
                if let Some(span) = &extended_at {
                    problem = problem.at(span, "this closes the circle");
                }
                self.problems.push(problem);
                break;
            }
            let Some(node) = self.environment(&name, extended_at.as_ref()) else {
                break;
            };
            next = self.extends(&node);
            chain.push((name, node));
        }
        chain.into_iter().rev().map(|(_, node)| node).collect()
    }

    fn environment(&mut self, name: &str, extended_at: Option<&Span>) -> Option<Node> {
        let path = Path::new("environments").join(format!("{name}.yaml"));
        if self.root.join(&path).is_file() {
            return self.document(&path);
        }
        let known = environments(self.root);
        let mut problem =
            Diagnostic::error(NO_ENVIRONMENT, format!("there is no environment `{name}`"))
                .note(format!("{} does not exist", path.display()));
        if let Some(span) = extended_at {
            problem = problem.at(span, "");
        }
        self.problems
            .push(match did_you_mean(name, known.iter().map(String::as_str)) {
                Some(near) => problem.hint(format!("did you mean `{near}`?")),
                None if known.is_empty() => problem.hint(format!("make {}", path.display())),
                None => problem.hint(format!("there are {}", known.join(", "))),
            });
        None
    }

    fn extends(&mut self, node: &Node) -> Option<(String, Option<Span>)> {
        let mut decoder = Decoder::default();
        let parent = decoder.optional(node, "extends").and_then(|node| {
            let name: EnvName = decoder.parsed(node)?;
            Some((name.to_string(), Some(node.span.clone())))
        });
        self.problems.append(&mut decoder.problems);
        parent
    }

    fn services(&mut self, stack: &Node) -> BTreeMap<ServiceName, Node> {
        let mut decoder = Decoder::default();
        // What is wrong in stack.yaml itself is reported by `resolve`, or below where that is not reached.
        let Some((_, listed)) = listed(stack, &mut decoder) else {
            self.problems.append(&mut decoder.problems);
            return BTreeMap::new();
        };
        let mut services = BTreeMap::new();
        for (name, span) in listed {
            let path = Path::new("services")
                .join(name.as_str())
                .join("service.yaml");
            if !self.root.join(&path).is_file() {
                self.problems.push(
                    Diagnostic::error(NO_SERVICE_FILE, format!("the service {name} has no file"))
                        .at(&span, "listed here")
                        .note(format!("{} does not exist", path.display()))
                        .hint("make the file, or take the service off the list"),
                );
            } else if let Some(node) = self.document(&path) {
                services.insert(name, node);
            }
        }
        services
    }
}

#[cfg(test)]
mod tests;
