//! `--to oci:DIR`: a folder with an OCI image layout, as skopeo, podman and buildah read it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use oci_image::{Layout, LayoutError, copy_image};

use crate::image::background::blocking;
use crate::stack::ServiceName;
use crate::timings::Step;

use super::deliver::{DeliveredImage, Delivery, DeliveryContext, Pace, each};
use super::delivery_error::DeliveryError;
use super::moved::Moved;
use super::source::{Whole, open_whole};

/// Images at the same time: a disk is not faster with more.
const IMAGES: Pace = Pace {
    at_once: 2,
    step: Step::Load,
};
/// What was not finished by then never will be.
const ABANDONED: Duration = Duration::from_secs(3600);

/// Copies images into the layout in `folder`, and makes it where there is none. A folder with other things in it is
/// refused.
pub(super) async fn deliver(
    images: &[Delivery],
    folder: &Path,
    context: &DeliveryContext<'_>,
) -> Result<BTreeMap<ServiceName, DeliveredImage>, DeliveryError> {
    let failed = |source| DeliveryError::Layout {
        folder: folder.to_owned(),
        source,
    };
    let root = folder.to_owned();
    let layout = blocking(move || {
        let layout = Layout::open(root)?;
        // Best effort: that it could not be tidied makes a folder no worse.
        if let Err(error) = layout.remove_unfinished(ABANDONED) {
            tracing::debug!(%error, "unfinished files stay");
        }
        Ok(layout)
    })
    .await
    .map_err(failed)?;
    each(images, IMAGES, context, async |image, task| {
        let copy = Copy {
            whole: open_whole(image, context, task).await?,
            name: image.reference.to_string(),
        };
        let to = layout.clone();
        let moved = blocking(move || copy.run(&to)).await.map_err(failed)?;
        Ok(moved.map_or_else(DeliveredImage::present, DeliveredImage::moved))
    })
    .await
}

struct Copy {
    whole: Whole,
    name: String,
}

impl Copy {
    /// What was moved; `None` where the image is there under its name. The name comes last.
    fn run(&self, to: &Layout) -> Result<Option<Moved>, LayoutError> {
        let image = &self.whole.descriptor;
        let missing: Vec<_> = self.whole.layers().filter(|layer| !to.has(layer)).collect();
        copy_image(&self.whole.layout, to, image)?;
        let named = to.resolve(&self.name)?.map(|found| found.digest);
        if named == Some(image.digest) && missing.is_empty() {
            return Ok(None);
        }
        to.tag(&self.name, image)?;
        Ok(Some(self.whole.moved(missing)))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::delivery::Delivered;
    use crate::delivery::test_images::{TestContext, TestStore};

    #[tokio::test]
    async fn images_are_copied_once() {
        let (store, context) = (TestStore::new(), TestContext::default());
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("out");
        let images = [store.delivery("", "a", &["base", "binary"])];
        let delivered = deliver(&images, &to, &context.context()).await.unwrap();
        let Delivered::Moved(moved) = delivered["a"].outcome else {
            panic!("{delivered:?}");
        };
        assert_eq!((moved.layers, moved.bytes), (2, moved.of));
        let layout = Layout::open(&to).unwrap();
        let found = layout.resolve("docker.io/seedling/a:1").unwrap().unwrap();
        layout.verify(&found).unwrap();
        let again = deliver(&images, &to, &context.context()).await.unwrap();
        assert_eq!(again["a"].outcome, Delivered::Present);

        let changed = [store.delivery("", "a", &["base", "new binary"])];
        let delivered = deliver(&changed, &to, &context.context()).await.unwrap();
        let Delivered::Moved(moved) = delivered["a"].outcome else {
            panic!("{delivered:?}");
        };
        assert_eq!(moved.layers, 1);
    }

    #[tokio::test]
    async fn a_folder_of_somebody_else_is_left_alone() {
        let (store, context) = (TestStore::new(), TestContext::default());
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis.tex"), "x").unwrap();
        let images = [store.delivery("", "a", &["base"])];
        let error = deliver(&images, folder.path(), &context.context())
            .await
            .unwrap_err();
        assert!(
            matches!(
                error,
                DeliveryError::Layout {
                    source: LayoutError::Foreign(_),
                    ..
                }
            ),
            "{error}"
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
