//! The image that a document is about.

use oci_image::{Descriptor, Platform, Reference};

/// One image for one platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Registry and repository without tag and digest: `registry.example.com/shop/counter`.
    pub name: String,
    /// Its manifest.
    pub manifest: Descriptor,
    /// What it runs on.
    pub platform: Platform,
}

impl Subject {
    /// The image `manifest` under the name of `reference`.
    #[must_use]
    pub fn new(reference: &Reference, manifest: Descriptor, platform: Platform) -> Self {
        Self {
            name: format!("{}/{}", reference.registry(), reference.repository()),
            manifest,
            platform,
        }
    }

    /// The last part of the name: `counter`.
    pub(crate) fn short_name(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }

    /// The name, where it begins with a registry; without one an image only has it on the machine that built it.
    pub(crate) fn repository(&self) -> Option<&str> {
        let (host, _) = self.name.split_once('/')?;
        (host.contains(['.', ':']) || host == "localhost").then_some(&self.name)
    }

    /// What a manifest refers to it by: without what only lists of manifests say.
    pub(crate) fn descriptor(&self) -> Descriptor {
        Descriptor::new(
            &self.manifest.media_type,
            self.manifest.digest,
            self.manifest.size,
        )
    }

    /// Where cosign looks for what is attached: `sha256-<hex>.sig`.
    pub(crate) fn tag(&self, suffix: &str) -> String {
        format!("sha256-{}.{suffix}", self.manifest.digest.hex())
    }
}

#[cfg(test)]
pub(crate) fn counter() -> Subject {
    use oci_image::{Digest, media_type};

    Subject {
        name: "registry.example.com/shop/counter".into(),
        manifest: Descriptor::new(media_type::MANIFEST, Digest::of(b"manifest"), 8),
        platform: Platform::linux("amd64"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_named_without_tag_and_digest() {
        let reference: Reference = "127.0.0.1:5000/shop/counter:0123".parse().unwrap();
        let manifest = Descriptor::of("m", b"abc");
        let subject = Subject::new(&reference, manifest, Platform::linux("amd64"));
        assert_eq!(subject.name, "127.0.0.1:5000/shop/counter");
        assert_eq!(subject.short_name(), "counter");
        assert_eq!(
            subject.tag("sig"),
            "sha256-ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad.sig"
        );
    }
}
