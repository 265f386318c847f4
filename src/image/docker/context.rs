//! The build context of a Dockerfile: which files it has, and the archive the engine gets.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use oci_image::{LayerError, LayerWriter};

use crate::image::files::read_error;
use crate::image::input_error::InputError;
use crate::stack::{BuildSecretSource, DockerfileBuild};

use super::dockerignore::DockerIgnore;

/// The name of a Dockerfile that lies outside its context, in the archive; a number follows where there is such a file.
const OUTSIDE: &str = ".dockerfile.stackctl";
/// Times in a context are not inputs; zip and with it Python's wheels know none before 1980.
const MODIFIED: u64 = 315_619_200;

/// The files of a context, sorted, after `.dockerignore`.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// Folder, absolute.
    folder: PathBuf,
    entries: Vec<Entry>,
    /// Where the Dockerfile is in the archive.
    pub dockerfile: String,
    /// Where it is on disk if it is not part of the context.
    outside: Option<PathBuf>,
    /// What we write ourselves while we build, and files with secrets.
    outside_of_it: Vec<PathBuf>,
}

#[derive(Clone, Debug)]
struct Entry {
    /// Relative to the context, `/` between its parts.
    path: String,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    File,
    Folder,
    Link,
}

impl Context {
    /// Reads the folder as the engine is to see it. The Dockerfile is in it even where it is ignored.
    pub(crate) fn read(root: &Path, build: &DockerfileBuild) -> Result<Self, InputError> {
        let missing = |what, path: &Path| InputError::Missing {
            what,
            path: path.to_owned(),
            span: build.span.clone(),
        };
        if !root.join(&build.dockerfile).is_file() {
            return Err(missing("the Dockerfile", &build.dockerfile));
        }
        let folder = root.join(&build.context);
        if !folder.is_dir() {
            return Err(missing("the context", &build.context));
        }
        let ignore = read_ignore(root, build)?;
        let within = root
            .join(&build.dockerfile)
            .strip_prefix(&folder)
            .ok()
            .and_then(|path| Some(path.to_str()?.to_owned()));
        let mut context = Self {
            outside: within.is_none().then(|| root.join(&build.dockerfile)),
            dockerfile: within.unwrap_or_else(|| free_name(&folder)),
            folder,
            entries: Vec::new(),
            outside_of_it: [Path::new(".stackctl"), Path::new("target/stackctl")]
                .into_iter()
                .chain(secret_files(build))
                .map(|path| root.join(path))
                .collect(),
        };
        context.list("", &ignore)?;
        Ok(context)
    }

    /// The files whose content counts, relative to the repository.
    pub(crate) fn files(&self, build: &DockerfileBuild) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = self
            .entries
            .iter()
            .filter(|entry| entry.kind == Kind::File)
            .map(|entry| build.context.join(&entry.path))
            .collect();
        if self.outside.is_some() {
            files.push(build.dockerfile.clone());
        }
        files
    }

    /// Folders and links: (path within the context, where a link leads).
    pub(crate) fn others(&self) -> Result<Vec<(&str, String)>, InputError> {
        self.entries
            .iter()
            .filter(|entry| entry.kind != Kind::File)
            .map(|entry| {
                let target = match entry.kind {
                    Kind::Link => self.link(&entry.path)?,
                    _ => "folder".to_owned(),
                };
                Ok((entry.path.as_str(), target))
            })
            .collect()
    }

    /// The paths in it.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.path.as_str())
    }

    /// Whether `path`, as a `COPY` writes it, is in it.
    pub(super) fn has(&self, path: &str) -> bool {
        let path = inside(path);
        path.is_empty() || self.paths().any(|found| found == path)
    }

    /// Whether `path` exists, but is left out.
    pub(super) fn is_ignored(&self, path: &str) -> bool {
        !self.has(path) && self.folder.join(inside(path)).exists()
    }

    /// The last part of the folder's path.
    pub(super) fn name(&self) -> String {
        self.folder
            .components()
            .next_back()
            .map_or_else(String::new, |part| {
                part.as_os_str().to_string_lossy().into_owned()
            })
    }

    /// Writes the archive: the same files give the same bytes.
    pub(crate) fn write<W: Write>(&self, writer: W) -> Result<W, ContextError> {
        let mut archive = LayerWriter::new(writer, MODIFIED);
        let precedes =
            |entry: &Entry| entry.path.split('/').next() < Some(self.dockerfile.as_str());
        let place = match self.outside {
            Some(_) => self.entries.partition_point(precedes),
            None => 0,
        };
        for entry in &self.entries[..place] {
            self.add(&mut archive, entry)?;
        }
        if let Some(dockerfile) = &self.outside {
            add_file(&mut archive, &self.dockerfile, dockerfile)?;
        }
        for entry in &self.entries[place..] {
            self.add(&mut archive, entry)?;
        }
        archive.finish().map_err(ContextError::Write)
    }

    fn add<W: Write>(
        &self,
        archive: &mut LayerWriter<W>,
        entry: &Entry,
    ) -> Result<(), ContextError> {
        match entry.kind {
            Kind::Folder => archive.directory(&entry.path, 0o755)?,
            Kind::Link => archive.symlink(&entry.path, &self.link(&entry.path)?)?,
            Kind::File => add_file(archive, &entry.path, &self.folder.join(&entry.path))?,
        }
        Ok(())
    }

    fn link(&self, path: &str) -> Result<String, InputError> {
        let path = self.folder.join(path);
        let target = fs::read_link(&path).map_err(|source| read_error(&path, source))?;
        Ok(target.to_string_lossy().into_owned())
    }

    fn list(&mut self, below: &str, ignore: &DockerIgnore) -> Result<(), InputError> {
        let folder = self.folder.join(below);
        let failed = |source| read_error(&folder, source);
        let mut found = Vec::new();
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().into_string().map_err(|name| {
                failed(io::Error::other(format!(
                    "`{}` is not UTF-8",
                    name.display()
                )))
            })?;
            found.push((name, entry.file_type().map_err(failed)?));
        }
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (name, file_type) in found {
            let path = match below {
                "" => name,
                _ => format!("{below}/{name}"),
            };
            if self.outside_of_it.contains(&self.folder.join(&path)) {
                continue;
            }
            let kind = match file_type {
                kind if kind.is_dir() => Kind::Folder,
                kind if kind.is_symlink() => Kind::Link,
                kind if kind.is_file() => Kind::File,
                // Sockets and devices are no content; Docker's own client leaves sockets out, too.
                _ => continue,
            };
            self.take(path, kind, ignore)?;
        }
        Ok(())
    }

    fn take(&mut self, path: String, kind: Kind, ignore: &DockerIgnore) -> Result<(), InputError> {
        let is_special = path == self.dockerfile || path == ".dockerignore";
        let ignored = ignore.ignores(&path) && !is_special;
        let place = self.entries.len();
        if !ignored {
            self.entries.push(Entry {
                path: path.clone(),
                kind,
            });
        }
        let leads_to_dockerfile = self
            .dockerfile
            .strip_prefix(&path)
            .is_some_and(|rest| rest.starts_with('/'));
        if kind != Kind::Folder || (ignored && !ignore.takes_back() && !leads_to_dockerfile) {
            return Ok(());
        }
        self.list(&path, ignore)?;
        if ignored && self.entries.len() > place {
            // A folder that is ignored itself exists if something in it does.
            self.entries.insert(place, Entry { path, kind });
        }
        Ok(())
    }
}

/// One that nothing in the folder has.
fn free_name(folder: &Path) -> String {
    let is_free = |name: &String| fs::symlink_metadata(folder.join(name)).is_err();
    let numbered = (1_u32..).map(|number| format!("{OUTSIDE}-{number}"));
    std::iter::once(OUTSIDE.to_owned())
        .chain(numbered)
        .find(is_free)
        .expect("a folder has fewer files than there are numbers")
}

/// `./a/`, `/a` and `a` are the same in a context.
fn inside(path: &str) -> &str {
    match path.trim_start_matches("./").trim_matches('/') {
        "." => "",
        path => path,
    }
}

fn secret_files(build: &DockerfileBuild) -> impl Iterator<Item = &Path> {
    build
        .secrets
        .values()
        .filter_map(|secret| match &secret.source {
            BuildSecretSource::File(path) => Some(path.as_path()),
            BuildSecretSource::Env(_) => None,
        })
}

/// Why a context could not be sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContextError {
    /// A file changed or vanished.
    #[error(transparent)]
    Entry(#[from] LayerError),
    /// A file cannot be read.
    #[error(transparent)]
    Read(#[from] InputError),
    /// The engine no longer listens.
    #[error("failed to send the build context")]
    Write(#[source] io::Error),
}

/// A Dockerfile's own ignore file goes before that of the context.
fn read_ignore(root: &Path, build: &DockerfileBuild) -> Result<DockerIgnore, InputError> {
    let mut own = build.dockerfile.clone().into_os_string();
    own.push(".dockerignore");
    for path in [PathBuf::from(own), build.context.join(".dockerignore")] {
        match fs::read_to_string(root.join(&path)) {
            Ok(text) => return DockerIgnore::parse(&path, &text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(read_error(&path, source)),
        }
    }
    Ok(DockerIgnore::default())
}

/// Modes are reduced to what git keeps, so that two clones give the same context.
fn add_file<W: Write>(
    archive: &mut LayerWriter<W>,
    path: &str,
    file: &Path,
) -> Result<(), ContextError> {
    let failed = |source| read_error(file, source);
    let content = File::open(file).map_err(failed)?;
    let metadata = content.metadata().map_err(failed)?;
    let executable = metadata.permissions().mode() & 0o111 != 0;
    let mode = if executable { 0o755 } else { 0o644 };
    Ok(archive.file(path, mode, metadata.len(), content)?)
}

#[cfg(test)]
mod tests;
