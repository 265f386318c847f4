//! The layer of files: written as it is listed, and remembered under what is really in it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use oci_image::{Attributes, LayerError, LayerWriter};

use crate::stack::FilesBuild;

use super::assemble::{LayerOptions, write_layer};
use super::build::changed_meanwhile;
use super::build_error::BuildError;
use super::files::{self, Files};
use super::rootfs::{self, Entries, Entry};
use super::snapshot;
use super::spec::ImageSpec;
use super::store::{Store, StoredLayer};

/// What a layer of files is made from.
pub(crate) struct Copies<'a> {
    /// The repository.
    pub root: &'a Path,
    /// Whose they are; its tag says what is in them.
    pub spec: &'a ImageSpec,
    /// Which, and where they land.
    pub build: &'a FilesBuild,
    /// How it is written.
    pub options: LayerOptions,
}

/// The layer of files; made once for the same content. It is what the tag of the image says, or there is none.
pub(crate) fn layer(store: &Store, copies: &Copies<'_>) -> Result<Option<StoredLayer>, BuildError> {
    if copies.build.is_empty() {
        return Ok(None);
    }
    let mut files = Files::new(copies.root);
    let entries = rootfs::entries(copies.build, &files)?;
    files.digest(entries.values().filter_map(|entry| match entry {
        Entry::Copy { from } => Some(from),
        _ => None,
    }))?;
    let changed = changed(&entries, copies, &files);
    if !changed.is_empty() {
        return Err(changed_meanwhile(copies.spec, &changed));
    }
    let key = key(&entries, &files, copies.options);
    if let Some(layer) = store.layer(&key) {
        return Ok(Some(layer));
    }
    let mut changed = BTreeSet::new();
    let layer = write_layer(store, "files", copies.options, |writer| {
        for (path, entry) in &entries {
            if !write_entry(writer, &path.join("/"), entry, &files)? {
                changed.extend(entry.from().map(Path::to_owned));
            }
        }
        Ok(())
    })?;
    if !changed.is_empty() {
        return Err(changed_meanwhile(copies.spec, &changed));
    }
    store.keep_layer(&key, &layer);
    Ok(Some(layer))
}

/// Which files are not what the tag of the image says: others, more, or fewer.
fn changed(entries: &Entries, copies: &Copies<'_>, files: &Files) -> BTreeSet<PathBuf> {
    let inputs = &copies.spec.inputs;
    let mut changed = BTreeSet::new();
    let mut listed = BTreeSet::new();
    for entry in entries.values() {
        let Some(from) = entry.from() else { continue };
        let now = match entry {
            Entry::Link { target, .. } => format!("-> {target}"),
            _ => files.fingerprint(from).to_owned(),
        };
        let then = inputs.fingerprint(&format!("file {}", from.display()));
        // What is compiled as well is an input with what the link leads to.
        if then.is_none_or(|then| then != now && !then.starts_with(&format!("{now} "))) {
            changed.insert(from.to_owned());
        }
        listed.insert(from);
    }
    let is_copied = |file: &PathBuf| {
        let mut copied = copies.build.copies.keys();
        copied.any(|from| file.starts_with(from))
    };
    // Below a link lies what is compiled, not what is copied.
    let is_listed = |file: &PathBuf| file.ancestors().any(|path| listed.contains(path));
    let gone = snapshot::files(inputs).filter(|file| is_copied(file) && !is_listed(file));
    changed.extend(gone);
    changed
}

/// Names the layer of these entries without making it.
fn key(entries: &Entries, files: &Files, options: LayerOptions) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut field = |text: &str| {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    };
    field(&format!("files 2 {options:?}"));
    for (path, entry) in entries {
        field(&path.join("/"));
        match entry {
            Entry::Copy { from } => field(files.fingerprint(from)),
            Entry::Text(text) => field(text),
            Entry::Link { target, .. } => field(&format!("-> {target}")),
            Entry::Folder { owner, mode } => field(&format!("{owner:?} {mode:o}")),
        }
    }
    hasher.finalize().to_hex().to_string()
}

/// Whether what was written is what was digested.
fn write_entry<W: Write>(
    writer: &mut LayerWriter<W>,
    path: &str,
    entry: &Entry,
    files: &Files,
) -> Result<bool, LayerError> {
    match entry {
        Entry::Folder { owner, mode } => {
            let attributes = Attributes {
                mode: *mode,
                uid: u64::from(owner.0),
                gid: u64::from(owner.1),
            };
            writer.directory(path, attributes).map(|()| true)
        }
        Entry::Text(text) => writer
            .file(path, 0o644, text.len() as u64, text.as_bytes())
            .map(|()| true),
        Entry::Link { target, .. } => writer.symlink(path, target).map(|()| true),
        Entry::Copy { from } => copy(writer, path, from, files),
    }
}

fn copy<W: Write>(
    writer: &mut LayerWriter<W>,
    path: &str,
    from: &Path,
    files: &Files,
) -> Result<bool, LayerError> {
    let failed = |source| LayerError::Io {
        path: from.display().to_string(),
        source,
    };
    let absolute = files.root().join(from);
    let file = File::open(&absolute).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let mode = match metadata.permissions().mode() & 0o111 {
        0 => 0o644,
        _ => 0o755,
    };
    let mut content = Digesting {
        inner: file,
        hasher: blake3::Hasher::new(),
    };
    writer.file(path, mode, metadata.len(), &mut content)?;
    let written = files::described(&absolute, &metadata, content.hasher.finalize());
    Ok(written == files.fingerprint(from))
}

/// Digests what is read.
struct Digesting<R> {
    inner: R,
    hasher: blake3::Hasher,
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::symlink;

    use super::super::test_stack::write;
    use super::*;

    #[test]
    fn a_file_that_changed_since_it_was_digested_is_noticed() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), &[("asset", "1")]);
        symlink("asset", root.path().join("link")).unwrap();
        let names = ["asset", "link"].map(PathBuf::from);
        let mut files = Files::new(root.path());
        files.digest(&names).unwrap();
        let is_same = || {
            names.clone().map(|from| {
                let mut writer = LayerWriter::new(Vec::new(), 0);
                write_entry(&mut writer, "a", &Entry::Copy { from }, &files).unwrap()
            })
        };
        assert_eq!(is_same(), [true, true]);
        write(root.path(), &[("asset", "2")]);
        assert_eq!(is_same(), [false, false]);
        write(root.path(), &[("asset", "1")]);
        assert_eq!(is_same(), [true, true]);
        let mode = Permissions::from_mode(0o755);
        set_permissions(root.path().join("asset"), mode).unwrap();
        assert_eq!(is_same(), [false, false], "its mode is in the layer, too");
    }
}
