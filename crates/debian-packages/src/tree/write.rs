//! A tree as an image layer.

use std::collections::BTreeMap;
use std::io::Write;

use oci_image::{Attributes, LayerError, LayerWriter};

use super::{EntryPath, Node, NodeKind, Tree};

impl Tree {
    /// Writes all entries; the content of files is streamed from where it is.
    pub fn write_layer<W: Write>(&self, layer: &mut LayerWriter<W>) -> Result<(), LayerError> {
        let mut written: BTreeMap<(usize, u64), (&EntryPath, &Node)> = BTreeMap::new();
        for (path, node) in &self.nodes {
            let name = path.as_str();
            match &node.kind {
                NodeKind::Directory => layer.directory(name, attributes(node))?,
                NodeKind::Symlink { target } => layer.symlink_of(name, target, attributes(node))?,
                NodeKind::File { size, content } => {
                    let place = content.identity();
                    if let Some((first, node)) = place.and_then(|place| written.get(&place)) {
                        layer.hard_link(name, first.as_str(), attributes(node))?;
                        continue;
                    }
                    written.extend(place.map(|place| (place, (path, node))));
                    let reader = content.reader().map_err(|source| LayerError::Io {
                        path: name.to_owned(),
                        source,
                    })?;
                    layer.file(name, attributes(node), *size, reader)?;
                }
            }
        }
        Ok(())
    }
}

fn attributes(node: &Node) -> Attributes {
    Attributes {
        mode: node.mode,
        uid: node.uid,
        gid: node.gid,
    }
}
