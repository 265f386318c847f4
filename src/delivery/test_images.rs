//! Images in a layout of their own, for tests.

use std::io::Write;

use oci_image::{
    Compression, Descriptor, ImageConfig, Index, LayerSink, LayerWriter, Layout, Platform,
    RunConfig, StoredImage, StoredLayer, media_type,
};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::event::{Event, Recorder};
use crate::image::Engine;
use crate::timings::Timings;

use super::{ClusterFacts, Delivery, DeliveryContext, Source};

/// A layout that is gone when dropped.
pub(super) struct TestStore {
    pub(super) layout: Layout,
    compression: Compression,
    _folder: TempDir,
}

/// What a delivery needs beside images.
#[derive(Default)]
pub(super) struct TestContext {
    pub(super) timings: Timings,
    pub(super) engine: Option<Engine>,
    pub(super) cluster: ClusterFacts,
    pub(super) events: Recorder,
    pub(super) cancel: CancellationToken,
}

impl TestStore {
    pub(super) fn new() -> Self {
        Self::with(Compression::Zstd)
    }

    pub(super) fn with(compression: Compression) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            layout: Layout::open(folder.path()).unwrap(),
            compression,
            _folder: folder,
        }
    }

    /// An image `seedling/SERVICE:1` below `registry`, with a file a layer, named and filled by its text.
    pub(super) fn delivery(&self, registry: &str, service: &str, layers: &[&str]) -> Delivery {
        Delivery {
            service: service.parse().unwrap(),
            reference: format!("{registry}seedling/{service}:1").parse().unwrap(),
            source: Source::Store {
                layout: self.layout.clone(),
                descriptor: self.image(service, layers).descriptor,
            },
            platform: Platform::linux("amd64"),
        }
    }

    pub(super) fn image(&self, service: &str, layers: &[&str]) -> StoredImage {
        self.image_for("linux/amd64", service, layers)
    }

    /// The index of these images.
    pub(super) fn index(&self, images: &[StoredImage]) -> Descriptor {
        let entry = |image: &StoredImage| Descriptor {
            platform: Some(image.config.platform.clone()),
            ..image.descriptor.clone()
        };
        let index = Index::new(images.iter().map(entry).collect());
        self.layout
            .add(media_type::INDEX, &index.to_json())
            .unwrap()
    }

    pub(super) fn image_for(&self, platform: &str, service: &str, layers: &[&str]) -> StoredImage {
        let layers: Vec<StoredLayer> = layers.iter().map(|text| self.layer(text)).collect();
        let config = ImageConfig {
            platform: platform.parse().unwrap(),
            created: 0,
            run: RunConfig {
                labels: [("service".to_owned(), service.to_owned())].into(),
                ..RunConfig::default()
            },
        };
        let described: Vec<_> = layers.iter().map(|layer| (layer.diff_id, "test")).collect();
        let config = config.to_json(&described);
        let layers = layers.into_iter().map(|layer| layer.descriptor).collect();
        self.layout.add_image(&config, layers).unwrap()
    }

    pub(super) fn layer(&self, text: &str) -> StoredLayer {
        let sink = LayerSink::new(&self.layout, self.compression).unwrap();
        let mut layer = LayerWriter::new(sink, 0);
        layer
            .file(text, 0o644, text.len() as u64, text.as_bytes())
            .unwrap();
        let mut sink = layer.finish().unwrap();
        sink.flush().unwrap();
        sink.finish().unwrap()
    }
}

impl TestContext {
    pub(super) fn with_engine(docker: bollard::Docker) -> Self {
        Self {
            engine: Some(Engine::from_docker(docker, "unix:///fake")),
            ..Self::default()
        }
    }

    pub(super) fn context(&self) -> DeliveryContext<'_> {
        DeliveryContext {
            engine: self.engine.as_ref(),
            timings: &self.timings,
            cluster: &self.cluster,
            events: &self.events,
            cancel: &self.cancel,
        }
    }

    /// The last words of each finished task.
    pub(super) fn finished(&self) -> Vec<(String, String)> {
        let finished = self
            .events
            .events()
            .into_iter()
            .filter_map(|event| match event {
                Event::TaskFinished { task, detail, .. } => Some((task, detail)),
                _ => None,
            });
        finished.collect()
    }
}
