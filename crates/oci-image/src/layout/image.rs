//! An image in a layout: its manifest and configuration, read and checked against each other.

use super::reach::{DEPTH, Document};
use super::{Layout, LayoutError};
use crate::{ConfigFile, Descriptor, Digest, Manifest, Platform, media_type, select_platform};

/// An image for one platform. Its layers may be missing or damaged until they are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredImage {
    /// Of the manifest.
    pub descriptor: Descriptor,
    /// What it is made of.
    pub manifest: Manifest,
    /// The configuration, parsed; it has a digest for every layer of the manifest.
    pub config: ConfigFile,
    /// The configuration as it is stored.
    pub config_bytes: Vec<u8>,
}

impl StoredImage {
    /// The digest of the configuration: the image's id in the Docker engine.
    #[must_use]
    pub fn id(&self) -> Digest {
        self.manifest.config.digest
    }

    /// The layers with the digests of their uncompressed content, the first at the bottom.
    pub fn layers(&self) -> impl Iterator<Item = (Digest, &Descriptor)> {
        let diff_ids = self.config.diff_ids.iter().copied();
        diff_ids.zip(&self.manifest.layers)
    }
}

impl Layout {
    /// The image a manifest describes, or the one an index has for the platform. It counts as used.
    ///
    /// `image` may be of any media type; what it is shows in its content. A single manifest for another platform is
    /// an error as well.
    pub fn image(
        &self,
        image: &Descriptor,
        platform: &Platform,
    ) -> Result<StoredImage, LayoutError> {
        self.touch(image);
        let mut available = Vec::new();
        match self.find(image, platform, &mut available, 0)? {
            Some(found) => {
                self.touch(&found.descriptor);
                Ok(found)
            }
            None => Err(LayoutError::Platform {
                digest: image.digest,
                wanted: Box::new(platform.clone()),
                available,
            }),
        }
    }

    /// The image a manifest describes, whatever its platform.
    pub fn manifest(&self, descriptor: &Descriptor) -> Result<StoredImage, LayoutError> {
        let content = self.read(descriptor)?;
        let manifest =
            serde_json::from_slice(&content).map_err(|source| LayoutError::Document {
                blob: Box::new(descriptor.clone()),
                expected: "manifest",
                source,
            })?;
        self.with_config(descriptor, manifest)
    }

    /// All images that a descriptor stands for: the one of a manifest, or those of an index, in its order.
    pub fn images(&self, image: &Descriptor) -> Result<Vec<StoredImage>, LayoutError> {
        match self.document(image)? {
            Document::Manifest(manifest) => Ok(vec![self.with_config(image, *manifest)?]),
            Document::Index(index) => {
                let children = index.manifests.iter();
                children.map(|child| self.manifest(child)).collect()
            }
        }
    }

    /// Stores the manifest of a configuration and layers that are there already.
    pub fn add_image(
        &self,
        config: &[u8],
        layers: Vec<Descriptor>,
    ) -> Result<StoredImage, LayoutError> {
        let config = self.add(media_type::CONFIG, config)?;
        let manifest = Manifest::image(config, layers);
        let descriptor = self.add(media_type::MANIFEST, &manifest.to_json())?;
        self.with_config(&descriptor, manifest)
    }

    fn find(
        &self,
        at: &Descriptor,
        wanted: &Platform,
        available: &mut Vec<Platform>,
        depth: usize,
    ) -> Result<Option<StoredImage>, LayoutError> {
        if depth > DEPTH {
            return Err(LayoutError::Nested(at.digest));
        }
        let index = match self.document(at)? {
            Document::Index(index) => index,
            Document::Manifest(manifest) => {
                let image = self.with_config(at, *manifest)?;
                let fits = image.config.platform.runs_on(wanted);
                available.push(image.config.platform.clone());
                return Ok(fits.then_some(image));
            }
        };
        let platforms = index.manifests.iter().filter_map(|it| it.platform.clone());
        // Beside images lie their attestations, for the platform `unknown/unknown`.
        available.extend(platforms.filter(|platform| platform.os != "unknown"));
        if let Some(child) = select_platform(&index, wanted) {
            return self.find(child, wanted, available, depth + 1);
        }
        // Entries need not say their platform: then the configuration does.
        let silent = |child: &&Descriptor| {
            child.platform.is_none() && (child.is_index() || child.is_manifest())
        };
        for child in index.manifests.iter().filter(silent) {
            match self.find(child, wanted, available, depth + 1) {
                Ok(None) | Err(LayoutError::Missing { .. }) => {}
                found => return found,
            }
        }
        Ok(None)
    }

    fn with_config(
        &self,
        descriptor: &Descriptor,
        manifest: Manifest,
    ) -> Result<StoredImage, LayoutError> {
        let config_bytes = self.read(&manifest.config)?;
        let config = ConfigFile::parse(&config_bytes).map_err(|source| LayoutError::Config {
            blob: Box::new(manifest.config.clone()),
            source,
        })?;
        if config.diff_ids.len() != manifest.layers.len() {
            return Err(LayoutError::Layers {
                manifest: Box::new(descriptor.clone()),
                layers: manifest.layers.len(),
                diff_ids: config.diff_ids.len(),
            });
        }
        // Where the descriptor stood in an index, it also said things about its place there.
        let descriptor = Descriptor::new(
            manifest
                .media_type
                .as_deref()
                .unwrap_or(&descriptor.media_type),
            descriptor.digest,
            descriptor.size,
        );
        Ok(StoredImage {
            descriptor,
            manifest,
            config,
            config_bytes,
        })
    }
}
