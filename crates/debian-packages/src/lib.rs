//! Debian packages without a package manager: signed indices, dependency resolution, verified downloads, unpacking.
//!
//! Works on any Linux and without root: no maintainer script ever runs, and a
//! package becomes entries of an image layer, not files of this machine.
//!
//! 1. [`resolve`] turns a [`Request`] into a [`Lock`] and needs the network.
//! 2. [`fetch`] brings the packages of a lock into the [`Cache`], by their hashes.
//! 3. [`Tree::build`] makes one file tree of them and [`Tree::write_layer`] writes it.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod archive;
mod cache;
mod content;
mod deb;
mod deb822;
mod download;
mod elf;
#[cfg(test)]
mod fake;
mod http;
mod index;
mod keyring;
mod lock;
mod package;
mod progress;
mod relation;
mod release;
mod request;
mod resolve;
mod signature;
mod source;
mod tree;
mod version;

pub use archive::{ArchiveError, Fetcher};
pub use cache::{Cache, CacheError};
pub use content::{Content, Spooled};
pub use deb::DebError;
pub use deb822::InvalidParagraph;
pub use download::{DebFile, DownloadError, fetch};
pub use http::FetchError;
pub use index::IndexError;
pub use keyring::{Keyring, KeyringError};
pub use lock::{InvalidLock, LeftOut, Lock, LockFile, LockedPackage, LockedSuite};
pub use package::{InvalidPackage, SourcePackage};
pub use progress::{Activity, Progress};
pub use relation::InvalidRelation;
pub use release::ReleaseError;
pub use request::{Request, RequestError, resolve};
pub use resolve::ResolveError;
pub use signature::SignatureError;
pub use source::{DEBIAN_KEYRING, Mirrors, Source};
pub use tree::{
    Account, Accounts, DEFAULT_DROP, EntryPath, Folder, InvalidPattern, MissingLibrary, Node,
    NodeKind, Tree, TreeError, TreeOptions,
};
pub use version::{InvalidVersion, Version};
