//! `stackctl build`, and what it says it built.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{process, workspace};

/// One run of it.
pub(super) struct Build<'a> {
    /// The folder of the stack.
    pub(super) stack: &'a Path,
    /// All where empty.
    pub(super) services: &'a [&'a str],
    /// As `--to` has it.
    pub(super) to: &'a str,
    /// `$STACKCTL_CACHE`, where it is not the user's own.
    pub(super) cache: Option<&'a Path>,
}

/// An image that was built.
#[derive(Debug, PartialEq)]
pub(super) struct Image {
    /// What a container is started from.
    pub(super) reference: String,
    /// The digest of its manifest.
    pub(super) digest: String,
}

impl Build<'_> {
    /// The images by service.
    pub(super) fn run(&self) -> Result<BTreeMap<String, Image>> {
        let folder = workspace::cache();
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let file = folder.join(format!("images-{}.json", std::process::id()));
        process::run(&mut self.command(&file))?;
        let text =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        fs::remove_file(&file)?;
        images(&text)
    }

    fn command(&self, file: &Path) -> Command {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command
            .current_dir(workspace::root())
            .args(["run", "--quiet", "--package", "stackctl", "--", "build"])
            .arg("--directory")
            .arg(self.stack)
            .args(["--to", self.to, "--images"])
            .arg(file)
            .env_remove("STACKCTL_ENV");
        for service in self.services {
            command.args(["--service", service]);
        }
        if let Some(cache) = self.cache {
            command.env("STACKCTL_CACHE", cache);
        }
        command
    }
}

/// The image of a service.
pub(super) fn image<'a>(images: &'a BTreeMap<String, Image>, service: &str) -> Result<&'a Image> {
    images
        .get(service)
        .with_context(|| format!("stackctl built no image of {service}"))
}

/// Reads what `--images` wrote.
fn images(text: &str) -> Result<BTreeMap<String, Image>> {
    let file: Value = serde_json::from_str(text).context("the images file is no JSON")?;
    let images = file["images"]
        .as_object()
        .context("the images file has no images")?;
    let image = |(service, image): (&String, &Value)| {
        let text = |value: &Value, what| {
            let text = value.as_str().map(String::from);
            text.with_context(|| format!("the image of {service} has no {what}"))
        };
        Ok((
            service.clone(),
            Image {
                reference: text(&image["reference"], "reference")?,
                digest: text(&image["manifest"]["digest"], "digest")?,
            },
        ))
    };
    images.iter().map(image).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_and_digests_are_read() {
        let text =
            r#"{"images": {"a": {"reference": "s/a:1", "manifest": {"digest": "sha256:2"}}}}"#;
        let expected = Image {
            reference: "s/a:1".to_owned(),
            digest: "sha256:2".to_owned(),
        };
        assert_eq!(
            images(text).expect("it is one"),
            [("a".to_owned(), expected)].into()
        );
    }

    #[test]
    fn an_image_without_a_digest_was_not_built_here() {
        let error =
            images(r#"{"images": {"a": {"reference": "redis:7"}}}"#).expect_err("it has none");
        assert_eq!(error.to_string(), "the image of a has no digest");
    }
}
