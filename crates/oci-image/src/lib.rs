//! Container images as data: digests, configs, reproducible layers, docker archives.
//!
//! Nothing here opens a file or a socket; callers bring `Read` and `Write`.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod archive;
mod config;
mod digest;
mod layer;

pub use archive::{Image, Layer, write_docker_archive};
pub use config::{ImageConfig, Platform, RunConfig};
pub use digest::{Digest, DigestWriter, InvalidDigest};
pub use layer::{LayerError, LayerWriter};
