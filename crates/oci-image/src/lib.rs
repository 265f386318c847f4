//! Container images: digests, configs, reproducible layers, docker archives, and the folders they are kept in.
//!
//! Only [`Layout`] opens files; everything else works on `Read` and `Write` that callers bring.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod archive;
mod compress;
mod config;
mod digest;
mod layer;
mod layout;
mod manifest;
mod platform;
mod reference;
pub mod registry;

pub use archive::{
    ArchiveError, ArchivedImage, archive_head, read_docker_archive, write_archive,
    write_docker_archive,
};
pub use compress::{Compression, Compressor, Decompressor, TooLong};
pub use config::{ConfigFile, History, ImageConfig, InvalidConfig, RunConfig};
pub use digest::{Digest, DigestWriter, InvalidDigest};
pub use layer::{
    Attributes, InspectError, LayerContent, LayerError, LayerLimits, LayerRefused, LayerSink,
    LayerWriter, Refusal, StoredLayer, inspect_image, inspect_layer,
};
pub use layout::{
    BlobReader, BlobWriter, GarbagePolicy, GarbageReport, Layout, LayoutError, StoredImage,
    copy_image,
};
pub use manifest::{Descriptor, Index, Manifest, media_type};
pub use platform::{InvalidPlatform, Platform, select_platform};
pub use reference::{InvalidReference, Reference};
