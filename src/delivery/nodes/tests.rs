//! Nodes in memory: what is sent to them, and what happens where they refuse.

use std::collections::BTreeMap;

use test_support::nodes::{FakeNode, FakeNodes};

use super::*;
use crate::delivery::test_images::{TestContext, TestStore};
use crate::diagnostic::Explain;

#[tokio::test]
async fn what_nodes_cannot_run_is_refused() {
    let bench = Bench::new([node("dev-control-plane", "control-plane")]);
    let mut image = bench.store.delivery("", "a", &["base"]);
    image.source = Source::Store {
        layout: bench.store.layout.clone(),
        descriptor: bench
            .store
            .image_for("linux/arm64", "a", &["base"])
            .descriptor,
    };
    let error = bench.deliver(&[image]).await.unwrap_err();
    assert!(matches!(error, DeliveryError::Platform { .. }), "{error}");
    assert_eq!(error.exit(), crate::diagnostic::Exit::Refused);
}

fn node(name: &str, role: &str) -> FakeNode {
    let labels = [
        ("io.x-k8s.kind.cluster", "dev"),
        ("io.x-k8s.kind.role", role),
    ];
    FakeNode {
        name: name.into(),
        labels: labels.map(|(key, value)| (key.into(), value.into())).into(),
        ..FakeNode::default()
    }
}

struct Bench {
    fake: FakeNodes,
    store: TestStore,
    context: TestContext,
}

impl Bench {
    fn new(nodes: impl IntoIterator<Item = FakeNode>) -> Self {
        let fake = FakeNodes::new(nodes);
        Self {
            store: TestStore::new(),
            context: TestContext::with_engine(fake.client()),
            fake,
        }
    }

    async fn deliver(
        &self,
        images: &[Delivery],
    ) -> Result<BTreeMap<ServiceName, DeliveredImage>, DeliveryError> {
        let route = Route::Kind {
            cluster: "dev".into(),
        };
        deliver(images, &route, &self.context.context()).await
    }

    async fn outcomes(&self, images: &[Delivery]) -> Vec<String> {
        let delivered = self.deliver(images).await.unwrap();
        let words = |image: DeliveredImage| match image.outcome {
            Delivered::Present => "present".to_owned(),
            Delivered::Moved(moved) => format!("{} layers", moved.layers),
        };
        delivered.into_values().map(words).collect()
    }

    fn blob_path(&self, layer: &str) -> String {
        format!(
            "blobs/sha256/{}",
            self.store.layer(layer).descriptor.digest.hex()
        )
    }
}

#[tokio::test]
async fn a_node_gets_what_it_lacks_and_then_nothing() {
    let bench = Bench::new([node("kind-control-plane", "control-plane")]);
    let first = [
        bench.store.delivery("", "a", &["base", "binary of a"]),
        bench.store.delivery("", "b", &["base", "binary of b"]),
    ];
    assert_eq!(bench.outcomes(&first).await, ["2 layers", "1 layers"]);
    let imports = bench.fake.imports();
    assert_eq!(imports.len(), 2);
    assert!(imports[0].contains(&bench.blob_path("base")));
    assert!(
        !imports[1].contains(&bench.blob_path("base")),
        "it was there"
    );
    assert!(imports[1].contains(&bench.blob_path("binary of b")));

    assert_eq!(bench.outcomes(&first).await, ["present", "present"]);
    assert_eq!(bench.fake.imports().len(), 2, "nothing moved again");

    let changed = [bench.store.delivery("", "a", &["base", "new binary of a"])];
    assert_eq!(bench.outcomes(&changed).await, ["1 layers"]);
    let node = &bench.fake.nodes()[0];
    let Source::Store { descriptor, .. } = &changed[0].source else {
        unreachable!("it was made so");
    };
    assert_eq!(
        node.images["docker.io/seedling/a:1"],
        descriptor.digest.to_string()
    );
    let import = bench
        .fake
        .commands()
        .into_iter()
        .rfind(|line| line.contains("import"));
    assert_eq!(
        import.as_deref(),
        Some(
            "kind-control-plane: ctr --namespace k8s.io images import --all-platforms --snapshotter native -"
        )
    );
}

#[tokio::test]
async fn all_nodes_are_served_and_nothing_else() {
    let bench = Bench::new([
        node("kind-control-plane", "control-plane"),
        node("kind-worker", "worker"),
        node("kind-lb", "external-load-balancer"),
    ]);
    let images = [bench.store.delivery("", "a", &["base"])];
    bench.deliver(&images).await.unwrap();
    let has = |node: &FakeNode| node.images.contains_key("docker.io/seedling/a:1");
    let nodes = bench.fake.nodes();
    assert!(has(&nodes[0]) && has(&nodes[1]) && !has(&nodes[2]));
    let asked = bench.fake.commands();
    assert!(!asked.iter().any(|line| line.starts_with("kind-lb")));
    assert_eq!(
        bench.context.finished(),
        [("a".to_owned(), bench.deliver_words(&images[0]))]
    );
}

impl Bench {
    /// `1 layer, 90 B of 90 B`
    fn deliver_words(&self, image: &Delivery) -> String {
        let Source::Store { layout, descriptor } = &image.source else {
            unreachable!("it was made so");
        };
        let size: u64 = layout
            .manifest(descriptor)
            .unwrap()
            .manifest
            .layers
            .iter()
            .map(|layer| layer.size)
            .sum();
        format!("1 layer, {size} B of {size} B")
    }
}

#[tokio::test]
async fn a_layer_that_is_gone_meanwhile_brings_the_whole_image() {
    let bench = Bench::new([node("kind-control-plane", "control-plane")]);
    bench
        .deliver(&[bench.store.delivery("", "a", &["base"])])
        .await
        .unwrap();
    let mut node = bench.fake.nodes().remove(0);
    let base = bench.store.layer("base").descriptor.digest.to_string();
    node.lost.insert(base);
    let bench = Bench {
        fake: FakeNodes::new([node]),
        ..bench
    };
    let context = TestContext::with_engine(bench.fake.client());
    let bench = Bench { context, ..bench };
    let image = [bench.store.delivery("", "b", &["base", "binary"])];
    assert_eq!(bench.outcomes(&image).await, ["2 layers"]);
    let imports = bench.fake.imports();
    assert!(imports[0].contains(&"index.json".to_owned()));
    assert!(
        imports[1].contains(&"manifest.json".to_owned()),
        "a docker archive"
    );
    // What came as a docker archive has another manifest and is known by its configuration.
    assert_eq!(bench.outcomes(&image).await, ["present"]);
}

#[tokio::test]
async fn a_full_disk_is_explained_and_leaves_no_name() {
    let mut full = node("kind-worker", "worker");
    full.refuses = Some("ctr: write /var/lib/x: no space left on device".into());
    let bench = Bench::new([full]);
    let error = bench
        .deliver(&[bench.store.delivery("", "a", &["base"])])
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "node kind-worker did not take the image: ctr: write /var/lib/x: no space left on device"
    );
    assert!(error.diagnostics()[0].hints[0].contains("disk of node kind-worker"));
    let commands = bench.fake.commands();
    let imports = commands.iter().filter(|line| line.contains(" import "));
    assert_eq!(imports.count(), 1, "a whole image takes no less room");
    assert!(
        commands
            .last()
            .is_some_and(|line| line.ends_with("images rm docker.io/seedling/a:1"))
    );
}

#[tokio::test]
async fn an_image_of_the_engine_that_nodes_have_is_not_taken_out_of_it() {
    let mut there = node("kind-worker", "worker");
    let id = format!("sha256:{}", "a".repeat(64));
    let digest = oci_image::Digest::of(b"manifest").to_string();
    there
        .images
        .insert("docker.io/seedling/a:1".into(), digest.clone());
    there.images.insert(id.clone(), digest);
    let bench = Bench::new([there]);
    let mut image = bench.store.delivery("", "a", &["base"]);
    image.source = Source::Engine {
        reference: "seedling/a:1".into(),
        id,
    };
    // The engine of this test cannot save images.
    assert_eq!(bench.outcomes(&[image]).await, ["present"]);
}

#[tokio::test]
async fn an_interrupt_ends_it() {
    let bench = Bench::new([node("kind-worker", "worker")]);
    bench.context.cancel.cancel();
    let image = [bench.store.delivery("", "a", &["base"])];
    let error = bench.deliver(&image).await.unwrap_err();
    assert!(matches!(error, DeliveryError::Interrupted), "{error}");
    assert!(bench.fake.nodes()[0].images.is_empty());
}
