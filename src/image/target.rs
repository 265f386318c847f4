//! What images are for, and what their binaries are compiled for: Linux, statically linked.

use oci_image::Platform;

use crate::stack::NativeBuild;

use super::input_error::InputError;
use super::packages;

/// Flags that make a binary which needs nothing else in its image. Without the `cfg` a static binary opens
/// `/dev/urandom`, since getrandom's symbol lookup finds nothing in it.
pub(crate) const STATIC_FLAGS: [&str; 4] = [
    "-C",
    "target-feature=+crt-static",
    "--cfg",
    "getrandom_backend=\"linux_getrandom\"",
];

/// A processor as the tools name it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Target {
    /// As cargo names it.
    pub triple: &'static str,
    /// As images name it.
    pub platform: Platform,
}

impl Target {
    /// That of this machine.
    pub(crate) fn host() -> Self {
        let architecture = if cfg!(target_arch = "aarch64") {
            "arm64"
        } else {
            "amd64"
        };
        Self::of(&Platform::linux(architecture)).expect("it is one of the known ones")
    }

    /// The static target of a platform; none for one that Rust's C library does not link statically.
    pub(crate) fn of(platform: &Platform) -> Option<Self> {
        let triple = match platform.to_string().as_str() {
            "linux/amd64" => "x86_64-unknown-linux-gnu",
            "linux/arm64" | "linux/arm64/v8" => "aarch64-unknown-linux-gnu",
            "linux/riscv64" => "riscv64gc-unknown-linux-gnu",
            "linux/ppc64le" => "powerpc64le-unknown-linux-gnu",
            _ => return None,
        };
        Some(Self {
            triple,
            platform: platform.clone(),
        })
    }

    /// Those that the binaries of an image are compiled for: all of them, see [`check`].
    pub(crate) fn of_build(build: &NativeBuild) -> Vec<Self> {
        platforms(build).iter().filter_map(Self::of).collect()
    }
}

/// What an image is for: this machine's platform where none is named.
pub(crate) fn platforms(build: &NativeBuild) -> Vec<Platform> {
    let named = build.platforms.iter();
    let named: Vec<Platform> = named.map(|wanted| wanted.platform.clone()).collect();
    match named.is_empty() {
        true => vec![host_platform()],
        false => named,
    }
}

/// Refuses platforms that binaries or packages of an image cannot be had for. Files are the same everywhere.
pub(crate) fn check(build: &NativeBuild) -> Result<(), InputError> {
    for wanted in &build.platforms {
        let (platform, span) = (wanted.platform.to_string(), wanted.span.clone());
        if build.cargo.is_some() && Target::of(&wanted.platform).is_none() {
            return Err(InputError::UnknownPlatform { platform, span });
        }
        if build.packages.is_some() && packages::architecture(&wanted.platform).is_none() {
            return Err(InputError::UnpackagedPlatform { platform, span });
        }
    }
    Ok(())
}

/// What containers on this machine run on.
#[must_use]
pub fn host_platform() -> Platform {
    Target::host().platform
}
