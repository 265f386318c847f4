//! What a build made, as data that `deploy --images FILE` reads.

use std::collections::BTreeMap;
use std::time::Duration;

use oci_image::{Descriptor, InvalidReference, Reference};
use serde::{Deserialize, Serialize};

use super::explain::Reason;
use crate::stack::{InvalidName, ServiceName};

/// The version of the file's format; 1 named no digests.
const VERSION: u32 = 2;

/// The images of the services that were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildReport {
    /// By service.
    pub images: BTreeMap<ServiceName, BuiltImage>,
}

/// One image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltImage {
    /// What pods are to run: `repository:tag`, with the digest where a registry has it.
    pub reference: String,
    /// Where it is.
    pub held: Held,
    /// How it came about.
    pub outcome: BuildOutcome,
    /// Why it was built, where it was.
    pub reason: Option<Reason>,
    /// How long that took.
    pub elapsed: Duration,
}

impl BuiltImage {
    /// One that was there.
    #[must_use]
    pub fn cached(reference: String, held: Held) -> Self {
        Self {
            reference,
            held,
            outcome: BuildOutcome::Cached,
            reason: None,
            elapsed: Duration::ZERO,
        }
    }
}

/// Where an image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// In the store of this machine: its manifest, or the index of its platforms.
    Store(Descriptor),
    /// In the Docker engine: its id.
    Engine(String),
    /// Where only the cluster needs to find it.
    Elsewhere,
}

/// How an image came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BuildOutcome {
    /// It was made now.
    Built,
    /// It was there.
    Cached,
    /// It comes from a registry as it is.
    External,
}

/// Why a text is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// It is no JSON, or not of this form.
    #[error("it is not what `stackctl build --images` writes")]
    Format(#[source] serde_json::Error),
    /// Another version wrote it.
    #[error("its format has version {0}, but this stackctl knows versions up to 2")]
    Version(u32),
    /// It names what cannot be a service.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// It names what cannot be an image.
    #[error(transparent)]
    Reference(#[from] InvalidReference),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    images: BTreeMap<String, Entry>,
}

/// One image as the file has it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    reference: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    manifest: Option<Descriptor>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    id: Option<String>,
    outcome: BuildOutcome,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    reason: Option<Reason>,
    milliseconds: u64,
}

impl From<&BuiltImage> for Entry {
    fn from(image: &BuiltImage) -> Self {
        let (manifest, id) = match &image.held {
            Held::Store(manifest) => (Some(manifest.clone()), None),
            Held::Engine(id) => (None, Some(id.clone())),
            Held::Elsewhere => (None, None),
        };
        Self {
            reference: image.reference.clone(),
            manifest,
            id,
            outcome: image.outcome,
            reason: image.reason.clone(),
            milliseconds: u64::try_from(image.elapsed.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl From<Entry> for BuiltImage {
    fn from(entry: Entry) -> Self {
        Self {
            reference: entry.reference,
            held: match (entry.manifest, entry.id) {
                (Some(manifest), _) => Held::Store(manifest),
                (None, Some(id)) => Held::Engine(id),
                (None, None) => Held::Elsewhere,
            },
            outcome: entry.outcome,
            reason: entry.reason,
            elapsed: Duration::from_millis(entry.milliseconds),
        }
    }
}

impl BuildReport {
    /// The content of an images file.
    #[must_use]
    pub fn to_json(&self) -> String {
        let file = File {
            version: VERSION,
            images: self
                .images
                .iter()
                .map(|(service, image)| (service.to_string(), image.into()))
                .collect(),
        };
        serde_json::to_string_pretty(&file).expect("strings and numbers") + "\n"
    }

    /// Reads an images file, also one of version 1.
    pub fn from_json(text: &str) -> Result<Self, ReportError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } = serde_json::from_str(text).map_err(ReportError::Format)?;
        if !(1..=VERSION).contains(&version) {
            return Err(ReportError::Version(version));
        }
        let file: File = serde_json::from_str(text).map_err(ReportError::Format)?;
        let mut images = BTreeMap::new();
        for (service, entry) in file.images {
            let _: Reference = entry.reference.parse()?;
            images.insert(service.parse()?, entry.into());
        }
        Ok(Self { images })
    }

    /// Such as `1 built, 5 cached`.
    #[must_use]
    pub fn summary(&self) -> String {
        let count = |outcome| {
            self.images
                .values()
                .filter(|image| image.outcome == outcome)
                .count()
        };
        let external = match count(BuildOutcome::External) {
            0 => String::new(),
            external => format!(", {external} from a registry"),
        };
        format!(
            "{} built, {} cached{external}",
            count(BuildOutcome::Built),
            count(BuildOutcome::Cached)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> BuildReport {
        let manifest = Descriptor::of(oci_image::media_type::MANIFEST, b"{}");
        let image = |reference: &str, held, outcome, reason| BuiltImage {
            reference: reference.into(),
            held,
            outcome,
            reason,
            elapsed: Duration::from_millis(12),
        };
        let images = [
            (
                "a",
                image(
                    "s/a:1",
                    Held::Store(manifest),
                    BuildOutcome::Built,
                    Some(Reason::First),
                ),
            ),
            (
                "b",
                image(
                    "s/b:1",
                    Held::Engine("sha256:2".into()),
                    BuildOutcome::Cached,
                    None,
                ),
            ),
            (
                "c",
                image("redis:7", Held::Elsewhere, BuildOutcome::External, None),
            ),
        ];
        BuildReport {
            images: images
                .into_iter()
                .map(|(name, image)| (name.parse().unwrap(), image))
                .collect(),
        }
    }

    #[test]
    fn a_report_comes_back_from_its_file() {
        assert_eq!(
            BuildReport::from_json(&report().to_json()).unwrap(),
            report()
        );
        assert_eq!(report().summary(), "1 built, 1 cached, 1 from a registry");
        let json: serde_json::Value = serde_json::from_str(&report().to_json()).unwrap();
        assert_eq!(
            json["images"]["a"],
            serde_json::json!({
                "reference": "s/a:1",
                "manifest": {
                    "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
                    "size": 2,
                },
                "outcome": "built",
                "reason": "first",
                "milliseconds": 12,
            })
        );
    }

    #[test]
    fn files_of_the_first_version_are_read() {
        let text = r#"{"version": 1, "images": {"b": {"reference": "s/b:1", "id": "sha256:2", "outcome": "cached", "milliseconds": 12}}}"#;
        let read = BuildReport::from_json(text).unwrap();
        let service: ServiceName = "b".parse().unwrap();
        assert_eq!(read.images[&service], report().images[&service]);
    }

    #[test]
    fn other_files_are_refused() {
        for (text, expected) in [
            ("{}", "it is not what `stackctl build --images` writes"),
            (
                r#"{"version": 3, "pictures": []}"#,
                "its format has version 3, but this stackctl knows versions up to 2",
            ),
            (
                r#"{"version": 1, "images": {"A": {"reference": "a", "outcome": "built", "milliseconds": 1}}}"#,
                "`A` is not a valid service name: only a-z, 0-9 and - may stand in it",
            ),
            (
                r#"{"version": 2, "images": {"a": {"reference": "r.io/a:b/c:1", "outcome": "built", "milliseconds": 1}}}"#,
                "`r.io/a:b/c:1` is no reference of an image: a path is made of a-z, 0-9 and single separators . _ - between them",
            ),
        ] {
            assert_eq!(
                BuildReport::from_json(text).unwrap_err().to_string(),
                expected
            );
        }
    }
}
