//! What is said about an image beside the image: what is in it (SPDX), how it was made (in-toto, SLSA), and
//! signatures (cosign). Documents are made from plain values, the same values give the same bytes; pushing them is
//! the registry client's matter.

mod artifact;
mod attestation;
mod contents;
mod git;
mod key;
mod origin;
mod provenance;
mod purl;
mod sbom;
mod signature;
mod spdx;
mod subject;

pub use artifact::{Artifact, Blob};
pub use attestation::{attestations, is_attested};
pub use contents::{AddedFile, Base, CargoPackage, CargoSource, Contents, DebianPackage, FileKind};
pub use git::revision;
pub use key::{Key, KeyError, KeySource, SignError};
pub use origin::{Origin, Revision};
pub use provenance::{LOCAL_BUILDER, Parameters, Provenance, Toolchain};
pub use sbom::sbom;
pub use signature::{is_signed, signature};
pub use subject::Subject;

#[cfg(test)]
pub(crate) use {key::test_key, provenance::provenance as test_provenance};

/// What a document says, and how it is named where it is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// What it is: the predicate type in in-toto's words.
    pub predicate_type: &'static str,
    /// The media type of a document that stands alone.
    pub media_type: &'static str,
    /// JSON.
    pub content: Vec<u8>,
}
