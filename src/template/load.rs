//! Reads the templates of a stack; the only file of this module that reads the disk.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::diagnostic::{Code, Diagnostic, Problems, SourceFile};
use crate::stack::{ServiceName, Stack};

const UNREADABLE: Code = Code::new("S0219");
const NO_TEMPLATE: Code = Code::new("S0220");

/// What a template's name ends in.
const TEMPLATE: &str = ".yaml.hbs";
/// What a partial's name ends in.
const PARTIAL: &str = ".hbs";

macro_rules! built_in {
    ($folder:literal: $($name:literal)*) => {
        &[$(($name, include_str!(concat!("../../templates/", $folder, "/", $name)))),*]
    };
}

/// The templates of a plain service.
const BUILT_IN: &[(&str, &str)] = built_in!("service":
    "configmap.yaml.hbs"
    "deployment.yaml.hbs"
    "persistentvolumeclaim.yaml.hbs"
    "poddisruptionbudget.yaml.hbs"
    "secret.yaml.hbs"
    "service.yaml.hbs"
    "serviceaccount.yaml.hbs"
    "statefulset.yaml.hbs"
);

/// The partials they use, and those of a service's own may.
const BUILT_IN_PARTIALS: &[(&str, &str)] = built_in!("partials":
    "configmap.hbs"
    "persistentvolumeclaim.hbs"
    "pod.hbs"
    "poddisruptionbudget.hbs"
    "secret.hbs"
    "serviceaccount.hbs"
);

/// The template files of every service of a stack.
#[derive(Clone, Debug, Default)]
pub struct Templates {
    pub(super) services: BTreeMap<ServiceName, Vec<Arc<SourceFile>>>,
    /// By name, without the ending.
    pub(super) partials: BTreeMap<String, Arc<SourceFile>>,
}

/// Finds the templates of every service of `stack`: those in `templates/SERVICE/`; without that folder the
/// built-in ones, each replaced by a file of its name in `templates/service/`, and what else is there.
///
/// # Errors
/// For every file or folder that cannot be read or is not UTF-8, and every `templates/SERVICE/` without a
/// template.
pub fn load(stack: &Stack) -> Result<Templates, Problems> {
    let mut reader = Reader {
        root: &stack.root,
        problems: Vec::new(),
    };
    let plain = reader.with_built_in("service", TEMPLATE, BUILT_IN);
    let plain: Vec<_> = plain.into_values().collect();
    let services = stack
        .services
        .keys()
        .map(|name| {
            let own = reader.own(name);
            (name.clone(), own.unwrap_or_else(|| plain.clone()))
        })
        .collect();
    let partials = reader.with_built_in("partials", PARTIAL, BUILT_IN_PARTIALS);
    let name = |file: String| file.trim_end_matches(PARTIAL).to_owned();
    let partials = partials
        .into_iter()
        .map(|(file, text)| (name(file), text))
        .collect();
    Problems::check(reader.problems)?;
    Ok(Templates { services, partials })
}

struct Reader<'a> {
    root: &'a Path,
    problems: Vec<Diagnostic>,
}

impl Reader<'_> {
    /// The templates of a service that has a folder of its own.
    fn own(&mut self, service: &ServiceName) -> Option<Vec<Arc<SourceFile>>> {
        let folder = service.as_str();
        if matches!(folder, "service" | "partials") {
            return None;
        }
        let problems = self.problems.len();
        let files = self.folder(folder, TEMPLATE)?;
        if files.is_empty() && self.problems.len() == problems {
            let message =
                format!("templates/{folder}/ replaces all templates of `{folder}` but has none");
            self.problems
                .push(Diagnostic::error(NO_TEMPLATE, message).hint(format!(
                    "add NAME{TEMPLATE} files to it, or remove the folder"
                )));
        }
        Some(files.into_values().collect())
    }

    /// The built-in files, replaced and joined by those of a folder.
    fn with_built_in(
        &mut self,
        folder: &str,
        ending: &str,
        built_in: &[(&str, &str)],
    ) -> BTreeMap<String, Arc<SourceFile>> {
        let mut files: BTreeMap<String, Arc<SourceFile>> = built_in
            .iter()
            .map(|(name, text)| {
                (
                    (*name).to_owned(),
                    SourceFile::new(shown(folder, name), *text),
                )
            })
            .collect();
        files.extend(self.folder(folder, ending).unwrap_or_default());
        files
    }

    /// The files of `templates/FOLDER/` by name; none where there is no such folder.
    fn folder(&mut self, folder: &str, ending: &str) -> Option<BTreeMap<String, Arc<SourceFile>>> {
        let path = self.root.join("templates").join(folder);
        let entries =
            match std::fs::read_dir(&path).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
                Err(error) => {
                    self.unreadable(&shown(folder, ""), &error);
                    return None;
                }
            };
        let names = entries
            .iter()
            .filter_map(|entry| entry.file_name().into_string().ok());
        let mut files = BTreeMap::new();
        for name in names.filter(|name| name.ends_with(ending)) {
            match std::fs::read_to_string(path.join(&name)) {
                Ok(text) => {
                    let file = SourceFile::new(shown(folder, &name), text);
                    files.insert(name, file);
                }
                Err(error) => self.unreadable(&shown(folder, &name), &error),
            }
        }
        Some(files)
    }

    fn unreadable(&mut self, path: &Path, error: &io::Error) {
        let message = match error.kind() {
            io::ErrorKind::InvalidData => format!("{} is not UTF-8", path.display()),
            _ => format!("{} cannot be read", path.display()),
        };
        let problem = Diagnostic::error(UNREADABLE, message);
        self.problems.push(match error.kind() {
            io::ErrorKind::InvalidData => problem,
            _ => problem.caused_by(error),
        });
    }
}

/// The path that is shown, also for built-in files: there a file would replace them.
fn shown(folder: &str, name: &str) -> PathBuf {
    ["templates", folder, name].iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Explain;
    use crate::template::testing::{service, stack};

    /// The templates of a stack of services `a` and `b` whose folder `templates` has these files.
    fn loaded(files: &[(&str, &[u8])]) -> Result<Templates, Vec<Diagnostic>> {
        let root = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            let path = root.path().join("templates").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        let mut stack = stack(vec![service("a", "{}"), service("b", "{}")]);
        stack.root = root.path().to_owned();
        load(&stack).map_err(|problems| problems.diagnostics())
    }

    fn names(templates: &Templates, service: &str) -> Vec<String> {
        let files = templates.services[service].iter();
        files
            .map(|file| file.path().display().to_string())
            .collect()
    }

    #[test]
    fn plain_services_have_the_built_in_templates() {
        let templates = loaded(&[]).unwrap();
        assert_eq!(names(&templates, "a").len(), BUILT_IN.len());
        assert_eq!(
            names(&templates, "a")[1],
            "templates/service/deployment.yaml.hbs"
        );
        assert_eq!(names(&templates, "a"), names(&templates, "b"));
        let partials: Vec<&String> = templates.partials.keys().collect();
        let expected = [
            "configmap",
            "persistentvolumeclaim",
            "pod",
            "poddisruptionbudget",
            "secret",
            "serviceaccount",
        ];
        assert_eq!(partials, expected);
    }

    #[test]
    fn files_replace_and_join_the_built_in_ones() {
        let templates = loaded(&[
            ("service/secret.yaml.hbs", b"mine"),
            ("service/extra.yaml.hbs", b"extra"),
            ("service/notes.txt", b"no template"),
            ("partials/pod.hbs", b"pod"),
            ("partials/more.hbs", b"more"),
        ])
        .unwrap();
        let found = names(&templates, "a");
        assert_eq!(found.len(), BUILT_IN.len() + 1);
        let text = |name: &str| {
            let at = found.iter().position(|other| other == name).unwrap();
            templates.services["a"][at].text()
        };
        assert_eq!(text("templates/service/secret.yaml.hbs"), "mine");
        assert_eq!(text("templates/service/extra.yaml.hbs"), "extra");
        assert_eq!(templates.partials["pod"].text(), "pod");
        assert_eq!(
            templates.partials["more"].path(),
            Path::new("templates/partials/more.hbs")
        );
    }

    #[test]
    fn a_folder_replaces_all_of_a_service() {
        let templates = loaded(&[("a/z.yaml.hbs", b""), ("a/b.yaml.hbs", b"")]).unwrap();
        assert_eq!(
            names(&templates, "a"),
            ["templates/a/b.yaml.hbs", "templates/a/z.yaml.hbs"]
        );
        assert_eq!(names(&templates, "b").len(), BUILT_IN.len());
    }

    #[test]
    fn what_cannot_be_read_is_reported_at_once() {
        let problems = loaded(&[
            ("a/readme.md", b""),
            ("b/x.yaml.hbs", b"\xff"),
            ("service/y.yaml.hbs", b"\xff"),
            ("partials/z.hbs/directory", b""),
        ])
        .unwrap_err();
        let messages: Vec<&str> = problems
            .iter()
            .map(|problem| problem.message.as_str())
            .collect();
        assert_eq!(
            messages,
            [
                "templates/service/y.yaml.hbs is not UTF-8",
                "templates/a/ replaces all templates of `a` but has none",
                "templates/b/x.yaml.hbs is not UTF-8",
                "templates/partials/z.hbs cannot be read",
            ]
        );
    }
}
