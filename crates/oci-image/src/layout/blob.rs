//! Writing and reading blobs with their digest.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};

use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use super::{Layout, LayoutError, mark_used};
use crate::{Descriptor, Digest, DigestWriter};

/// Compressors write small pieces.
const BUFFER: usize = 128 << 10;

/// A blob that is being written, to a temporary file: it is in the layout when it is committed, and whole.
pub struct BlobWriter {
    layout: Layout,
    file: DigestWriter<BufWriter<NamedTempFile>>,
}

impl BlobWriter {
    pub(super) fn new(layout: Layout, file: NamedTempFile) -> Self {
        Self {
            layout,
            file: DigestWriter::new(BufWriter::with_capacity(BUFFER, file)),
        }
    }

    /// Puts what was written into the layout.
    pub fn commit(self, media_type: &str) -> Result<Descriptor, LayoutError> {
        let (file, digest, size) = self.file.finish();
        let blob = Descriptor::new(media_type, digest, size);
        publish(&self.layout, file, &blob)?;
        Ok(blob)
    }

    /// Puts what was written into the layout if it is what was announced.
    pub fn commit_expected(self, announced: &Descriptor) -> Result<(), LayoutError> {
        let (file, digest, size) = self.file.finish();
        if (digest, size) != (announced.digest, announced.size) {
            return Err(LayoutError::Unexpected {
                announced: Box::new(announced.clone()),
                digest,
                size,
            });
        }
        publish(&self.layout, file, announced)
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Reads a blob; at its end, content that has not the blob's digest is an error, whose inner error is
/// [`LayoutError::Corrupt`]. Who stops before the end has checked nothing.
pub struct BlobReader {
    layout: Layout,
    blob: Descriptor,
    file: File,
    hasher: Sha256,
    left: u64,
}

impl BlobReader {
    pub(super) fn new(layout: &Layout, blob: &Descriptor, file: File) -> Self {
        Self {
            layout: layout.clone(),
            blob: blob.clone(),
            file,
            hasher: Sha256::new(),
            left: blob.size,
        }
    }

    /// What is read.
    #[must_use]
    pub fn blob(&self) -> &Descriptor {
        &self.blob
    }

    fn check(&self) -> io::Result<()> {
        let actual = Digest::from_hasher(self.hasher.clone());
        if self.left == 0 && actual == self.blob.digest {
            Ok(())
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidData,
                self.layout.corrupt(&self.blob, actual),
            ))
        }
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let limit = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let read = self.file.read(&mut buffer[..limit])?;
        if read == 0 {
            self.check()?;
        }
        self.hasher.update(&buffer[..read]);
        self.left -= read as u64;
        // The error must come before the last bytes are used, not after.
        if self.left == 0 && read > 0 {
            self.check()?;
        }
        Ok(read)
    }
}

/// Renames the file to its digest. One that has that name stays, unless it is damaged: this one is not.
fn publish(
    layout: &Layout,
    file: BufWriter<NamedTempFile>,
    blob: &Descriptor,
) -> Result<(), LayoutError> {
    let path = layout.blob_path(&blob.digest);
    let file = file
        .into_inner()
        .map_err(|error| LayoutError::io("write", &path)(error.into_error()))?;
    if layout.verify_blob(blob).is_ok() {
        mark_used(&path);
        return Ok(());
    }
    layout.persist(file, &path)
}
