//! Container images as data: digests, configs, reproducible layers, docker archives.
//!
//! Nothing here opens a file or a socket; callers bring `Read` and `Write`.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod archive;
mod config;
mod digest;
mod layer;
mod manifest;
mod platform;
mod reference;
pub mod registry;

pub use archive::{Image, Layer, write_docker_archive};
pub use config::{ImageConfig, RunConfig};
pub use digest::{Digest, DigestWriter, InvalidDigest};
pub use layer::{LayerError, LayerWriter};
pub use manifest::{Descriptor, Index, Manifest, media_type};
pub use platform::{InvalidPlatform, Platform};
pub use reference::{InvalidReference, Reference};
