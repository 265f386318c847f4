//! The image configuration (OCI image spec, `config.md`; Docker 20.10 reads the same).

mod file;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{Digest, Platform};

pub use file::{ConfigFile, InvalidConfig};

/// How a container of the image runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunConfig {
    /// `UID:GID`, numeric, so that Kubernetes can check `runAsNonRoot`.
    pub user: String,
    /// Program and fixed arguments.
    pub entrypoint: Vec<String>,
    /// Arguments that who starts the container may replace; the program, where there is no entrypoint.
    pub cmd: Vec<String>,
    /// Environment variables.
    pub env: BTreeMap<String, String>,
    /// Such as `org.opencontainers.image.title`.
    pub labels: BTreeMap<String, String>,
    /// Where the program starts; empty: `/`.
    pub working_dir: String,
    /// What asks the program to end, such as `SIGINT`; empty: `SIGTERM`.
    pub stop_signal: String,
    /// `PORT/PROTOCOL`, for information.
    pub exposed_ports: BTreeSet<String>,
    /// Folders that are to lie on volumes.
    pub volumes: BTreeSet<String>,
}

/// A step in the making of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// When, as RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Who.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// It changed the configuration only.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

/// Everything about an image but its layers' content. The same value gives the same bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageConfig {
    /// What it runs on.
    pub platform: Platform,
    /// Seconds since 1970.
    pub created: u64,
    /// How it runs.
    pub run: RunConfig,
}

impl ImageConfig {
    /// The JSON document for an image of these layers: (digest of the uncompressed tar, what made it).
    #[must_use]
    pub fn to_json(&self, layers: &[(Digest, &str)]) -> Vec<u8> {
        self.document(&[], &[], layers)
    }

    /// The JSON document for an image of these layers on those of `base`. What of the base's run configuration is to
    /// hold here too is in `self` already.
    #[must_use]
    pub fn to_json_on(&self, base: &ConfigFile, layers: &[(Digest, &str)]) -> Vec<u8> {
        self.document(&base.diff_ids, &base.history, layers)
    }

    fn document(
        &self,
        base_layers: &[Digest],
        base_history: &[History],
        layers: &[(Digest, &str)],
    ) -> Vec<u8> {
        let created = rfc3339(self.created);
        let own_history = layers.iter().map(|(_, created_by)| History {
            created: Some(created.clone()),
            created_by: Some((*created_by).to_owned()),
            ..History::default()
        });
        let own_layers = layers.iter().map(|(diff_id, _)| *diff_id);
        let document = Document {
            architecture: &self.platform.architecture,
            config: Run::from(&self.run),
            created: &created,
            history: base_history.iter().cloned().chain(own_history).collect(),
            os: &self.platform.os,
            rootfs: RootFs {
                diff_ids: base_layers.iter().copied().chain(own_layers).collect(),
                kind: "layers",
            },
            variant: self.platform.variant.as_deref(),
        };
        serde_json::to_vec(&document).expect("strings, lists and maps with string keys")
    }
}

#[derive(Serialize)]
struct Document<'a> {
    architecture: &'a str,
    config: Run<'a>,
    created: &'a str,
    history: Vec<History>,
    os: &'a str,
    rootfs: RootFs,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Run<'a> {
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    cmd: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    entrypoint: &'a [String],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    env: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    exposed_ports: BTreeMap<&'a str, Nothing>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    stop_signal: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    user: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    volumes: BTreeMap<&'a str, Nothing>,
    #[serde(skip_serializing_if = "str::is_empty")]
    working_dir: &'a str,
}

/// Sets are objects with empty values, as Go writes `map[string]struct{}`.
#[derive(Serialize)]
struct Nothing {}

impl<'a> From<&'a RunConfig> for Run<'a> {
    fn from(run: &'a RunConfig) -> Self {
        Self {
            cmd: &run.cmd,
            entrypoint: &run.entrypoint,
            env: run
                .env
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
            exposed_ports: as_object(&run.exposed_ports),
            labels: &run.labels,
            stop_signal: &run.stop_signal,
            user: &run.user,
            volumes: as_object(&run.volumes),
            working_dir: &run.working_dir,
        }
    }
}

fn as_object(set: &BTreeSet<String>) -> BTreeMap<&str, Nothing> {
    set.iter().map(|name| (name.as_str(), Nothing {})).collect()
}

#[derive(Serialize)]
struct RootFs {
    diff_ids: Vec<Digest>,
    #[serde(rename = "type")]
    kind: &'static str,
}

/// `YYYY-MM-DDTHH:MM:SSZ` (RFC 3339); the days-to-date step is Howard Hinnant's `civil_from_days`.
fn rfc3339(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468; // days since 0000-03-01
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_709_251_200, "2024-03-01T00:00:00Z"),
            (4_102_444_800, "2100-01-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(seconds), text);
        }
    }

    #[test]
    fn the_document_is_the_one_of_the_specification() {
        let config = ImageConfig {
            platform: Platform::linux("amd64"),
            created: 0,
            run: RunConfig {
                user: "65532:65532".into(),
                entrypoint: vec!["/birthday".into()],
                env: [("A".into(), "b=c".into())].into(),
                labels: [("org.opencontainers.image.title".into(), "birthday".into())].into(),
                ..RunConfig::default()
            },
        };
        let json: serde_json::Value =
            serde_json::from_slice(&config.to_json(&[(Digest::of(b""), "stackctl")])).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "architecture": "amd64",
                "os": "linux",
                "created": "1970-01-01T00:00:00Z",
                "config": {
                    "User": "65532:65532",
                    "Entrypoint": ["/birthday"],
                    "Env": ["A=b=c"],
                    "Labels": {"org.opencontainers.image.title": "birthday"},
                },
                "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "stackctl"}],
                "rootfs": {
                    "type": "layers",
                    "diff_ids": ["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"],
                },
            })
        );
    }

    #[test]
    fn an_image_on_another_has_its_layers_first_and_reads_back() {
        let base = ConfigFile::parse(
            br#"{"architecture":"arm64","os":"linux","created":"2024-01-01T00:00:00Z",
                "history":[{"created_by":"ADD /"},{"created_by":"ENV A","empty_layer":true}],
                "rootfs":{"type":"layers",
                "diff_ids":["sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"]}}"#,
        )
        .unwrap();
        let config = ImageConfig {
            platform: "linux/arm64/v8".parse().unwrap(),
            created: 1,
            run: RunConfig {
                cmd: vec!["serve".into()],
                stop_signal: "SIGINT".into(),
                exposed_ports: ["8080/tcp".into()].into(),
                volumes: ["/data".into()].into(),
                working_dir: "/srv".into(),
                ..RunConfig::default()
            },
        };
        let bytes = config.to_json_on(&base, &[(Digest::of(b""), "stackctl")]);
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(
            text.contains(concat!(
                r#""config":{"Cmd":["serve"],"ExposedPorts":{"8080/tcp":{}},"StopSignal":"SIGINT","#,
                r#""Volumes":{"/data":{}},"WorkingDir":"/srv"}"#
            )),
            "{text}"
        );
        let read = ConfigFile::parse(&bytes).unwrap();
        assert_eq!(read.diff_ids, [Digest::of(b"abc"), Digest::of(b"")]);
        let steps: Vec<_> = read
            .history
            .iter()
            .map(|step| (step.created_by.as_deref(), step.empty_layer))
            .collect();
        assert_eq!(
            steps,
            [
                (Some("ADD /"), false),
                (Some("ENV A"), true),
                (Some("stackctl"), false)
            ]
        );
        assert_eq!(read.run, config.run);
        assert_eq!(read.platform, config.platform);
    }
}
