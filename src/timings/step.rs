//! What time is spent on.

use std::fmt;

/// A kind of work, in the order of `up`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Finding out what images are made from.
    Inputs,
    /// Downloading packages or a base image.
    Download,
    /// Cargo.
    Compile,
    /// A Dockerfile or a command.
    Build,
    /// Writing layers, compressed.
    Assemble,
    /// Bills of materials, provenance, signatures.
    Attest,
    /// Giving an image to an engine or to a node.
    Load,
    /// Sending an image to a registry.
    Push,
    /// Comparing desired and live objects.
    Plan,
    /// Writing objects.
    Apply,
    /// Waiting until a workload is ready.
    Ready,
    /// Smoke tests.
    Smoke,
}

impl Step {
    /// One lower-case word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inputs => "inputs",
            Self::Download => "download",
            Self::Compile => "compile",
            Self::Build => "build",
            Self::Assemble => "assemble",
            Self::Attest => "attest",
            Self::Load => "load",
            Self::Push => "push",
            Self::Plan => "plan",
            Self::Apply => "apply",
            Self::Ready => "ready",
            Self::Smoke => "smoke",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
