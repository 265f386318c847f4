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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// As cargo names it.
    pub triple: &'static str,
    /// As images name it.
    pub platform: Platform,
}

impl Target {
    /// That of this machine.
    pub(crate) fn host() -> Self {
        let (triple, architecture) = if cfg!(target_arch = "aarch64") {
            ("aarch64-unknown-linux-gnu", "arm64")
        } else {
            ("x86_64-unknown-linux-gnu", "amd64")
        };
        Self {
            triple,
            platform: Platform::linux(architecture),
        }
    }
}
