//! The files of all packages in one tree.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::options::DEFAULT_DROP;
use super::path::MERGED;
use super::rules::Rules;
use super::{EntryPath, Node, NodeKind, Tree, TreeError, TreeOptions};
use crate::cache::Cache;
use crate::content::Spool;
use crate::deb::{Control, Deb, DebError, Entry, EntryKind};
use crate::deb822;
use crate::download::DebFile;
use crate::relation::parse_list;
use crate::version::Version;

/// More threads than that wait for each other's disk.
const MOST_THREADS: usize = 4;

/// A package with what is taken of it.
#[derive(Debug)]
pub(super) struct Unpacked {
    pub(super) name: String,
    pub(super) version: Version,
    pub(super) architecture: String,
    pub(super) control: Control,
    entries: Vec<Entry>,
}

impl Unpacked {
    /// A field of the control paragraph.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        let fields = deb822::fields(&self.control.paragraph).ok()?;
        deb822::value(&fields, name)
    }

    /// Whether this package may overwrite files of `other`.
    fn replaces(&self, other: &Self) -> bool {
        let replaces = parse_list(self.field("Replaces").unwrap_or_default());
        replaces.unwrap_or_default().iter().any(|relation| {
            let fits = |(comparison, version): &(crate::relation::Comparison, Version)| {
                comparison.holds(&other.version, version)
            };
            relation.name == other.name && relation.version.as_ref().is_none_or(fits)
        })
    }
}

/// What is left out, of all packages and of each.
struct Selection<'a> {
    drop: Rules,
    only: BTreeMap<&'a str, Rules>,
}

impl<'a> Selection<'a> {
    fn new(files: &[DebFile], options: &'a TreeOptions) -> Result<Self, TreeError> {
        let defaults: &[&str] = if options.drop_defaults {
            &DEFAULT_DROP
        } else {
            &[]
        };
        let drop = defaults
            .iter()
            .copied()
            .chain(options.drop.iter().map(String::as_str));
        let mut only = BTreeMap::new();
        for (package, patterns) in &options.only {
            if !files.iter().any(|file| file.package.name == *package) {
                return Err(TreeError::NoSuchPackage(package.clone()));
            }
            let licence = format!("usr/share/doc/{package}/copyright");
            let patterns = patterns.iter().map(|pattern| in_usr(pattern));
            let patterns: Vec<String> = patterns.chain([licence]).collect();
            only.insert(
                package.as_str(),
                Rules::new(patterns.iter().map(String::as_str))?,
            );
        }
        let drop: Vec<String> = drop.map(in_usr).collect();
        Ok(Self {
            drop: Rules::new(drop.iter().map(String::as_str))?,
            only,
        })
    }

    fn takes(&self, package: &str, path: &str) -> bool {
        let Some(path) = EntryPath::parse(path).map(EntryPath::merged) else {
            return false;
        };
        let wanted = self
            .only
            .get(package)
            .is_none_or(|only| only.matches(path.as_str()));
        wanted && !self.drop.matches(path.as_str())
    }
}

/// `/lib/systemd` as `/usr/lib/systemd`, as paths are when they are looked at.
fn in_usr(pattern: &str) -> String {
    let (not, inner) = match pattern.strip_prefix('!') {
        Some(inner) => ("!", inner),
        None => ("", pattern),
    };
    let inner = inner.trim_start_matches("./").trim_start_matches('/');
    let first = inner.split('/').next().unwrap_or_default();
    match MERGED.contains(&first) {
        true => format!("{not}usr/{inner}"),
        false => format!("{not}{inner}"),
    }
}

/// Reads all packages, several at a time; they come in the order of `files`.
pub(super) fn unpack(
    files: &[DebFile],
    options: &TreeOptions,
    cache: &Cache,
) -> Result<Vec<Unpacked>, TreeError> {
    let selection = Selection::new(files, options)?;
    let results: Vec<_> = files.iter().map(|_| Mutex::new(None)).collect();
    let next = AtomicUsize::new(0);
    let work = || -> Result<(), TreeError> {
        let mut spool = Spool::new(cache.spool()?);
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(file) = files.get(place) else {
                return Ok(());
            };
            let unpacked = unpack_one(file, &selection, &mut spool);
            if unpacked.is_err() {
                next.store(files.len(), Ordering::Relaxed);
            }
            if let Ok(mut slot) = results[place].lock() {
                *slot = Some(unpacked);
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, |count| count.get().min(MOST_THREADS));
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let ends = workers.into_iter().map(|worker| {
            worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        ends.collect::<Result<Vec<()>, _>>()
    })?;
    let unpacked = results
        .into_iter()
        .filter_map(|slot| slot.into_inner().ok().flatten());
    unpacked.collect()
}

fn unpack_one(
    file: &DebFile,
    selection: &Selection<'_>,
    spool: &mut Spool,
) -> Result<Unpacked, TreeError> {
    let package = &file.package;
    let mut read = || -> Result<_, DebError> {
        let deb = Deb::open(&file.path)?;
        let keep = |path: &str| selection.takes(&package.name, path);
        Ok((deb.control()?, deb.entries(spool, &keep)?))
    };
    let failed = |source| TreeError::Package {
        package: package.name.clone(),
        version: package.version.to_string(),
        source,
    };
    let (control, entries) = read().map_err(failed)?;
    let unpacked = Unpacked {
        name: package.name.clone(),
        version: package.version.clone(),
        architecture: package.architecture.clone(),
        control,
        entries,
    };
    let found = ["Package", "Version"].map(|name| unpacked.field(name).unwrap_or_default());
    if found != [package.name.as_str(), package.version.as_str()] {
        return Err(TreeError::OtherPackage {
            package: package.name.clone(),
            found: found.join(" "),
        });
    }
    Ok(unpacked)
}

/// Puts the entries of all packages into one tree.
pub(super) fn merge(packages: &[Unpacked], options: &TreeOptions) -> Result<Tree, TreeError> {
    let mut merge = Merge {
        tree: Tree::default(),
        packages: packages
            .iter()
            .map(|package| (package.name.as_str(), package))
            .collect(),
    };
    for package in packages {
        for entry in &package.entries {
            merge.add(package, entry, options.keep_setuid)?;
        }
    }
    Ok(merge.tree)
}

struct Merge<'a> {
    tree: Tree,
    packages: BTreeMap<&'a str, &'a Unpacked>,
}

/// Which of two entries of the same path stays.
enum Winner {
    Both,
    First,
    Second,
}

impl Merge<'_> {
    fn add(
        &mut self,
        package: &Unpacked,
        entry: &Entry,
        keep_setuid: bool,
    ) -> Result<(), TreeError> {
        let path =
            EntryPath::parse(&entry.path).ok_or_else(|| TreeError::Path(entry.path.clone()))?;
        let is_merged_link =
            MERGED.contains(&path.as_str()) && matches!(entry.kind, EntryKind::Symlink { .. });
        if is_merged_link {
            return Ok(()); // made by ourselves
        }
        let (path, node) = (path.merged(), node(package, entry, keep_setuid));
        let Some(there) = self.tree.nodes.get_mut(&path) else {
            self.tree.nodes.insert(path, node);
            return Ok(());
        };
        let owners = there.packages.iter();
        let owners: Vec<&Unpacked> = owners
            .filter_map(|name| self.packages.get(name.as_str()).copied())
            .collect();
        match winner(there, &owners, &node, package)? {
            Some(Winner::Both) => {
                there.packages.insert(package.name.clone());
            }
            Some(Winner::First) => {}
            Some(Winner::Second) => *there = node,
            None => {
                let one = there.packages.first().cloned().unwrap_or_default();
                let other = package.name.clone();
                return Err(TreeError::Conflict { path, one, other });
            }
        }
        Ok(())
    }
}

fn winner(
    first: &Node,
    owners: &[&Unpacked],
    second: &Node,
    package: &Unpacked,
) -> Result<Option<Winner>, TreeError> {
    if same(first, second)? {
        return Ok(Some(Winner::Both));
    }
    let folder = [first, second].map(|node| matches!(node.kind, NodeKind::Directory));
    if folder.contains(&true) {
        return Ok(None);
    }
    Ok(if owners.iter().all(|owner| package.replaces(owner)) {
        Some(Winner::Second)
    } else if owners.iter().any(|owner| owner.replaces(package)) {
        Some(Winner::First)
    } else {
        None
    })
}

/// Folders are the same whatever their modes: the first one's stays, as in dpkg.
fn same(first: &Node, second: &Node) -> Result<bool, TreeError> {
    match (&first.kind, &second.kind) {
        (NodeKind::Directory, NodeKind::Directory) => Ok(true),
        (NodeKind::Symlink { target: one }, NodeKind::Symlink { target: other }) => {
            Ok(one == other)
        }
        (
            NodeKind::File {
                size: one_size,
                content: one,
            },
            NodeKind::File {
                size: other_size,
                content: other,
            },
        ) => {
            let alike = |node: &Node| (node.mode, node.uid, node.gid);
            let candidates = one_size == other_size && alike(first) == alike(second);
            Ok(candidates && one.equals(other).map_err(TreeError::Spool)?)
        }
        _ => Ok(false),
    }
}

fn node(package: &Unpacked, entry: &Entry, keep_setuid: bool) -> Node {
    let kind = match &entry.kind {
        EntryKind::Directory => NodeKind::Directory,
        EntryKind::Symlink { target } => NodeKind::Symlink {
            target: target.clone(),
        },
        EntryKind::File { size, content } => NodeKind::File {
            size: *size,
            content: content.clone(),
        },
    };
    let strip = !keep_setuid && matches!(kind, NodeKind::File { .. });
    Node {
        mode: if strip {
            entry.mode & 0o1777
        } else {
            entry.mode
        },
        kind,
        uid: entry.uid,
        gid: entry.gid,
        packages: BTreeSet::from([package.name.clone()]),
    }
}
