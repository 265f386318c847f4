//! Who the running program is: what `/version` answers and the logs carry.

use serde::Serialize;
use utoipa::ToSchema;

/// Name, version and build of a service. Made by [`about!`](crate::about!),
/// because the facts belong to the crate of the service, not to this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct About {
    /// Name of the crate, which is the name of the service.
    pub name: &'static str,
    /// What the crate's manifest says of it.
    pub description: &'static str,
    /// Version of the crate.
    pub version: &'static str,
    /// Git commit, where `GIT_COMMIT` was set while the service was compiled.
    pub commit: Option<&'static str>,
    /// RFC 3339 time of the build, where `BUILD_TIME` was set while it was compiled.
    pub built_at: Option<&'static str>,
    /// The compiler, such as `rustc 1.95.0 (59807616e 2026-04-14)`.
    pub toolchain: &'static str,
    /// `debug` or `release`.
    pub profile: &'static str,
    /// Architecture and operating system, such as `x86_64-linux`.
    pub target: String,
}

/// The compiler of this library, and so of the service that it is in.
pub const TOOLCHAIN: &str = env!("SERVICE_KIT_TOOLCHAIN");

/// The [`About`] of the crate in which it is written.
#[macro_export]
macro_rules! about {
    () => {
        $crate::About {
            name: env!("CARGO_PKG_NAME"),
            description: env!("CARGO_PKG_DESCRIPTION"),
            version: env!("CARGO_PKG_VERSION"),
            commit: option_env!("GIT_COMMIT"),
            built_at: option_env!("BUILD_TIME"),
            toolchain: $crate::TOOLCHAIN,
            profile: if cfg!(debug_assertions) {
                "debug"
            } else {
                "release"
            },
            target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        }
    };
}
