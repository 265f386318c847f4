//! Layers, configuration and manifest of an image that is assembled here.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use oci_image::{
    Compression, Descriptor, ImageConfig, LayerError, LayerWriter, Manifest, Platform, RunConfig, StoredImage, media_type,
};

use crate::stack::{FilesBuild, NativeBuild};

use super::build::BuildContext;
use super::build_error::BuildError;
use super::files::Files;
use super::rootfs::{self, Entries, Entry};
use super::spec::ImageSpec;
use super::store::{Store, StoredLayer};

/// The label that holds the digest of an image's inputs: under another name the same image is found by it.
pub(crate) const INPUTS_LABEL: &str = "stackctl.dev/inputs";
/// The label that holds the service's name.
pub(crate) const TITLE_LABEL: &str = "org.opencontainers.image.title";
/// Where programs are looked for in an image that has more than one.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A compiled program that lands at `/NAME`.
pub(crate) struct Binary {
    /// Its file name.
    pub name: String,
    /// The ELF file.
    pub content: Vec<u8>,
}

/// What lies below the binaries.
pub(crate) struct Below {
    /// An image of others.
    pub base: Option<StoredImage>,
    /// Debian packages.
    pub packages: Option<StoredLayer>,
    /// Files of the repository.
    pub files: Option<StoredLayer>,
}

/// What every image of ours is labelled with.
pub(crate) fn labels(spec: &ImageSpec) -> BTreeMap<String, String> {
    let mut labels = spec.labels.clone();
    labels.insert(TITLE_LABEL.to_owned(), spec.service.to_string());
    labels.insert(INPUTS_LABEL.to_owned(), spec.inputs.digest().to_string());
    labels
}

/// The layer of files; made once for the same content.
pub(crate) fn files(
    context: &BuildContext<'_>,
    root: &Path,
    build: &FilesBuild,
) -> Result<Option<StoredLayer>, BuildError> {
    if build.is_empty() {
        return Ok(None);
    }
    let mut files = Files::new(root);
    let entries = rootfs::entries(build, &files)?;
    files.digest(entries.values().filter_map(|entry| match entry {
        Entry::Copy { from } => Some(from),
        _ => None,
    }))?;
    let created = context.options.created;
    let key = key(&entries, &files, created);
    if let Some(layer) = context.store.layer(&key) {
        return Ok(Some(layer));
    }
    let layer = write_layer(context.store, created, "files", |writer| {
        for (path, entry) in &entries {
            write_entry(writer, &path.join("/"), entry, root)?;
        }
        Ok(())
    })?;
    remember(context.store, &key, &layer);
    Ok(Some(layer))
}
