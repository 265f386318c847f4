//! Reads the smoke.yaml files; the only part of `verify` that touches the disk.

use std::io;
use std::path::{Path, PathBuf};

use super::parse;
use super::spec::Suite;
use crate::diagnostic::{Code, Diagnostic, Problems, SourceFile};
use crate::stack::{Service, ServiceName, Stack};
use crate::yaml;

/// A smoke.yaml that is there and cannot be read.
const UNREADABLE: Code = Code::new("S0905");

/// The checks of a stack.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// By service.
    pub suites: Vec<Suite>,
    /// Services without a smoke.yaml.
    pub without: Vec<ServiceName>,
}

/// Reads `services/<name>/smoke.yaml` of the services in `only`, or of all where it is empty.
///
/// `Err` holds every problem of every file.
pub fn load(stack: &Stack, only: &[ServiceName]) -> Result<Loaded, Problems> {
    let mut loaded = Loaded::default();
    let mut problems = Vec::new();
    for service in stack.services.values() {
        if !only.is_empty() && !only.contains(&service.name) {
            continue;
        }
        match suite(stack, service) {
            Ok(Some(suite)) => loaded.suites.push(suite),
            Ok(None) => loaded.without.push(service.name.clone()),
            Err(found) => problems.extend(found),
        }
    }
    Problems::check(problems)?;
    Ok(loaded)
}

fn suite(stack: &Stack, service: &Service) -> Result<Option<Suite>, Vec<Diagnostic>> {
    let folder = Path::new("services").join(service.name.as_str());
    let shown: PathBuf = folder.join("smoke.yaml");
    let text = match std::fs::read_to_string(stack.root.join(&shown)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let message = format!("cannot read {}", shown.display());
            return Err(vec![
                Diagnostic::error(UNREADABLE, message).caused_by(&error),
            ]);
        }
    };
    let document = yaml::document(&SourceFile::new(shown, text))?;
    let read = |path: &Path| std::fs::read(stack.root.join(&folder).join(path));
    parse::suite(&document, stack, service, &read).map(Some)
}
