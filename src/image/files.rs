//! Files that images are made from: which there are, and what is in them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, Read};
use std::num::NonZero;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ignore::WalkBuilder;

use crate::diagnostic::Span;

use super::input_error::InputError;

/// Folders of a package that go into no binary; a file in them that does is found after the build.
const NOT_COMPILED: [&str; 4] = ["tests", "benches", "examples", "target"];
/// Files beside a package's manifest that belong to stackctl.
const OF_THE_STACK: [&str; 2] = ["service.yaml", "smoke.yaml"];
/// Fewer files than this are read faster by one thread.
const WORTH_A_THREAD: usize = 32;

/// Lists and digests files of one repository, each once.
#[derive(Debug)]
pub(crate) struct Files {
    root: PathBuf,
    fingerprints: HashMap<PathBuf, String>,
}

impl Files {
    /// Paths are relative to `root`, the repository.
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            fingerprints: HashMap::new(),
        }
    }

    /// The repository.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The files of Cargo packages by the package's folder: what git ignores, other packages within and what is
    /// never compiled do not count. A folder outside the repository is read on its own.
    pub(crate) fn of_packages(
        &self,
        folders: &BTreeSet<PathBuf>,
    ) -> Result<BTreeMap<PathBuf, Vec<PathBuf>>, InputError> {
        let (outside, inside): (Vec<PathBuf>, Vec<PathBuf>) = folders
            .iter()
            .cloned()
            .partition(|folder| folder.starts_with(".."));
        let mut files = walk(&self.root, Path::new(""), inside)?;
        for folder in outside {
            files.extend(walk(
                &self.root.join(&folder),
                &folder,
                vec![PathBuf::new()],
            )?);
        }
        let packages: BTreeSet<PathBuf> = files
            .iter()
            .filter(|file| file.file_name().is_some_and(|name| name == "Cargo.toml"))
            .filter_map(|file| Some(file.parent()?.to_owned()))
            .collect();
        let mut sorted: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
        for file in files {
            let owner = file
                .ancestors()
                .skip(1)
                .find(|folder| packages.contains(*folder));
            if let Some(owner) = owner.filter(|owner| folders.contains(*owner))
                && is_compiled(owner, &file)
            {
                sorted.entry(owner.to_owned()).or_default().push(file);
            }
        }
        Ok(sorted)
    }

    /// A file as it is, or the files of a folder that git does not ignore; empty if there is no such path.
    pub(crate) fn below(&self, path: &Path) -> Result<Vec<PathBuf>, InputError> {
        match fs::symlink_metadata(self.root.join(path)) {
            Ok(found) if found.is_dir() => walk(&self.root, Path::new(""), vec![path.to_owned()]),
            Ok(_) => Ok(vec![path.to_owned()]),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(source) => Err(read_error(path, source)),
        }
    }

    /// What is [`below`](Self::below) a path that the user named; it must be there.
    pub(crate) fn named(
        &self,
        path: &Path,
        what: &'static str,
        span: &Span,
    ) -> Result<Vec<PathBuf>, InputError> {
        let below = self.below(path)?;
        if below.is_empty() && !self.root.join(path).exists() {
            return Err(InputError::Missing {
                what,
                path: path.to_owned(),
                span: span.clone(),
            });
        }
        Ok(below)
    }

    /// Reads what has not been read yet, with all processors where that pays.
    pub(crate) fn digest<'a>(
        &mut self,
        files: impl IntoIterator<Item = &'a PathBuf>,
    ) -> Result<(), InputError> {
        let missing: BTreeSet<&PathBuf> = files
            .into_iter()
            .filter(|file| !self.fingerprints.contains_key(*file))
            .collect();
        let missing: Vec<&PathBuf> = missing.into_iter().collect();
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
        let share = missing.len().div_ceil(threads).max(WORTH_A_THREAD);
        let root = &self.root;
        let read: Vec<Result<(PathBuf, String), InputError>> = std::thread::scope(|scope| {
            let workers: Vec<_> = missing
                .chunks(share)
                .map(|chunk| scope.spawn(move || read_all(root, chunk)))
                .collect();
            workers
                .into_iter()
                .flat_map(|worker| worker.join().expect("reading a file does not panic"))
                .collect()
        });
        for result in read {
            let (file, fingerprint) = result?;
            self.fingerprints.insert(file, fingerprint);
        }
        Ok(())
    }

    /// What a file holds, `""` for one that was not digested.
    pub(crate) fn fingerprint(&self, file: &Path) -> &str {
        self.fingerprints.get(file).map_or("", String::as_str)
    }
}

fn is_compiled(package: &Path, file: &Path) -> bool {
    let Ok(within) = file.strip_prefix(package) else {
        return false;
    };
    let is_one_of = |names: &[&str]| {
        within
            .iter()
            .next()
            .is_some_and(|first| names.iter().any(|name| first == *name))
    };
    let deeper = within.components().count() > 1;
    // Manifests are compared by content, not by text.
    if deeper {
        !is_one_of(&NOT_COMPILED)
    } else {
        !is_one_of(&OF_THE_STACK) && within != Path::new("Cargo.toml")
    }
}

/// Files below the `wanted` folders of `base`, named with `prefix` before them, as the `.gitignore` files from `base`
/// on allow. Those above `base`, of the user and of `.git/info` are left out: they differ between machines.
fn walk(base: &Path, prefix: &Path, wanted: Vec<PathBuf>) -> Result<Vec<PathBuf>, InputError> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let base_owned = base.to_owned();
    let walker = WalkBuilder::new(base)
        .hidden(false)
        .ignore(false)
        .parents(false)
        .git_global(false)
        .git_exclude(false)
        .require_git(false)
        .sort_by_file_name(Ord::cmp)
        .filter_entry(move |entry| {
            let name = entry.file_name();
            if name == ".git" || name == ".stackctl" {
                return false;
            }
            let path = entry
                .path()
                .strip_prefix(&base_owned)
                .unwrap_or(entry.path());
            let is_folder = entry.file_type().is_some_and(|kind| kind.is_dir());
            if is_folder && name == "target" && entry.path().with_file_name("Cargo.toml").exists() {
                return false;
            }
            wanted
                .iter()
                .any(|folder| path.starts_with(folder) || (is_folder && folder.starts_with(path)))
        })
        .build();
    let mut files = Vec::new();
    for entry in walker {
        let entry = entry.map_err(|error| {
            let path = base.to_owned();
            InputError::Read {
                path,
                source: error
                    .into_io_error()
                    .unwrap_or_else(|| io::Error::other("walking failed")),
            }
        })?;
        if entry.file_type().is_some_and(|kind| !kind.is_dir())
            && let Ok(path) = entry.path().strip_prefix(base)
        {
            files.push(prefix.join(path));
        }
    }
    Ok(files)
}

fn read_all(root: &Path, files: &[&PathBuf]) -> Vec<Result<(PathBuf, String), InputError>> {
    let mut buffer = vec![0; 64 * 1024];
    files
        .iter()
        .map(|&file| {
            fingerprint(&root.join(file), &mut buffer)
                .map(|fingerprint| (file.clone(), fingerprint))
                .map_err(|source| read_error(file, source))
        })
        .collect()
}

/// Content, whether it may be executed, and where a link leads.
fn fingerprint(path: &Path, buffer: &mut [u8]) -> io::Result<String> {
    let link = match fs::read_link(path) {
        Ok(target) => format!("-> {} ", target.display()),
        Err(_) => String::new(),
    };
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !link.is_empty() => {
            return Ok(link);
        }
        file => file?,
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(link);
    }
    let mut hasher = blake3::Hasher::new();
    loop {
        match file.read(buffer)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        };
    }
    let executable = if metadata.permissions().mode() & 0o111 == 0 {
        ""
    } else {
        "x "
    };
    Ok(format!("{link}{executable}{}", hasher.finalize().to_hex()))
}

pub(crate) fn read_error(path: &Path, source: io::Error) -> InputError {
    InputError::Read {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn paths(list: &[&str]) -> Vec<PathBuf> {
        list.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn a_package_is_made_from_its_own_files() {
        let root = tempfile::tempdir().unwrap();
        for file in [
            "Cargo.toml",
            "services/a/Cargo.toml",
            "services/a/src/main.rs",
            "services/a/src/target/mod.rs",
            "services/a/.sqlx/query.json",
            "services/a/build.rs",
            "services/a/service.yaml",
            "services/a/smoke.yaml",
            "services/a/assets/service.yaml",
            "services/a/tests/api.rs",
            "services/a/target/debug/a",
            "services/a/local.db",
            "services/a/inner/Cargo.toml",
            "services/a/inner/src/lib.rs",
            "services/b/Cargo.toml",
            "services/b/src/main.rs",
            ".git/config",
        ] {
            write(root.path(), file, "");
        }
        write(root.path(), ".gitignore", "*.db\n");
        let files = Files::new(root.path());
        let found = files.of_packages(&["services/a".into()].into()).unwrap();
        assert_eq!(
            found,
            [(
                PathBuf::from("services/a"),
                paths(&[
                    "services/a/.sqlx/query.json",
                    "services/a/assets/service.yaml",
                    "services/a/build.rs",
                    "services/a/src/main.rs",
                    "services/a/src/target/mod.rs",
                ])
            )]
            .into()
        );
        assert_eq!(files.below(Path::new("services/b")).unwrap().len(), 2);
        assert_eq!(
            files.below(Path::new("services/a/local.db")).unwrap(),
            paths(&["services/a/local.db"]),
            "a file that is named counts even if git ignores it"
        );
        assert!(files.below(Path::new("nowhere")).unwrap().is_empty());
    }

    #[test]
    fn a_fingerprint_covers_content_mode_and_link_but_not_times() {
        let root = tempfile::tempdir().unwrap();
        let fingerprint_of = |file: &str| {
            let mut files = Files::new(root.path());
            let file = PathBuf::from(file);
            files.digest([&file]).unwrap();
            files.fingerprint(&file).to_owned()
        };
        write(root.path(), "a", "one");
        let first = fingerprint_of("a");
        write(root.path(), "a", "one");
        assert_eq!(first, fingerprint_of("a"));
        write(root.path(), "a", "two");
        let second = fingerprint_of("a");
        assert_ne!(first, second);
        fs::set_permissions(root.path().join("a"), fs::Permissions::from_mode(0o755)).unwrap();
        assert_ne!(second, fingerprint_of("a"));
        std::os::unix::fs::symlink("a", root.path().join("link")).unwrap();
        assert!(fingerprint_of("link").starts_with("-> a x "));
        std::os::unix::fs::symlink("gone", root.path().join("dangling")).unwrap();
        assert_eq!(fingerprint_of("dangling"), "-> gone ");
    }
}
