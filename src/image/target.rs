//! What is compiled for: Linux on this machine's processor, statically linked.

use oci_image::Platform;

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

    /// Those of `platforms`, or this machine's where there are none.
    pub(crate) fn of_platforms(platforms: &[Platform]) -> Vec<Self> {
        match platforms {
            [] => vec![Self::host()],
            platforms => platforms.iter().filter_map(Self::of).collect(),
        }
    }
}

/// What containers on this machine run on.
#[must_use]
pub fn host_platform() -> Platform {
    Target::host().platform
}
