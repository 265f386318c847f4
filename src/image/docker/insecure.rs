//! Registries that the Docker engine of this machine trusts as they are, whatever certificate they show and without
//! TLS, too: who told Docker need not tell us.

use std::fs;
use std::path::PathBuf;

use serde::Deserialize;

/// Docker's own file, and the one of Docker Desktop.
fn files() -> Vec<PathBuf> {
    let mut files = vec![PathBuf::from("/etc/docker/daemon.json")];
    if let Some(home) = std::env::home_dir() {
        files.push(home.join(".config/docker/daemon.json"));
        files.push(home.join(".docker/daemon.json"));
    }
    files
}

/// All that are configured; a file that cannot be read says nothing.
pub(super) fn insecure_registries() -> Vec<String> {
    let read = |file: PathBuf| fs::read_to_string(file).ok();
    let texts = files().into_iter().filter_map(read);
    texts.flat_map(|text| listed(&text)).collect()
}

/// `insecure-registries` without the networks, which name no host.
fn listed(daemon_json: &str) -> Vec<String> {
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "kebab-case")]
    struct File {
        insecure_registries: Vec<String>,
    }
    let file: File = serde_json::from_str(daemon_json).unwrap_or_default();
    let hosts = file.insecure_registries.into_iter();
    hosts
        .map(|host| match host.split_once("://") {
            Some((_, host)) => host.to_owned(),
            None => host,
        })
        .filter(|host| !host.contains('/'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_off_dockers_file() {
        let text = r#"{"debug": true, "insecure-registries":
            ["r.example.com:5000", "10.0.0.0/8", "http://old.example.com", "https://new.example.com"]}"#;
        assert_eq!(
            listed(text),
            ["r.example.com:5000", "old.example.com", "new.example.com"]
        );
        for text in ["", "{}", "{\"insecure-registries\": 1}"] {
            assert!(listed(text).is_empty(), "{text}");
        }
    }
}
