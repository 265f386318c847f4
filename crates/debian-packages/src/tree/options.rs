//! What an image has and lacks beside the files of its packages.

use std::collections::BTreeMap;

use super::accounts::Accounts;
use super::path::MERGED;
use super::{EntryPath, Node, NodeKind, Tree, TreeError};

/// Left out unless [`TreeOptions::drop_defaults`] is off: documentation (licences
/// stay), translations, conversions between old character sets, and what only an
/// init system or a shell of a person reads.
pub const DEFAULT_DROP: [&str; 19] = [
    "/usr/share/doc",
    "!/usr/share/doc/*/copyright",
    "/usr/share/doc-base",
    "/usr/share/man",
    "/usr/share/info",
    "/usr/share/lintian",
    "/usr/share/locale",
    "/usr/share/bash-completion",
    "/usr/share/zsh",
    "/usr/share/fish",
    "/usr/share/bug",
    "/usr/share/menu",
    "/usr/share/pixmaps",
    "/usr/share/apport",
    "/usr/share/initramfs-tools",
    "/usr/lib/systemd",
    "/usr/lib/tmpfiles.d",
    "/etc/init.d",
    "/usr/lib/*/gconv",
];

/// Folders that programs expect, with their modes.
const FOLDERS: [(&str, u32); 8] = [
    ("dev", 0o755),
    ("etc", 0o755),
    ("proc", 0o755),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o755),
    ("tmp", 0o1777),
    ("var/tmp", 0o1777),
];

/// How packages become a tree.
#[derive(Debug, Clone, PartialEq)]
pub struct TreeOptions {
    /// Whether [`DEFAULT_DROP`] stands before `drop`.
    pub drop_defaults: bool,
    /// Patterns of paths that are left out: `*` within a part of the path, `**`
    /// over parts, a folder with all that is in it; `!` in front keeps what an
    /// earlier pattern leaves out. Of several that match, the last one decides.
    pub drop: Vec<String>,
    /// Packages of which only these paths are taken (patterns as in `drop`), and the licence.
    pub only: BTreeMap<String, Vec<String>>,
    /// Users and groups.
    pub accounts: Accounts,
    /// Folders with owner and mode.
    pub folders: Vec<Folder>,
    /// Symbolic links, path to target: what `update-alternatives` would have made.
    pub links: BTreeMap<String, String>,
    /// Programs of busybox that get a link in `/usr/bin`, unless a package has the program itself.
    pub applets: Vec<String>,
    /// Excluded packages, to name the one that has a missing library.
    pub left_out: Vec<String>,
    /// Patterns of programs and libraries whose needs are not checked: plugins
    /// for programs that are not there.
    pub unchecked: Vec<String>,
    /// Whether setuid and setgid bits of programs stay.
    pub keep_setuid: bool,
}

/// A folder that the image has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// Where.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// The owner.
    pub uid: u64,
    /// The owner's group.
    pub gid: u64,
}

impl Default for TreeOptions {
    fn default() -> Self {
        Self {
            drop_defaults: true,
            drop: Vec::new(),
            only: BTreeMap::new(),
            accounts: Accounts::default(),
            folders: Vec::new(),
            links: BTreeMap::new(),
            applets: Vec::new(),
            left_out: Vec::new(),
            unchecked: Vec::new(),
            keep_setuid: true,
        }
    }
}

/// Adds what is declared.
pub(super) fn add(tree: &mut Tree, options: &TreeOptions) -> Result<(), TreeError> {
    for (path, mode) in FOLDERS {
        let path = inner(path)?;
        tree.nodes
            .entry(path)
            .or_insert_with(|| Node::directory(mode));
    }
    for folder in &options.folders {
        let node = Node {
            uid: folder.uid,
            gid: folder.gid,
            ..Node::directory(folder.mode)
        };
        put(tree, &folder.path, node)?;
    }
    for (path, target) in &options.links {
        put(tree, path, Node::symlink(target))?;
    }
    add_applets(tree, &options.applets)?;
    add_merged_links(tree);
    Ok(())
}

/// Folders replace folders; nothing else is replaced.
fn put(tree: &mut Tree, path: &str, node: Node) -> Result<(), TreeError> {
    let path = inner(path)?;
    if let Some(there) = tree.nodes.get(&path) {
        let are_folders = [&there.kind, &node.kind]
            .iter()
            .all(|kind| matches!(kind, NodeKind::Directory));
        if !are_folders {
            let there = there.what();
            return Err(TreeError::Taken { path, there });
        }
    }
    tree.nodes.insert(path, node);
    Ok(())
}

fn add_applets(tree: &mut Tree, applets: &[String]) -> Result<(), TreeError> {
    if applets.is_empty() {
        return Ok(());
    }
    let known = match tree.get("usr/bin/busybox").map(|node| &node.kind) {
        Some(NodeKind::File { size, content }) => {
            let length = usize::try_from(*size).unwrap_or(usize::MAX);
            content.start(length).map_err(TreeError::Spool)?
        }
        _ => Vec::new(),
    };
    for applet in applets {
        // Busybox has the names of its programs one after the other, each ended by a zero byte.
        let name = [b"\0", applet.as_bytes(), b"\0"].concat();
        let is_known = known.windows(name.len()).any(|window| window == name);
        if !is_known || applet.contains('/') {
            return Err(TreeError::Applet(applet.clone()));
        }
        let path = inner(&format!("usr/bin/{applet}"))?;
        let sbin = inner(&format!("usr/sbin/{applet}"))?;
        if !tree.nodes.contains_key(&sbin) {
            tree.nodes
                .entry(path)
                .or_insert_with(|| Node::symlink("busybox"));
        }
    }
    Ok(())
}

/// `/bin` and its like, for the folders of `/usr` that are there.
fn add_merged_links(tree: &mut Tree) {
    for name in MERGED {
        let prefix = format!("usr/{name}/");
        let target = prefix.trim_end_matches('/');
        let used = tree
            .nodes
            .keys()
            .any(|path| path.as_str().starts_with(&prefix));
        if used && let Some(path) = EntryPath::parse(name) {
            tree.nodes.insert(path, Node::symlink(target));
        }
    }
}

fn inner(path: &str) -> Result<EntryPath, TreeError> {
    EntryPath::parse(path)
        .map(EntryPath::merged)
        .ok_or_else(|| TreeError::Path(path.to_owned()))
}
