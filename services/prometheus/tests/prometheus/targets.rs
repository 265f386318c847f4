//! Who is watched: every service that has metrics, found by the name that its Service has.

use std::collections::BTreeSet;
use std::fs;

use crate::SERVICES;

/// What prometheus.yml looks for, as `SERVICE: PORT`.
fn looked_for() -> BTreeSet<String> {
    let config = crate::read("prometheus/rootfs/etc/prometheus/prometheus.yml");
    let names = config
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- _"));
    names
        .map(|name| {
            let (port, service) = name.split_once("._tcp.prometheus-").unwrap();
            format!("{service}: {port}")
        })
        .collect()
}

#[test]
fn each_name_has_a_service_behind_it() {
    let service = crate::read("prometheus/service.yaml");
    let targets = service.split("  targets:\n").nth(1).unwrap();
    let targets: BTreeSet<String> = targets
        .lines()
        .map_while(|line| line.strip_prefix("    ").map(str::to_owned))
        .collect();
    assert_eq!(targets, looked_for());
}

#[test]
fn every_service_with_metrics_is_watched() {
    let watched = looked_for();
    for entry in fs::read_dir(SERVICES).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        let file = entry.path().join("service.yaml");
        let Ok(text) = fs::read_to_string(file) else {
            continue;
        };
        if text.contains("build: { cargo:") {
            assert!(watched.contains(&format!("{name}: http")), "{name}");
        }
    }
    assert!(watched.contains("gateway: metrics"));
}
