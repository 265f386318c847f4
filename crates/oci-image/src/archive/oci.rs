//! An OCI layout as one file, as `skopeo` reads it from `oci-archive:FILE`.

use std::io::Write;

use tar::Builder;

use super::{ArchiveError, append, header};
use crate::{Descriptor, Index, Layout};

/// Writes an image or an index of images with all its blobs and one name; returns the writer, unflushed.
pub fn write_oci_archive<W: Write>(
    layout: &Layout,
    image: &Descriptor,
    name: &str,
    writer: W,
) -> Result<W, ArchiveError> {
    let mut named = image.clone();
    let name = (
        "org.opencontainers.image.ref.name".to_owned(),
        name.to_owned(),
    );
    named.annotations.extend([name]);
    let mut archive = Builder::new(writer);
    append(
        &mut archive,
        "oci-layout",
        br#"{"imageLayoutVersion":"1.0.0"}"#,
    )?;
    append(
        &mut archive,
        "index.json",
        &Index::new(vec![named]).to_json(),
    )?;
    for blob in layout.blobs_of(image)? {
        let path = format!("blobs/sha256/{}", blob.digest.hex());
        archive
            .append_data(&mut header(blob.size), path, layout.reader(&blob)?)
            .map_err(|error| match error.downcast() {
                Ok(error) => ArchiveError::Layout(error),
                Err(error) => ArchiveError::Write(error),
            })?;
    }
    archive.into_inner().map_err(ArchiveError::Write)
}
