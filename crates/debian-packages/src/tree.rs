//! The file tree of an image layer, put together from packages.
//!
//! What dpkg and the maintainer scripts of the base system would do is done
//! here as data: `/bin` and its like lead into `/usr`, accounts and folders are
//! declared, the package database is written. What nothing in a container reads
//! is left out. What dpkg would refuse is refused.

mod accounts;
mod database;
mod libraries;
mod merge;
mod options;
mod path;
mod rules;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

use crate::cache::{Cache, CacheError};
use crate::content::Content;
use crate::deb::DebError;
use crate::download::DebFile;

pub use accounts::{Account, Accounts};
pub use libraries::MissingLibrary;
pub use options::{DEFAULT_DROP, Folder, TreeOptions};
pub use path::EntryPath;
pub use rules::InvalidPattern;

/// Entries by their paths, each folder right before what is in it.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    nodes: BTreeMap<EntryPath, Node>,
}

/// An entry of the tree.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// The owner.
    pub uid: u64,
    /// The owner's group.
    pub gid: u64,
    /// The packages that have it; none for what was declared.
    pub packages: BTreeSet<String>,
}

/// What an entry is.
#[derive(Debug, Clone)]
pub enum NodeKind {
    /// A folder.
    Directory,
    /// A file; hard links have the same content in the same place.
    File {
        /// In bytes.
        size: u64,
        /// Where they are.
        content: Content,
    },
    /// A symbolic link.
    Symlink {
        /// As it is stored.
        target: String,
    },
}

/// Why packages do not become a tree.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// A package file cannot be used.
    #[error("failed to unpack {package} {version}")]
    Package {
        /// The package.
        package: String,
        /// Its version.
        version: String,
        /// What is wrong with the file.
        #[source]
        source: DebError,
    },
    /// The file is of another package than its lock says.
    #[error("the file of {package} holds {found}")]
    OtherPackage {
        /// The name in the lock.
        package: String,
        /// Name and version in the file.
        found: String,
    },
    /// Two packages have the same file, and neither replaces the other's.
    #[error(
        "both {one} and {other} have `/{path}`, and they differ: one of them must be dropped or excluded"
    )]
    Conflict {
        /// The path.
        path: EntryPath,
        /// Who had it first.
        one: String,
        /// Who has it too.
        other: String,
    },
    /// Something lies below what is not a folder.
    #[error("`/{path}` lies below `/{above}`, which is not a folder")]
    NotAFolder {
        /// The entry.
        path: EntryPath,
        /// The link or file above it.
        above: EntryPath,
    },
    /// A declared path does not stay in the image.
    #[error("`{0}` is not a path inside an image")]
    Path(String),
    /// Something is declared where a package has something else.
    #[error("`/{path}` cannot be made: there is {there} already")]
    Taken {
        /// The path.
        path: EntryPath,
        /// What is there.
        there: &'static str,
    },
    /// A pattern cannot be understood.
    #[error(transparent)]
    Pattern(#[from] InvalidPattern),
    /// An applet of busybox is asked for that is not there.
    #[error("`{0}` is not a program of busybox, or the package busybox-static is missing")]
    Applet(String),
    /// An account is declared twice, or in a way that would break `/etc/passwd`.
    #[error("the account `{name}` {problem}")]
    Account {
        /// Its name.
        name: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// `only` or another option names a package that is not there.
    #[error("`{0}` is not among the packages")]
    NoSuchPackage(String),
    /// Programs lack libraries.
    #[error("{}", libraries::list(.0))]
    Libraries(Vec<MissingLibrary>),
    /// A file of this machine cannot be read.
    #[error("failed to read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The cache, which unpacked content is kept in, failed.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// Unpacked content cannot be read again.
    #[error("failed to read unpacked files")]
    Spool(#[source] io::Error),
}

impl Tree {
    /// Unpacks the packages and makes one tree of them. Blocks; the unpacked
    /// content lies in a nameless file in the cache for as long as the tree lives.
    pub fn build(
        files: &[DebFile],
        options: &TreeOptions,
        cache: &Cache,
    ) -> Result<Self, TreeError> {
        let unpacked = merge::unpack(files, options, cache)?;
        let mut tree = merge::merge(&unpacked, options)?;
        database::add(&mut tree, &unpacked);
        accounts::add(&mut tree, &options.accounts)?;
        options::add(&mut tree, options)?;
        tree.complete()?;
        libraries::check(&tree, &unpacked, options)?;
        Ok(tree)
    }

    /// All entries, in the order of a layer.
    pub fn entries(&self) -> impl Iterator<Item = (&EntryPath, &Node)> {
        self.nodes.iter()
    }

    /// The entry at a path, links not followed.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(&EntryPath::parse(path)?)
    }

    /// The sum of the sizes of all files in bytes, hard links counted once.
    #[must_use]
    pub fn size(&self) -> u64 {
        let mut linked = BTreeSet::new();
        let mut total = 0;
        for node in self.nodes.values() {
            if let NodeKind::File { size, content } = &node.kind
                && content.identity().is_none_or(|place| linked.insert(place))
            {
                total += size;
            }
        }
        total
    }

    /// The path that a name leads to when links are followed, as the kernel does.
    pub(crate) fn follow(&self, path: &str) -> Option<(EntryPath, &Node)> {
        let mut rest: Vec<String> = parts(path).rev().map(str::to_owned).collect();
        let mut place = String::new();
        let mut links = 0;
        while let Some(part) = rest.pop() {
            if part == ".." {
                place.truncate(place.rfind('/').unwrap_or(0));
                continue;
            }
            let next = match place.as_str() {
                "" => part,
                place => format!("{place}/{part}"),
            };
            match &self.nodes.get(&EntryPath::parse(&next)?)?.kind {
                NodeKind::Symlink { target } => {
                    links += 1;
                    if links > 40 {
                        return None;
                    }
                    if target.starts_with('/') {
                        place.clear();
                    }
                    rest.extend(parts(target).rev().map(str::to_owned));
                }
                _ => place = next,
            }
        }
        let path = EntryPath::parse(&place)?;
        let node = self.nodes.get(&path)?;
        Some((path, node))
    }

    /// Adds the folders that lead to entries; what leads there must be a folder.
    fn complete(&mut self) -> Result<(), TreeError> {
        let mut missing = BTreeSet::new();
        for path in self.nodes.keys() {
            for above in path.above() {
                match self.nodes.get(&above).map(|node| &node.kind) {
                    Some(NodeKind::Directory) => {}
                    Some(_) => {
                        let path = path.clone();
                        return Err(TreeError::NotAFolder { path, above });
                    }
                    None => {
                        missing.insert(above);
                    }
                }
            }
        }
        let folders = missing
            .into_iter()
            .map(|path| (path, Node::directory(0o755)));
        self.nodes.extend(folders);
        Ok(())
    }
}

impl Node {
    fn directory(mode: u32) -> Self {
        Self::declared(NodeKind::Directory, mode)
    }

    fn bytes(content: &str) -> Self {
        let size = content.len() as u64;
        let content = Content::Bytes(content.as_bytes().into());
        Self::declared(NodeKind::File { size, content }, 0o644)
    }

    fn symlink(target: &str) -> Self {
        let target = target.to_owned();
        Self::declared(NodeKind::Symlink { target }, 0o777)
    }

    /// Of root, and of no package.
    fn declared(kind: NodeKind, mode: u32) -> Self {
        Self {
            kind,
            mode,
            uid: 0,
            gid: 0,
            packages: BTreeSet::new(),
        }
    }

    fn what(&self) -> &'static str {
        match self.kind {
            NodeKind::Directory => "a folder",
            NodeKind::File { .. } => "a file",
            NodeKind::Symlink { .. } => "a link",
        }
    }
}

fn parts(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.split('/')
        .filter(|part| !part.is_empty() && *part != ".")
}

#[cfg(test)]
mod tests;
