//! Files that images are made from: which there are, and what is in them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::num::NonZero;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::diagnostic::Span;

use super::input_error::InputError;
use super::walk::{self, Found, Links, NOT_COMPILED};

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
    /// never compiled do not count. A folder outside the repository is read on its own, and so is one that git ignores
    /// as a whole, as generated packages are.
    pub(crate) fn of_packages(
        &self,
        folders: &BTreeSet<PathBuf>,
    ) -> Result<BTreeMap<PathBuf, Vec<PathBuf>>, InputError> {
        let is_outside = |folder: &PathBuf| folder.is_absolute() || folder.starts_with("..");
        let (outside, inside): (Vec<PathBuf>, Vec<PathBuf>) =
            folders.iter().cloned().partition(is_outside);
        let mut files = walk::sources(&self.root, Path::new(""), &inside)?;
        for folder in &outside {
            files.extend(self.on_its_own(folder)?);
        }
        let mut sorted = sort(folders, files);
        for folder in inside {
            if !sorted.contains_key(&folder) {
                sorted.extend(sort(&[folder.clone()].into(), self.on_its_own(&folder)?));
            }
        }
        Ok(sorted)
    }

    fn on_its_own(&self, folder: &Path) -> Result<Vec<PathBuf>, InputError> {
        walk::sources(&self.root.join(folder), folder, &[PathBuf::new()])
    }

    /// What the user named, whole: a file, or all that is in a folder, whether git ignores it or not. It must be there
    /// and hold something. A link is what it leads to; `links` is about those below a folder.
    pub(crate) fn named(
        &self,
        path: &Path,
        links: Links,
        what: &'static str,
        span: &Span,
    ) -> Result<Vec<Found>, InputError> {
        let metadata = match fs::metadata(self.root.join(path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(InputError::Missing {
                    what,
                    path: path.to_owned(),
                    span: span.clone(),
                });
            }
            metadata => metadata.map_err(|source| read_error(path, source))?,
        };
        let found = match metadata.is_file() {
            true => vec![Found {
                path: path.to_owned(),
                link: None,
            }],
            false => walk::whole(&self.root, path, links)?,
        };
        if found.is_empty() {
            return Err(InputError::Empty {
                what,
                path: path.to_owned(),
                span: span.clone(),
            });
        }
        Ok(found)
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

/// Gives each package among `folders` its own files.
fn sort(folders: &BTreeSet<PathBuf>, files: Vec<PathBuf>) -> BTreeMap<PathBuf, Vec<PathBuf>> {
    let mut packages = folders.clone();
    packages.extend(
        files
            .iter()
            .filter(|file| file.file_name().is_some_and(|name| name == "Cargo.toml"))
            .filter_map(|file| Some(file.parent()?.to_owned())),
    );
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
    sorted
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

/// What is known of a file with this content: that, whether it may be executed, and where a link leads.
pub(crate) fn described(path: &Path, metadata: &Metadata, content: blake3::Hash) -> String {
    let executable = match metadata.permissions().mode() & 0o111 {
        0 => "",
        _ => "x ",
    };
    format!("{}{executable}{}", link(path), content.to_hex())
}

fn link(path: &Path) -> String {
    fs::read_link(path).map_or_else(
        |_| String::new(),
        |target| format!("-> {} ", target.display()),
    )
}

fn fingerprint(path: &Path, buffer: &mut [u8]) -> io::Result<String> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.is_symlink() => {
            return Ok(link(path));
        }
        file => file?,
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(link(path));
    }
    let mut hasher = blake3::Hasher::new();
    loop {
        match file.read(buffer)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        };
    }
    Ok(described(path, &metadata, hasher.finalize()))
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
        let found = Files::new(root.path())
            .of_packages(&["services/a".into()].into())
            .unwrap();
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
    }

    #[test]
    fn packages_outside_and_packages_that_git_ignores_count() {
        let root = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let absolute = elsewhere.path().join("kit");
        write(root.path(), ".gitignore", "/generated\n");
        write(root.path(), "generated/Cargo.toml", "");
        write(root.path(), "generated/src/lib.rs", "");
        write(root.path(), "generated/src/lib.rs.bak", "");
        write(root.path(), "generated/.gitignore", "*.bak\n");
        write(root.path(), "empty/Cargo.toml", "");
        write(&absolute, "Cargo.toml", "");
        write(&absolute, "src/lib.rs", "");
        let folders = [absolute.clone(), "generated".into(), "empty".into()];
        let found = Files::new(root.path())
            .of_packages(&folders.into())
            .unwrap();
        let expected = [
            (absolute.clone(), vec![absolute.join("src/lib.rs")]),
            (
                "generated".into(),
                paths(&["generated/.gitignore", "generated/src/lib.rs"]),
            ),
        ];
        assert_eq!(found, expected.into());
    }

    #[test]
    fn what_is_named_must_be_there_and_hold_something() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), ".gitignore", "local.db\ndist\n");
        write(root.path(), "local.db", "");
        write(root.path(), "dist/v1/app.js", "");
        fs::create_dir_all(root.path().join("empty/er")).unwrap();
        std::os::unix::fs::symlink("v1", root.path().join("dist/now")).unwrap();
        std::os::unix::fs::symlink("nowhere", root.path().join("dangling")).unwrap();
        let files = Files::new(root.path());
        let named = |path: &str| {
            let span = super::super::test_stack::span();
            files
                .named(Path::new(path), Links::Kept, "the file", &span)
                .map(|found| found.into_iter().map(|found| found.path).collect())
                .map_err(|error| error.to_string())
        };
        assert_eq!(named("local.db"), Ok(paths(&["local.db"])));
        assert_eq!(named("dist/now"), Ok(paths(&["dist/now/app.js"])));
        for (path, problem) in [
            ("nowhere", "the file `nowhere` does not exist"),
            ("dangling", "the file `dangling` does not exist"),
            ("empty", "there is no file in `empty`"),
        ] {
            assert_eq!(named(path), Err(problem.to_owned()));
        }
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
