//! `stackctl init`: writes a stack of two services that `up` deploys.

use std::path::{Path, PathBuf};

use crate::diagnostic::{Code, Diagnostic, Exit, Explain};
use crate::event::Event;
use crate::stack::StackName;

use super::{CommandError, Env, Outcome};

/// The folder holds files that `init` would overwrite.
const NOT_EMPTY: Code = Code::new("S0150");
/// A file cannot be written.
const UNWRITABLE: Code = Code::new("S0151");
/// The folder's name is no stack name.
const BAD_NAME: Code = Code::new("S0152");
/// There is no `Cargo.lock`.
const NO_LOCK_FILE: Code = Code::new("S0153");

/// Stands for the stack's name in the starter's files.
const STACK: &str = "__STACK__";

macro_rules! starter {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("starter/", $path)))),*]
    };
}

/// The files of a new stack: a path and what stands in it. `gitignore` gets its dot when it is written.
const STARTER: &[(&str, &str)] = starter![
    "Cargo.toml",
    "gitignore",
    "stack.yaml",
    "environments/base.yaml",
    "environments/local.yaml",
    "services/greeter/Cargo.toml",
    "services/greeter/service.yaml",
    "services/greeter/smoke.yaml",
    "services/greeter/src/main.rs",
    "services/visits/Cargo.toml",
    "services/visits/service.yaml",
    "services/visits/smoke.yaml",
    "services/visits/src/main.rs",
];

/// What `init` is asked for.
#[derive(Debug, Clone)]
pub struct InitSettings {
    /// Where to write.
    pub directory: PathBuf,
    /// What the stack is called; none: as the folder.
    pub name: Option<StackName>,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Initialised {
    /// Where.
    pub directory: PathBuf,
    /// What the stack is called.
    pub name: StackName,
    /// The files, relative to the folder.
    pub files: Vec<PathBuf>,
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// Some of the files are there already.
    #[error("{} already holds {}", .directory.display(), .file.display())]
    NotEmpty {
        /// Where.
        directory: PathBuf,
        /// The first file in the way.
        file: PathBuf,
    },
    /// The disk refused.
    #[error("failed to write {}", .file.display())]
    Unwritable {
        /// What.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No name was given and the folder's does not do.
    #[error("the folder's name does not do as a stack name")]
    BadName {
        /// Why.
        source: crate::stack::InvalidName,
    },
}

impl Explain for InitError {
    fn exit(&self) -> Exit {
        match self {
            Self::NotEmpty { .. } | Self::BadName { .. } => Exit::BadInput,
            Self::Unwritable { .. } => Exit::Failed,
        }
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        vec![match self {
            Self::NotEmpty { .. } => Diagnostic::error(NOT_EMPTY, self.to_string())
                .note("nothing was written")
                .hint("name an empty folder: `stackctl init DIR`"),
            Self::Unwritable { .. } => {
                Diagnostic::error(UNWRITABLE, "the stack cannot be written").caused_by(self)
            }
            Self::BadName { .. } => {
                Diagnostic::error(BAD_NAME, "the folder's name does not do as a stack name")
                    .caused_by(self)
                    .hint("give the stack a name: `--name NAME`")
            }
        }]
    }
}

/// Writes the starter and pins the versions of its crates.
pub fn run(settings: &InitSettings, env: &Env) -> Result<Outcome, CommandError> {
    let written = init(settings)?;
    if let Err(reason) = pin_versions(&written.directory) {
        env.events.emit(Event::Warning(
            Diagnostic::warning(
                NO_LOCK_FILE,
                "the versions of the crates are not pinned yet",
            )
            .note(reason)
            .hint(format!(
                "run `cargo generate-lockfile` in {}",
                written.directory.display()
            )),
        ));
    }
    Ok(Outcome::Initialised(written))
}

/// The images are built from what `Cargo.lock` says, so there must be one.
fn pin_versions(directory: &Path) -> Result<(), String> {
    let output = std::process::Command::new("cargo")
        .args(["generate-lockfile", "--quiet"])
        .current_dir(directory)
        .output()
        .map_err(|error| format!("cargo does not run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

/// Writes the starter, or nothing.
pub fn init(settings: &InitSettings) -> Result<Initialised, InitError> {
    let directory = &settings.directory;
    let name = match &settings.name {
        Some(name) => name.clone(),
        None => folder_name(directory)
            .parse()
            .map_err(|source| InitError::BadName { source })?,
    };
    let files: Vec<(PathBuf, String)> = STARTER
        .iter()
        .map(|(path, text)| (written_as(path), text.replace(STACK, name.as_str())))
        .collect();
    if let Some((file, _)) = files.iter().find(|(path, _)| directory.join(path).exists()) {
        return Err(InitError::NotEmpty {
            directory: directory.clone(),
            file: file.clone(),
        });
    }
    for (path, text) in &files {
        write(&directory.join(path), text).map_err(|source| InitError::Unwritable {
            file: directory.join(path),
            source,
        })?;
    }
    Ok(Initialised {
        directory: directory.clone(),
        name,
        files: files.into_iter().map(|(path, _)| path).collect(),
    })
}

fn written_as(path: &str) -> PathBuf {
    PathBuf::from(if path == "gitignore" {
        ".gitignore"
    } else {
        path
    })
}

fn folder_name(directory: &Path) -> String {
    let absolute = std::path::absolute(directory).unwrap_or_else(|_| directory.to_path_buf());
    let normal = absolute
        .components()
        .rfind(|part| matches!(part, std::path::Component::Normal(_)));
    normal
        .map(|part| {
            part.as_os_str()
                .to_string_lossy()
                .to_lowercase()
                .replace(['_', '.', ' '], "-")
        })
        .unwrap_or_default()
}

fn write(file: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(file, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_a_valid_stack() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("My_Shop");
        let written = init(&InitSettings {
            directory: directory.clone(),
            name: None,
        })
        .unwrap();
        assert_eq!(written.name.as_str(), "my-shop");
        assert!(directory.join(".gitignore").is_file());
        let stack = crate::stack::load(&directory, &"local".parse().unwrap()).unwrap();
        assert_eq!(stack.name.as_str(), "my-shop");
        assert_eq!(stack.services.len(), 2);
    }

    #[test]
    fn nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("stack.yaml"), "mine").unwrap();
        let settings = InitSettings {
            directory: folder.path().into(),
            name: Some("shop".parse().unwrap()),
        };
        let error = init(&settings).unwrap_err();
        assert_eq!(error.exit(), Exit::BadInput);
        assert_eq!(
            std::fs::read_to_string(folder.path().join("stack.yaml")).unwrap(),
            "mine"
        );
        assert!(
            !folder.path().join("Cargo.toml").exists(),
            "nothing was written"
        );
    }
}
