//! Configurations of images, ours and those of others, read.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer};

use super::{History, RunConfig};
use crate::{Digest, Platform};

/// What the configuration of an image says, as far as it matters here. What is not here is ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFile {
    /// What it runs on.
    pub platform: Platform,
    /// When it was made, as it is written (RFC 3339).
    pub created: Option<String>,
    /// The digests of the uncompressed layers, the first at the bottom.
    pub diff_ids: Vec<Digest>,
    /// What made it, step by step; steps without a layer are in it.
    pub history: Vec<History>,
    /// How it runs.
    pub run: RunConfig,
}

/// Why a document is no configuration.
#[derive(Debug, thiserror::Error)]
#[error("not the document the image specification describes")]
pub struct InvalidConfig(#[from] serde_json::Error);

impl ConfigFile {
    /// Reads what the specification allows, and the `null`s Docker writes where it says nothing.
    pub fn parse(json: &[u8]) -> Result<Self, InvalidConfig> {
        let document: Document = serde_json::from_slice(json)?;
        Ok(Self {
            platform: Platform {
                architecture: document.architecture,
                os: document.os,
                variant: document.variant.filter(|variant| !variant.is_empty()),
            },
            created: document.created,
            diff_ids: document.rootfs.diff_ids,
            history: document.history,
            run: document.config.into(),
        })
    }
}

#[derive(Deserialize)]
struct Document {
    architecture: String,
    os: String,
    #[serde(default)]
    variant: Option<String>,
    #[serde(default)]
    created: Option<String>,
    #[serde(default, deserialize_with = "or_null")]
    config: Run,
    #[serde(default, deserialize_with = "or_null")]
    history: Vec<History>,
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(default, deserialize_with = "or_null")]
    diff_ids: Vec<Digest>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Run {
    #[serde(deserialize_with = "or_null")]
    cmd: Vec<String>,
    #[serde(deserialize_with = "or_null")]
    entrypoint: Vec<String>,
    #[serde(deserialize_with = "or_null")]
    env: Vec<String>,
    #[serde(deserialize_with = "or_null")]
    exposed_ports: BTreeMap<String, serde::de::IgnoredAny>,
    #[serde(deserialize_with = "or_null")]
    labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_null")]
    stop_signal: String,
    #[serde(deserialize_with = "or_null")]
    user: String,
    #[serde(deserialize_with = "or_null")]
    volumes: BTreeMap<String, serde::de::IgnoredAny>,
    #[serde(deserialize_with = "or_null")]
    working_dir: String,
}

impl From<Run> for RunConfig {
    fn from(run: Run) -> Self {
        // A variable without a value is legal in none of the engines, but has been seen.
        let variable = |entry: String| match entry.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (entry, String::new()),
        };
        Self {
            user: run.user,
            entrypoint: run.entrypoint,
            cmd: run.cmd,
            env: run.env.into_iter().map(variable).collect(),
            labels: run.labels,
            working_dir: run.working_dir,
            stop_signal: run.stop_signal,
            exposed_ports: names(run.exposed_ports),
            volumes: names(run.volumes),
        }
    }
}

fn names(map: BTreeMap<String, serde::de::IgnoredAny>) -> BTreeSet<String> {
    map.into_keys().collect()
}

fn or_null<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_docker_writes_is_read() {
        let text = br#"{
            "architecture": "arm", "variant": "v7", "os": "linux", "docker_version": "20.10.24",
            "config": {
                "Hostname": "", "AttachStdin": false, "User": "999", "Cmd": ["redis-server"], "Entrypoint": null,
                "Env": ["PATH=/usr/bin:/bin", "A=b=c", "BARE"], "ExposedPorts": {"6379/tcp": {}},
                "Volumes": {"/data": {}}, "WorkingDir": "/data", "Labels": null, "StopSignal": "SIGINT",
                "OnBuild": null
            },
            "container_config": {"Cmd": ["ignored"]},
            "created": "2024-01-02T03:04:05.678Z",
            "history": [
                {"created": "2024-01-02T03:04:05.678Z", "created_by": "ADD rootfs /"},
                {"created_by": "CMD [\"redis-server\"]", "empty_layer": true, "comment": "buildkit"}
            ],
            "rootfs": {"type": "layers",
                "diff_ids": ["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]}
        }"#;
        let config = ConfigFile::parse(text).unwrap();
        assert_eq!(config.platform.to_string(), "linux/arm/v7");
        assert_eq!(config.diff_ids, [Digest::of(b"")]);
        assert_eq!(config.history.len(), 2);
        assert!(config.history[1].empty_layer);
        assert_eq!(
            config.run,
            RunConfig {
                user: "999".into(),
                cmd: vec!["redis-server".into()],
                env: [
                    ("PATH".into(), "/usr/bin:/bin".into()),
                    ("A".into(), "b=c".into()),
                    ("BARE".into(), String::new()),
                ]
                .into(),
                working_dir: "/data".into(),
                stop_signal: "SIGINT".into(),
                exposed_ports: ["6379/tcp".into()].into(),
                volumes: ["/data".into()].into(),
                ..RunConfig::default()
            }
        );
    }

    #[test]
    fn the_least_there_can_be() {
        let config = ConfigFile::parse(
            br#"{"architecture":"amd64","os":"linux","config":null,"rootfs":{"type":"layers","diff_ids":null}}"#,
        )
        .unwrap();
        assert_eq!(config.run, RunConfig::default());
        for bad in ["", "[]", "{}", r#"{"architecture":"amd64","os":"linux"}"#] {
            assert!(ConfigFile::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(
            ConfigFile::parse(
                br#"{"architecture":"amd64","os":"linux","rootfs":{"diff_ids":["md5:1"]}}"#
            )
            .is_err()
        );
    }
}
