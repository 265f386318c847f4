//! Configuration and rules, checked by `promtool`.

use std::path::Path;
use std::process::Command;

use service_kit::testing::find;

use crate::CONFIG;

/// Runs it; none where the test is to be skipped.
pub(crate) fn promtool(args: &[&str]) -> Option<(bool, String)> {
    let program = find(&["/usr/bin/promtool"], "prometheus")?;
    let output = Command::new(program).args(args).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    Some((
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    ))
}

#[test]
fn the_configuration_is_one() {
    let config = format!("{CONFIG}/prometheus.yml");
    let Some((good, said)) = promtool(&["check", "config", &config]) else {
        return;
    };
    assert!(good && said.contains("2 rule files found"), "{said}");
}

#[test]
fn rules_do_what_they_are_meant_to() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules.yml");
    let Some((good, said)) = promtool(&["test", "rules", tests.to_str().unwrap()]) else {
        return;
    };
    assert!(good, "{said}");
}

#[test]
fn every_alert_and_every_recorded_series_is_tested() {
    let tests = crate::read("prometheus/tests/rules.yml");
    let rules = crate::read("prometheus/rootfs/etc/prometheus/rules/alerts.yml")
        + &crate::read("prometheus/rootfs/etc/prometheus/rules/recorded.yml");
    let names = rules.lines().filter_map(|line| {
        let line = line.trim_start().trim_start_matches("- ");
        let name = line.strip_prefix("alert: ");
        name.or_else(|| line.strip_prefix("record: "))
    });
    let untested: Vec<&str> = names.filter(|name| !tests.contains(name)).collect();
    assert!(untested.is_empty(), "{untested:?}");
}
