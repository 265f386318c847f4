//! Grafana's dashboards: JSON whose expressions are valid and name what there is.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use gateway::Gateway;
use serde_json::Value;

use crate::names::{exists, named, rules};
use crate::promtool::promtool;

const PROVISIONING: &str = "../templates/grafana/provisioning.yaml.hbs";

/// The dashboards by file name, out of the block scalars of the ConfigMap.
fn dashboards() -> Vec<(String, Value)> {
    let text = crate::read(PROVISIONING);
    let mut files: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_suffix(": |") {
            files.push((name.trim().to_owned(), String::new()));
        } else if let (Some(line), Some((_, text))) = (line.strip_prefix("    "), files.last_mut())
        {
            text.push_str(line);
            text.push('\n');
        }
    }
    let json = files
        .into_iter()
        .filter(|(name, _)| name.ends_with(".json"));
    json.map(|(name, text)| {
        let value = serde_json::from_str(&text);
        let value = value.unwrap_or_else(|error| panic!("{name}: {error}\n{text}"));
        (name, value)
    })
    .collect()
}

fn panels(dashboard: &Value) -> &[Value] {
    dashboard["panels"].as_array().unwrap()
}

fn expressions(panel: &Value) -> Vec<&str> {
    let targets = panel["targets"].as_array().unwrap();
    targets
        .iter()
        .map(|target| target["expr"].as_str().unwrap())
        .collect()
}

#[test]
fn they_are_what_grafana_reads() {
    let dashboards = dashboards();
    let names: Vec<&str> = dashboards.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["services.json", "gateway.json", "data.json"]);
    let deployment = crate::read("../templates/grafana/deployment.yaml.hbs");
    for (name, dashboard) in &dashboards {
        assert!(
            deployment.contains(&format!("path: json/{name}")),
            "{name} is mounted"
        );
        assert!(dashboard["title"].is_string() && dashboard["uid"].is_string());
        let mut ids = BTreeSet::new();
        let mut places = BTreeSet::new();
        for panel in panels(dashboard) {
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
            assert!(places.insert(panel["gridPos"].to_string()), "{panel}");
            assert_eq!(panel["datasource"]["uid"], "prometheus", "{panel}");
            assert!(panel["title"].is_string() && !expressions(panel).is_empty());
        }
    }
    let provisioning = crate::read(PROVISIONING);
    assert!(provisioning.contains("uid: prometheus\n"));
}

/// As rules, so that Prometheus itself parses them.
#[test]
fn their_expressions_are_valid() {
    let mut text = "groups:\n  - name: panels\n    rules:\n".to_owned();
    let mut count = 0;
    for (_, dashboard) in &dashboards() {
        for expression in panels(dashboard).iter().flat_map(expressions) {
            count += 1;
            let quoted = Value::from(expression);
            writeln!(
                text,
                "      - {{ record: 'panel:{count}', expr: {quoted} }}"
            )
            .unwrap();
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("panels.yml");
    fs::write(&file, text).unwrap();
    let Some((good, said)) = promtool(&["check", "rules", file.to_str().unwrap()]) else {
        return;
    };
    let expected = format!("{count} rules found");
    assert!(good && said.contains(&expected) && count > 15, "{said}");
}

#[tokio::test]
async fn rules_and_dashboards_name_metrics_that_there_are() {
    let Some(gateway) = Gateway::start(&[]).await else {
        return;
    };
    gateway.client().get("/", &[]).await;
    let haproxy = gateway.internal().get("/metrics", &[]).await;
    let haproxy = String::from_utf8_lossy(&haproxy.body).into_owned();
    let rules = rules();
    let dashboards = dashboards();
    let panels = dashboards
        .iter()
        .flat_map(|(_, dashboard)| panels(dashboard));
    let expressions = panels.flat_map(expressions);
    let all = expressions.chain(rules.iter().map(|(_, expression)| expression.as_str()));
    let unknown: BTreeSet<String> = all
        .flat_map(named)
        .filter(|metric| !exists(metric, &haproxy))
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    assert!(!exists("haproxy_nothing", &haproxy) && !exists("hits_nothing_total", &haproxy));
}
