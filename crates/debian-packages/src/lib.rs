//! Debian packages without a package manager: signed indices, dependency resolution, verified downloads, unpacking.

#![cfg_attr(test, allow(clippy::unwrap_used))]
