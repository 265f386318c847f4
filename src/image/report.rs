//! What a build made, as data that `deploy --images FILE` reads.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::stack::{InvalidName, ServiceName};

/// The version of the file's format.
const VERSION: u32 = 1;

/// The images of the services that were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildReport {
    /// By service.
    pub images: BTreeMap<ServiceName, BuiltImage>,
}

/// One image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuiltImage {
    /// What pods are to run: `repository:tag`.
    pub reference: String,
    /// The engine's id of it; none for an image that only the cluster needs to find.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub id: Option<String>,
    /// How it came about.
    pub outcome: BuildOutcome,
    /// How long that took.
    #[serde(with = "milliseconds", rename = "milliseconds")]
    pub elapsed: Duration,
}

/// How an image came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BuildOutcome {
    /// It was made now.
    Built,
    /// The engine had it.
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
    #[error("its format has version {0}, but this stackctl knows version 1")]
    Version(u32),
    /// It names what cannot be a service.
    #[error(transparent)]
    Name(#[from] InvalidName),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    images: BTreeMap<String, BuiltImage>,
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
                .map(|(service, image)| (service.to_string(), image.clone()))
                .collect(),
        };
        serde_json::to_string_pretty(&file).expect("strings and numbers") + "\n"
    }

    /// Reads an images file.
    pub fn from_json(text: &str) -> Result<Self, ReportError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } = serde_json::from_str(text).map_err(ReportError::Format)?;
        if version != VERSION {
            return Err(ReportError::Version(version));
        }
        let file: File = serde_json::from_str(text).map_err(ReportError::Format)?;
        let images = file
            .images
            .into_iter()
            .map(|(service, image)| Ok((service.parse()?, image)))
            .collect::<Result<_, InvalidName>>()?;
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

mod milliseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> BuildReport {
        let image = |reference: &str, id: Option<&str>, outcome| BuiltImage {
            reference: reference.into(),
            id: id.map(str::to_owned),
            outcome,
            elapsed: Duration::from_millis(12),
        };
        BuildReport {
            images: [
                ("a", image("s/a:1", Some("sha256:1"), BuildOutcome::Built)),
                ("b", image("s/b:1", Some("sha256:2"), BuildOutcome::Cached)),
                ("c", image("redis:7", None, BuildOutcome::External)),
            ]
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
            serde_json::json!({"reference": "s/a:1", "id": "sha256:1", "outcome": "built", "milliseconds": 12})
        );
    }

    #[test]
    fn other_files_are_refused() {
        for (text, expected) in [
            ("{}", "it is not what `stackctl build --images` writes"),
            (
                r#"{"version": 2, "pictures": []}"#,
                "its format has version 2, but this stackctl knows version 1",
            ),
            (
                r#"{"version": 1, "images": {"A": {"reference": "a", "outcome": "built", "milliseconds": 1}}}"#,
                "`A` is not a valid service name: only a-z, 0-9 and - may stand in it",
            ),
        ] {
            assert_eq!(
                BuildReport::from_json(text).unwrap_err().to_string(),
                expected
            );
        }
    }
}
