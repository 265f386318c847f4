//! The paths of a layer so far: nothing lies in what is no folder, and nothing is there twice.

use std::collections::HashMap;

use super::Refusal;
use super::entry::{Entry, Kind};

/// `.wh.NAME` removes `NAME` of the layers below.
const WHITEOUT: &[u8] = b".wh.";
/// Removes everything the layers below have in the folder.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// What else begins so was AUFS's own, and some engines still treat it in a way of its own.
const RESERVED: &[u8] = b".wh..wh.";

/// A tree of names.
pub(super) struct Tree {
    children: HashMap<(u32, Box<[u8]>), u32>,
    nodes: Vec<Node>,
    limit: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Node {
    /// On the way to an entry.
    Implied,
    Folder,
    File,
    /// A link, a device, a pipe.
    Other,
}

const ROOT: u32 = 0;

impl Tree {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            children: HashMap::new(),
            nodes: vec![Node::Implied],
            limit,
        }
    }

    pub(super) fn add(&mut self, entry: &Entry) -> Result<(), Refusal> {
        check_whiteout(entry)?;
        let node = match entry.kind {
            Kind::Folder => Node::Folder,
            Kind::File => Node::File,
            Kind::HardLink => self.linked(entry)?,
            Kind::SymbolicLink | Kind::Fifo | Kind::Device => Node::Other,
        };
        let Some((name, folders)) = entry.path.split_last() else {
            return Ok(());
        };
        let mut at = ROOT;
        for (depth, folder) in folders.iter().enumerate() {
            at = self.child(at, folder, Node::Implied)?;
            if !self.is_folder(at) {
                return Err(Refusal::Through(shown(&entry.path[..=depth])));
            }
        }
        let before = self.nodes.len();
        let at = self.child(at, name, node)?;
        let is_new = self.nodes.len() > before;
        // Some builders write a folder again for each of its files, which changes nothing but its mode.
        if is_new || (node == Node::Folder && self.is_folder(at)) {
            self.nodes[at as usize] = node;
            Ok(())
        } else {
            Err(Refusal::Duplicate)
        }
    }

    /// A hard link names a file that came before it in the layer, by a path without tricks.
    fn linked(&self, entry: &Entry) -> Result<Node, Refusal> {
        let target = &entry.target;
        let shown = || String::from_utf8_lossy(target).into_owned();
        if target.is_empty() || target.contains(&0) {
            return Err(Refusal::Target("is empty or has a character that is none"));
        }
        let mut at = ROOT;
        // Engines take the target as one from the root, with and without a slash before it.
        let parts = target.split(|byte| *byte == b'/');
        for part in parts.filter(|part| !matches!(*part, b"" | b".")) {
            if part == b".." {
                return Err(Refusal::Outside(shown()));
            }
            let Some(child) = self.children.get(&(at, Box::from(part))) else {
                return Err(Refusal::HardLink(shown()));
            };
            at = *child;
        }
        match self.nodes[at as usize] {
            Node::File => Ok(Node::File),
            _ => Err(Refusal::HardLink(shown())),
        }
    }

    /// The child of this name, made as `new` where there is none.
    fn child(&mut self, parent: u32, name: &[u8], new: Node) -> Result<u32, Refusal> {
        let key = (parent, Box::from(name));
        if let Some(found) = self.children.get(&key) {
            return Ok(*found);
        }
        if self.nodes.len() > self.limit {
            return Err(Refusal::Entries(self.limit));
        }
        let index = u32::try_from(self.nodes.len()).map_err(|_| Refusal::Entries(self.limit))?;
        self.nodes.push(new);
        self.children.insert(key, index);
        Ok(index)
    }

    fn is_folder(&self, node: u32) -> bool {
        matches!(self.nodes[node as usize], Node::Folder | Node::Implied)
    }
}

/// A whiteout is an empty file that names a neighbour. The name after the mark must be one: `.wh..` would remove the
/// folder itself.
fn check_whiteout(entry: &Entry) -> Result<(), Refusal> {
    let Some((name, folders)) = entry.path.split_last() else {
        return Ok(());
    };
    let marked = |part: &[u8]| part.starts_with(WHITEOUT);
    if folders.iter().any(|part| marked(part)) {
        return Err(Refusal::Whiteout);
    }
    let linked =
        entry.kind == Kind::HardLink && entry.target.split(|byte| *byte == b'/').any(marked);
    if linked {
        return Err(Refusal::Whiteout);
    }
    if !marked(name) || **name == *OPAQUE && is_empty_file(entry) {
        return Ok(());
    }
    let removed = &name[WHITEOUT.len()..];
    let legal = !matches!(removed, b"" | b"." | b"..") && !name.starts_with(RESERVED);
    if legal && is_empty_file(entry) {
        Ok(())
    } else {
        Err(Refusal::Whiteout)
    }
}

fn is_empty_file(entry: &Entry) -> bool {
    entry.kind == Kind::File && entry.size == 0
}

fn shown(parts: &[Box<[u8]>]) -> String {
    let parts: Vec<_> = parts
        .iter()
        .map(|part| String::from_utf8_lossy(part))
        .collect();
    parts.join("/")
}
