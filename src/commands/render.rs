//! `stackctl render`: manifests to stdout or into a folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::diagnostic::{Code, Diagnostic, Exit, Problems};
use crate::manifest::{self, Object, Served, YamlOptions};
use crate::settings::Place;

use super::prepare::desired;
use super::{CommandError, Env, Outcome};

/// A file cannot be written.
const UNWRITABLE: Code = Code::new("S0342");

/// How manifests are rendered.
#[derive(Clone, Debug)]
pub struct RenderSettings {
    /// The folder, instead of stdout.
    pub to: Option<PathBuf>,
    /// Whether each value's source is added.
    pub source: bool,
    /// The minor version of Kubernetes to write for; none: as the templates are.
    pub kubernetes: Option<u32>,
}

/// Renders the objects of an environment.
pub fn render(
    place: &Place,
    settings: &RenderSettings,
    env: &Env,
) -> Result<Outcome, CommandError> {
    let mut objects = desired(place, env)?.chosen(place);
    if let Some(minor) = settings.kubernetes {
        objects = adapted(objects, &Served::kubernetes(minor))?;
    }
    let options = YamlOptions {
        origins: settings.source,
    };
    match &settings.to {
        None => Ok(Outcome::Rendered(manifest::yaml(&objects, options))),
        Some(folder) => Ok(Outcome::Written(write(folder, &objects, options)?)),
    }
}

/// Every object in a version that is served, or all the reasons why not.
pub(super) fn adapted(objects: Vec<Object>, served: &Served) -> Result<Vec<Object>, Problems> {
    let mut adapted = Vec::with_capacity(objects.len());
    let mut problems = Vec::new();
    for object in objects {
        match manifest::adapt(object, served) {
            Ok(object) => adapted.push(object),
            Err(problem) => problems.push(problem),
        }
    }
    Problems::check(problems)?;
    Ok(adapted)
}

/// A file for each service.
fn write(
    folder: &Path,
    objects: &[Object],
    options: YamlOptions,
) -> Result<Vec<PathBuf>, CommandError> {
    let mut files: BTreeMap<String, Vec<Object>> = BTreeMap::new();
    for object in objects {
        let name = object
            .service
            .as_ref()
            .map_or("stack", |service| service.as_str());
        files
            .entry(format!("{name}.yaml"))
            .or_default()
            .push(object.clone());
    }
    let unwritable = |path: &Path, error: &std::io::Error| CommandError {
        exit: Exit::Failed,
        diagnostics: vec![Diagnostic::error(
            UNWRITABLE,
            format!("{} cannot be written: {error}", path.display()),
        )],
    };
    std::fs::create_dir_all(folder).map_err(|error| unwritable(folder, &error))?;
    files
        .into_iter()
        .map(|(name, objects)| {
            let path = folder.join(name);
            std::fs::write(&path, manifest::yaml(&objects, options))
                .map_err(|error| unwritable(&path, &error))?;
            Ok(path)
        })
        .collect()
}
