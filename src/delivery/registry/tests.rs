//! What is pushed to a registry in memory, and how its refusals read.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use oci_image::registry::{Options, Retry};
use test_support::registry::{Refusal, Registry};

use super::*;
use crate::delivery::test_images::{TestContext, TestStore};
use crate::delivery::{Delivered, Moved};
use crate::diagnostic::Explain;

struct Bench {
    registry: Registry,
    prefix: String,
    store: TestStore,
    context: TestContext,
    config: DockerConfig,
}

impl Bench {
    async fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let registry = Registry::default();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.json"), "{}").unwrap();
        Self {
            prefix: format!("{}/", registry.start().await),
            registry,
            store: TestStore::new(),
            context: TestContext::default(),
            config: DockerConfig::read(folder.path()).unwrap(),
        }
    }

    fn image(&self, service: &str, layers: &[&str]) -> Delivery {
        self.store.delivery(&self.prefix, service, layers)
    }

    async fn deliver(
        &self,
        images: &[Delivery],
    ) -> Result<BTreeMap<ServiceName, DeliveredImage>, DeliveryError> {
        let client = Client::new(Options {
            retry: Retry {
                times: 1,
                first_delay: Duration::from_millis(1),
                ..Retry::default()
            },
            ..Options::default()
        });
        deliver_with(&client, &self.config, images, &self.context.context()).await
    }
}

fn pinned(image: &Delivery) -> String {
    let Source::Store { descriptor, .. } = &image.source else {
        unreachable!("it was made so");
    };
    format!("{}@{}", image.reference, descriptor.digest)
}

fn moved(delivered: &DeliveredImage) -> Moved {
    match delivered.outcome {
        Delivered::Moved(moved) => moved,
        Delivered::Present => panic!("it was there"),
    }
}

#[tokio::test]
async fn images_are_pushed_once_and_pinned() {
    let bench = Bench::new().await;
    let images = [bench.image("a", &["base", "binary"])];
    let delivered = bench.deliver(&images).await.unwrap();
    assert_eq!(moved(&delivered["a"]).layers, 2);
    let reference = delivered["a"].pinned.as_ref().map(ToString::to_string);
    assert_eq!(reference, Some(pinned(&images[0])));
    let puts = bench.registry.count("PUT");
    let again = bench.deliver(&images).await.unwrap();
    assert_eq!(again["a"].outcome, Delivered::Present);
    assert_eq!(again["a"].pinned, delivered["a"].pinned);
    assert_eq!(bench.registry.count("PUT"), puts);
}

#[tokio::test]
async fn layers_that_services_share_are_sent_once() {
    let bench = Bench::new().await;
    let images = [
        bench.image("a", &["base", "binary of a"]),
        bench.image("b", &["base", "binary of b"]),
    ];
    let delivered = bench.deliver(&images).await.unwrap();
    let layers: usize = delivered.values().map(|image| moved(image).layers).sum();
    assert_eq!(layers, 3, "the base went over once");
    // Present from a former run, and another service takes its base from there.
    let third = [
        images[0].clone(),
        bench.image("c", &["base", "binary of c"]),
    ];
    bench.deliver(&third[..1]).await.unwrap();
    let delivered = bench.deliver(&third).await.unwrap();
    assert_eq!(delivered["a"].outcome, Delivered::Present);
    assert_eq!(moved(&delivered["c"]).layers, 1);
}

#[tokio::test]
async fn what_another_machine_pushed_stays() {
    let bench = Bench::new().await;
    let theirs = [bench.image("a", &["their binary"])];
    bench.deliver(&theirs).await.unwrap();
    let ours = [bench.image("a", &["our binary"])];
    let delivered = bench.deliver(&ours).await.unwrap();
    assert_eq!(delivered["a"].outcome, Delivered::Present);
    let reference = delivered["a"].pinned.as_ref().map(ToString::to_string);
    assert_eq!(reference, Some(pinned(&theirs[0])));
    let warnings = bench
        .context
        .events
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::Warning(warning) => Some(warning),
            _ => None,
        });
    let warnings: Vec<Diagnostic> = warnings.collect();
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].code, OTHER_CONTENT);
}

#[tokio::test]
async fn a_tag_comes_after_everything_it_needs() {
    let bench = Bench::new().await;
    bench
        .registry
        .refuse(Refusal::always("POST", "/blobs/", 500, ""));
    let image = [bench.image("a", &["base"])];
    bench.deliver(&image).await.unwrap_err();
    assert!(
        bench.registry.stored().is_empty(),
        "no manifest without its blobs"
    );
}

#[tokio::test]
async fn faults_are_explained() {
    for (method, path, status, body, code, hint) in [
        (
            "HEAD",
            "/manifests/",
            401,
            "",
            "S0521",
            "docker login 127.0.0.1",
        ),
        (
            "POST",
            "/blobs/",
            403,
            r#"{"errors":[{"code":"DENIED","message":"no"}]}"#,
            "S0522",
            "may not push to seedling/a",
        ),
        (
            "POST",
            "/blobs/",
            404,
            r#"{"errors":[{"code":"NAME_UNKNOWN","message":"no such repository"}]}"#,
            "S0523",
            "create the repository seedling/a",
        ),
        ("HEAD", "/manifests/", 429, "", "S0524", "try again"),
        ("PUT", "/manifests/", 503, "", "S0529", "try again"),
        ("POST", "/blobs/", 413, "", "S0530", "client_max_body_size"),
    ] {
        let bench = Bench::new().await;
        bench
            .registry
            .refuse(Refusal::always(method, path, status, body));
        let image = [bench.image("a", &["base"])];
        let error = bench.deliver(&image).await.unwrap_err();
        let found = &error.diagnostics()[0];
        assert_eq!(error.to_string(), "failed to deliver a");
        assert_eq!(found.code.to_string(), code, "{found:?}");
        assert!(found.hints.concat().contains(hint), "{found:?}");
    }
}

#[tokio::test]
async fn an_index_goes_after_its_manifests() {
    let bench = Bench::new().await;
    let one = bench.store.image("a", &["base"]);
    let other = bench.store.image("other", &["base", "more"]);
    let index = bench.store.index(&[one.clone(), other.clone()]);
    let mut image = bench.image("a", &["base"]);
    image.source = Source::Store {
        layout: bench.store.layout.clone(),
        descriptor: index.clone(),
    };
    let delivered = bench.deliver(&[image]).await.unwrap();
    assert_eq!(moved(&delivered["a"]).layers, 2);
    let stored = bench.registry.stored();
    for digest in [index.digest, one.descriptor.digest, other.descriptor.digest] {
        assert!(stored.contains(&format!("/v2/seedling/a/manifests/{digest}")));
    }
    let tags = stored.iter().filter(|path| path.ends_with("/manifests/1"));
    assert_eq!(tags.count(), 1);
}

#[tokio::test]
async fn layers_that_nodes_cannot_unpack_are_not_pushed() {
    let mut bench = Bench::new().await;
    bench.context.cluster.nodes = vec![crate::delivery::NodeFacts {
        name: "old".into(),
        runtime: "docker://20.10.24".into(),
        ..Default::default()
    }];
    let error = bench.deliver(&[bench.image("a", &["base"])]).await;
    assert_eq!(
        error.unwrap_err().to_string(),
        "node old runs docker://20.10.24, which cannot unpack the image of a: its layers are compressed with zstd"
    );
    assert!(bench.registry.stored().is_empty());
    bench.store = TestStore::with(oci_image::Compression::Gzip);
    let image = [bench.image("a", &["base"])];
    bench.deliver(&image).await.unwrap();
}
