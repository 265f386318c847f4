//! Storing a layer in one pass: tar, its digest, compression, the digest of that, a blob.

use std::io::{self, Write};

use crate::{
    BlobWriter, Compression, Compressor, Descriptor, Digest, DigestWriter, Layout, LayoutError,
};

/// Takes an uncompressed layer and stores it compressed. What is not finished is never stored.
pub struct LayerSink {
    layout: Layout,
    compression: Compression,
    inner: DigestWriter<Compressor<BlobWriter>>,
}

/// A layer in a layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredLayer {
    /// The digest of the uncompressed layer.
    pub diff_id: Digest,
    /// The compressed blob.
    pub descriptor: Descriptor,
    /// How long the uncompressed layer is, in bytes.
    pub uncompressed: u64,
}

impl LayerSink {
    /// Begins a layer.
    pub fn new(layout: &Layout, compression: Compression) -> Result<Self, LayoutError> {
        let compressor = Compressor::new(layout.writer()?, compression)
            .map_err(LayoutError::io("compress a layer in", layout.root()))?;
        Ok(Self {
            layout: layout.clone(),
            compression,
            inner: DigestWriter::new(compressor),
        })
    }

    /// Puts the layer into the layout.
    pub fn finish(self) -> Result<StoredLayer, LayoutError> {
        let (compressor, diff_id, uncompressed) = self.inner.finish();
        let blob = compressor
            .finish()
            .map_err(LayoutError::io("write a layer into", self.layout.root()))?;
        Ok(StoredLayer {
            diff_id,
            descriptor: blob.commit(self.compression.media_type())?,
            uncompressed,
        })
    }
}

impl Write for LayerSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::{Decompressor, LayerWriter};

    #[test]
    fn a_stored_layer_decompresses_to_its_diff_id() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::open(folder.path()).unwrap();
        let content = b"some text ".repeat(50_000);
        let mut digests = Vec::new();
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let sink = LayerSink::new(&layout, compression).unwrap();
            let mut layer = LayerWriter::new(sink, 0);
            let size = content.len() as u64;
            layer.file("a", 0o644, size, content.as_slice()).unwrap();
            let stored = layer.finish().unwrap().finish().unwrap();
            assert_eq!(stored.descriptor.media_type, compression.media_type());
            let mut tar = Vec::new();
            Decompressor::new(layout.reader(&stored.descriptor).unwrap(), 1 << 20)
                .unwrap()
                .read_to_end(&mut tar)
                .unwrap();
            assert_eq!(Digest::of(&tar), stored.diff_id);
            assert_eq!(tar.len() as u64, stored.uncompressed);
            digests.push((stored.diff_id, stored.descriptor.digest));
        }
        assert!(digests.iter().all(|(diff_id, _)| *diff_id == digests[0].0));
        assert_eq!(
            digests[0].0, digests[0].1,
            "uncompressed, both are the same"
        );
        assert_ne!(digests[1].1, digests[2].1);
    }
}
