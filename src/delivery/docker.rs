//! Docker engines: an image is loaded without the layers that the engine has.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bollard::errors::Error as DockerError;
use oci_image::{Digest, StoredImage, write_docker_archive};

use crate::image::progress::Task;
use crate::image::{Engine, Loadable, load_image};
use crate::stack::ServiceName;
use crate::timings::Step;

use super::byte_stream::written_by;
use super::deliver::{DeliveredImage, Delivery, DeliveryContext, Pace, Source, each};
use super::delivery_error::DeliveryError;
use super::moved::Moved;
use super::names::familiar;
use super::source::{Opened, open};

/// Images at the same time; the engine unpacks with all it has.
const LOADS: Pace = Pace {
    at_once: 2,
    step: Step::Load,
};

/// Brings images into this machine's engine; what it has built itself is there.
pub(super) async fn deliver(
    images: &[Delivery],
    context: &DeliveryContext<'_>,
) -> Result<BTreeMap<ServiceName, DeliveredImage>, DeliveryError> {
    let engine = context.engine()?;
    each(images, LOADS, context, async |image, task| {
        match &image.source {
            Source::Engine { .. } => Ok(DeliveredImage::present()),
            Source::Store { .. } => load(image, engine, context, task).await,
        }
    })
    .await
}

/// Brings images into another engine.
pub(super) async fn deliver_to(
    engine: &Engine,
    images: &[Delivery],
    context: &DeliveryContext<'_>,
) -> Result<BTreeMap<ServiceName, DeliveredImage>, DeliveryError> {
    each(images, LOADS, context, async |image, task| {
        if let Source::Engine { id, .. } = &image.source
            && present_id(image, engine).await?.as_ref() == Some(id)
        {
            return Ok(DeliveredImage::present());
        }
        load(image, engine, context, task).await
    })
    .await
}

async fn load(
    image: &Delivery,
    engine: &Engine,
    context: &DeliveryContext<'_>,
    task: &Task<'_>,
) -> Result<DeliveredImage, DeliveryError> {
    let opened = open(image, context, task).await?;
    if is_there(image, &opened.image, engine).await? {
        return Ok(DeliveredImage::present());
    }
    let left_out = Arc::new(Mutex::new(BTreeSet::new()));
    let diff_ids: Vec<Digest> = opened.image.layers().map(|(diff_id, _)| diff_id).collect();
    let name = familiar(&image.reference);
    let archive = |present: &BTreeSet<Digest>| {
        // The engine may want the whole archive after all.
        present.clone_into(&mut left_out.lock().unwrap_or_else(PoisonError::into_inner));
        let (layout, stored) = (opened.layout.clone(), Arc::clone(&opened.image));
        let (name, present) = (name.clone(), present.clone());
        written_by(move |writer| {
            write_docker_archive(&layout, &stored, &[&name], &present, writer)
                .map(drop)
                .map_err(io::Error::other)
        })
    };
    let progress = |message: &str| task.progress(message);
    let loadable = Loadable {
        name: &name,
        diff_ids: &diff_ids,
    };
    load_image(engine, loadable, archive, &progress)
        .await
        .map_err(|source| DeliveryError::Load {
            service: image.service.clone(),
            source,
        })?;
    let left_out = left_out.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(DeliveredImage::moved(moved(&opened, &left_out)))
}

/// What is sent without these layers.
fn moved(opened: &Opened, left_out: &BTreeSet<Digest>) -> Moved {
    let layers = opened.image.layers();
    layers
        .filter(|(diff_id, _)| !left_out.contains(diff_id))
        .fold(opened.whole(), |moved, (_, layer)| {
            moved.and_layer(layer.size)
        })
}

/// Whether the engine has this very image under its name. An engine that keeps images in containerd's store has other
/// ids; there the layers tell.
async fn is_there(
    image: &Delivery,
    stored: &StoredImage,
    engine: &Engine,
) -> Result<bool, DeliveryError> {
    let found = match engine
        .docker()
        .inspect_image(&familiar(&image.reference))
        .await
    {
        Err(DockerError::DockerResponseServerError {
            status_code: 404, ..
        }) => return Ok(false),
        found => found.map_err(engine_error(image))?,
    };
    let layers = found.root_fs.and_then(|layers| layers.layers);
    let diff_ids = stored.layers().map(|(diff_id, _)| diff_id.to_string());
    Ok(found.id == Some(stored.id().to_string()) || layers.is_some_and(|found| diff_ids.eq(found)))
}

async fn present_id(image: &Delivery, engine: &Engine) -> Result<Option<String>, DeliveryError> {
    let found = engine.image_id(&familiar(&image.reference)).await;
    found.map_err(engine_error(image))
}

fn engine_error(image: &Delivery) -> impl FnOnce(DockerError) -> DeliveryError {
    let action = format!("find {}", familiar(&image.reference));
    move |source| DeliveryError::Engine { action, source }
}

#[cfg(test)]
mod tests {
    use test_support::docker::FakeDocker;

    use super::*;
    use crate::delivery::Delivered;
    use crate::delivery::test_images::{TestContext, TestStore};
    use crate::diagnostic::Explain;

    #[tokio::test]
    async fn an_image_is_loaded_once() {
        let (fake, store) = (FakeDocker::default(), TestStore::new());
        let context = TestContext::with_engine(fake.client());
        let images = [store.delivery("", "a", &["base", "binary"])];
        let delivered = deliver(&images, &context.context()).await.unwrap();
        let Delivered::Moved(moved) = delivered["a"].outcome else {
            panic!("{delivered:?}");
        };
        assert_eq!((moved.layers, moved.bytes), (2, moved.of));
        let loaded = &fake.images()["seedling/a:1"];
        let id = store.image("a", &["base", "binary"]).id();
        assert_eq!(loaded.id, id.to_string());
        assert_eq!(loaded.files, ["base", "binary"]);
        let again = deliver(&images, &context.context()).await.unwrap();
        assert_eq!(again["a"].outcome, Delivered::Present);
        let loads = fake
            .requests()
            .into_iter()
            .filter(|line| line.contains("/load"));
        assert_eq!(loads.count(), 1);
    }

    #[tokio::test]
    async fn what_the_engine_cannot_run_is_refused() {
        let (fake, store) = (FakeDocker::default(), TestStore::new());
        let context = TestContext::with_engine(fake.client());
        let mut image = store.delivery("", "a", &["base"]);
        let platforms = ["linux/arm64", "linux/s390x"];
        let images = platforms.map(|platform| store.image_for(platform, "a", &["base"]));
        image.source = Source::Store {
            layout: store.layout.clone(),
            descriptor: store.index(&images),
        };
        let error = deliver(&[image], &context.context()).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the image of a is for linux/arm64, linux/s390x, and what it is to run on is linux/amd64"
        );
        let found = &error.diagnostics()[0];
        assert_eq!(found.code.to_string(), "S0540");
        assert!(found.hints[0].starts_with("add linux/amd64 to `platforms`"));
        assert!(fake.requests().is_empty(), "nothing was sent");
    }

    #[tokio::test]
    async fn what_the_engine_built_is_there() {
        let fake = FakeDocker::default();
        let context = TestContext::with_engine(fake.client());
        let mut image = TestStore::new().delivery("", "a", &["base"]);
        image.source = Source::Engine {
            reference: "seedling/a:1".into(),
            id: "sha256:1".into(),
        };
        let delivered = deliver(&[image], &context.context()).await.unwrap();
        assert_eq!(delivered["a"].outcome, Delivered::Present);
        assert!(fake.requests().is_empty());
    }

    #[tokio::test]
    async fn without_an_engine_there_is_no_way() {
        let context = TestContext::default();
        let image = [TestStore::new().delivery("", "a", &["base"])];
        let error = deliver(&image, &context.context()).await.unwrap_err();
        assert!(matches!(error, DeliveryError::NoEngine), "{error}");
    }
}
