//! Which files there are: the sources of packages, as git has them, and all that lies below a path the user named.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ignore::WalkBuilder;

use super::files::read_error;
use super::input_error::InputError;

/// Folders of a package that go into no binary; a file in them that does is found after the build.
pub(super) const NOT_COMPILED: [&str; 4] = ["tests", "benches", "examples", "target"];

/// A file that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Relative to the repository.
    pub path: PathBuf,
    /// Where it leads, if it is a link that stays one.
    pub link: Option<String>,
}

/// What becomes of symbolic links below a named path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    /// They are content themselves.
    Kept,
    /// What they lead to is.
    Followed,
}

/// Files below the `wanted` folders of `base`, named with `prefix` before them, as the `.gitignore` files from `base`
/// on allow. Those above `base`, of the user and of `.git/info` are left out: they differ between machines. Links are
/// followed: a compiler and its macros follow them, too.
pub(super) fn sources(
    base: &Path,
    prefix: &Path,
    wanted: &[PathBuf],
) -> Result<Vec<PathBuf>, InputError> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in walker(base, wanted.to_vec()).build() {
        let path = match entry {
            Ok(entry) if entry.file_type().is_some_and(|kind| kind.is_file()) => entry.into_path(),
            // Folders are walked; sockets and devices are no content.
            Ok(_) => continue,
            Err(error) => match refused(base, wanted, error) {
                None => continue,
                Some(Refused::Dangling(path)) => path,
                Some(Refused::Loop(path)) => {
                    let path = named(base, prefix, &path);
                    return Err(InputError::Loop { path });
                }
                Some(Refused::Io(path, source)) => {
                    return Err(read_error(&named(base, prefix, &path), source));
                }
            },
        };
        let path = named(base, prefix, &path);
        if path.to_str().is_none() {
            return Err(InputError::NotUtf8 { path });
        }
        files.push(path);
    }
    Ok(files)
}

/// Everything below the folder `path` of `root`, whether git ignores it or not. What git, cargo and stackctl keep for
/// themselves is no content.
pub(super) fn whole(root: &Path, path: &Path, links: Links) -> Result<Vec<Found>, InputError> {
    let mut tree = Tree {
        root,
        links,
        above: Vec::new(),
        found: Vec::new(),
    };
    tree.list(path)?;
    Ok(tree.found)
}

/// Where a link leads.
pub(super) fn target(root: &Path, path: &Path) -> Result<String, InputError> {
    let target = fs::read_link(root.join(path)).map_err(|source| read_error(path, source))?;
    target
        .into_os_string()
        .into_string()
        .map_err(|_| InputError::NotUtf8 {
            path: path.to_owned(),
        })
}

fn walker(base: &Path, wanted: Vec<PathBuf>) -> WalkBuilder {
    let root = base.to_owned();
    let mut builder = WalkBuilder::new(base);
    builder
        .hidden(false)
        .ignore(false)
        .parents(false)
        .git_global(false)
        .git_exclude(false)
        .require_git(false)
        .follow_links(true)
        .sort_by_file_name(Ord::cmp)
        .filter_entry(move |entry| {
            let is_folder = entry.file_type().is_some_and(|kind| kind.is_dir());
            let path = entry.path();
            if is_left_out(path, is_folder) {
                return false;
            }
            let path = path.strip_prefix(&root).unwrap_or(path);
            wanted.iter().any(|folder| {
                is_within(folder, path, is_folder) || (is_folder && folder.starts_with(path))
            })
        });
    builder
}

/// Whether a path may be compiled into the package in `folder`.
fn is_within(folder: &Path, path: &Path, is_folder: bool) -> bool {
    let Ok(within) = path.strip_prefix(folder) else {
        return false;
    };
    let mut parts = within.iter();
    let first = parts.next();
    let is_in_a_folder = is_folder || parts.next().is_some();
    !(is_in_a_folder && first.is_some_and(|first| NOT_COMPILED.iter().any(|name| first == *name)))
}

/// What is nobody's content: the folders of git and stackctl, and what cargo makes.
fn is_left_out(path: &Path, is_folder: bool) -> bool {
    let Some(name) = path.file_name() else {
        return false;
    };
    name == ".git"
        || name == ".stackctl"
        || (is_folder && name == "target" && path.with_file_name("Cargo.toml").exists())
}

fn named(base: &Path, prefix: &Path, path: &Path) -> PathBuf {
    prefix.join(path.strip_prefix(base).unwrap_or(path))
}

/// Why a path could not be walked.
enum Refused {
    /// A link to nothing; where it leads is its content.
    Dangling(PathBuf),
    /// A link to a folder above it.
    Loop(PathBuf),
    /// It cannot be read.
    Io(PathBuf, io::Error),
}

/// `None` for what nobody wants: links are looked at before they are filtered.
fn refused(base: &Path, wanted: &[PathBuf], error: ignore::Error) -> Option<Refused> {
    let (path, is_loop) = place(&error).unwrap_or((base.to_owned(), false));
    let within = path.strip_prefix(base).unwrap_or(&path);
    let is_wanted = wanted
        .iter()
        .any(|folder| is_within(folder, within, true) || folder.starts_with(within));
    if !is_wanted {
        return None;
    }
    if is_loop {
        return Some(Refused::Loop(path));
    }
    let source = error
        .into_io_error()
        .unwrap_or_else(|| io::Error::other("walking failed"));
    let is_link = fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink());
    if source.kind() == io::ErrorKind::NotFound && is_link {
        return Some(Refused::Dangling(path));
    }
    Some(Refused::Io(path, source))
}

/// Which path an error is about, and whether it is a link to a folder above it.
fn place(error: &ignore::Error) -> Option<(PathBuf, bool)> {
    match error {
        ignore::Error::WithPath { path, err } => place(err).or_else(|| Some((path.clone(), false))),
        ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => {
            place(err)
        }
        ignore::Error::Loop { child, .. } => Some((child.clone(), true)),
        _ => None,
    }
}

/// A walk through all that is there.
struct Tree<'a> {
    root: &'a Path,
    links: Links,
    /// Device and number of the folders on the way.
    above: Vec<(u64, u64)>,
    found: Vec<Found>,
}

impl Tree<'_> {
    fn list(&mut self, folder: &Path) -> Result<(), InputError> {
        let failed = |source| read_error(folder, source);
        let absolute = self.root.join(folder);
        let metadata = fs::metadata(&absolute).map_err(failed)?;
        let id = (metadata.dev(), metadata.ino());
        if self.above.contains(&id) {
            return Err(InputError::Loop {
                path: folder.to_owned(),
            });
        }
        self.above.push(id);
        let mut entries = Vec::new();
        for entry in fs::read_dir(&absolute).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = folder.join(entry.file_name());
            if entry.file_name().to_str().is_none() {
                return Err(InputError::NotUtf8 { path });
            }
            entries.push((path, entry.file_type().map_err(failed)?));
        }
        entries.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        for (path, kind) in entries {
            if !is_left_out(&self.root.join(&path), kind.is_dir()) {
                self.take(path, kind)?;
            }
        }
        self.above.pop();
        Ok(())
    }

    fn take(&mut self, path: PathBuf, kind: fs::FileType) -> Result<(), InputError> {
        if kind.is_symlink() && self.links == Links::Kept {
            let link = Some(target(self.root, &path)?);
            self.found.push(Found { path, link });
            return Ok(());
        }
        let kind = match kind.is_symlink() {
            false => Some(kind),
            true => match fs::metadata(self.root.join(&path)) {
                Ok(found) => Some(found.file_type()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(source) => return Err(read_error(&path, source)),
            },
        };
        if kind.is_some_and(|kind| kind.is_dir()) {
            return self.list(&path);
        }
        // Sockets and devices are no content; of a link to nothing the target is.
        if kind.is_none_or(|kind| kind.is_file()) {
            self.found.push(Found { path, link: None });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    use super::super::test_stack::write;
    use super::*;

    fn paths(found: &[Found]) -> Vec<&str> {
        found
            .iter()
            .map(|found| found.path.to_str().unwrap())
            .collect()
    }

    #[test]
    fn what_is_named_is_taken_whole() {
        let root = tempfile::tempdir().unwrap();
        write(
            root.path(),
            &[
                (".gitignore", "dist\n"),
                ("dist/.gitignore", "*\n"),
                ("dist/a/app.js", ""),
                ("dist/index.html", ""),
                ("dist/.git/config", ""),
                ("dist/target/x", ""),
                ("dist/wasm/Cargo.toml", ""),
                ("dist/wasm/target/debug/x", ""),
            ],
        );
        std::os::unix::net::UnixListener::bind(root.path().join("dist/socket")).unwrap();
        let found = whole(root.path(), Path::new("dist"), Links::Kept).unwrap();
        assert_eq!(
            paths(&found),
            [
                "dist/.gitignore",
                "dist/a/app.js",
                "dist/index.html",
                "dist/target/x",
                "dist/wasm/Cargo.toml"
            ]
        );
    }

    #[test]
    fn links_below_a_named_path_are_kept_or_followed() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), &[("in/a", ""), ("shared/x/y", "")]);
        symlink("../shared", root.path().join("in/shared")).unwrap();
        symlink("a", root.path().join("in/b")).unwrap();
        symlink("nothing", root.path().join("in/gone")).unwrap();
        let list = |links| whole(root.path(), Path::new("in"), links).unwrap();
        let kept = list(Links::Kept);
        assert_eq!(paths(&kept), ["in/a", "in/b", "in/gone", "in/shared"]);
        assert_eq!(kept[3].link.as_deref(), Some("../shared"));
        let followed = list(Links::Followed);
        assert_eq!(
            paths(&followed),
            ["in/a", "in/b", "in/gone", "in/shared/x/y"]
        );
        symlink("..", root.path().join("shared/x/up")).unwrap();
        let refused = whole(root.path(), Path::new("in"), Links::Followed).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the link `in/shared/x/up` leads back to a folder above it"
        );
    }

    #[test]
    fn sources_are_found_through_links_and_loops_are_refused() {
        let root = tempfile::tempdir().unwrap();
        write(
            root.path(),
            &[
                ("real/a/Cargo.toml", ""),
                ("real/a/src/main.rs", ""),
                ("migrations/1.sql", ""),
            ],
        );
        fs::create_dir(root.path().join("services")).unwrap();
        symlink("../real/a", root.path().join("services/a")).unwrap();
        symlink("../../migrations", root.path().join("real/a/migrations")).unwrap();
        symlink("nothing", root.path().join("real/a/src/gone")).unwrap();
        // Of no package: nobody minds.
        symlink(".", root.path().join("loop")).unwrap();
        symlink("nothing", root.path().join("gone")).unwrap();
        let list = || sources(root.path(), Path::new(""), &["services/a".into()]);
        let expected = [
            "services/a/Cargo.toml",
            "services/a/migrations/1.sql",
            "services/a/src/gone",
            "services/a/src/main.rs",
        ];
        assert_eq!(list().unwrap(), expected.map(PathBuf::from));
        fs::create_dir(root.path().join("real/a/tests")).unwrap();
        symlink("..", root.path().join("real/a/tests/up")).unwrap();
        assert_eq!(list().unwrap().len(), 4, "what is not compiled may loop");
        symlink("..", root.path().join("real/a/src/up")).unwrap();
        assert_eq!(
            list().unwrap_err().to_string(),
            "the link `services/a/src/up` leads back to a folder above it"
        );
    }

    #[test]
    fn names_that_are_no_text_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let name = std::ffi::OsStr::from_bytes(b"a\xff");
        write(root.path(), &[("in/Cargo.toml", "")]);
        fs::write(root.path().join("in").join(name), "").unwrap();
        let refused = [
            whole(root.path(), Path::new("in"), Links::Kept).unwrap_err(),
            sources(root.path(), Path::new(""), &["in".into()]).unwrap_err(),
        ];
        for error in refused {
            assert_eq!(error.to_string(), "the name of `in/a\u{fffd}` is not UTF-8");
        }
    }
}
