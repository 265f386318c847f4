//! Which metrics expressions name, and which there are.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;

use crate::SERVICES;

/// Metrics that Prometheus makes itself.
const OWN: [&str; 2] = ["up", "ALERTS"];
/// The template whose rules record what the environment has.
pub(crate) const WANTED: &str = "../templates/prometheus/wanted.yaml.hbs";

/// The names of metrics in an expression, recorded ones included.
pub(crate) fn named(expression: &str) -> BTreeSet<String> {
    static QUOTED: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#""[^"]*""#).unwrap());
    static LABELS: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\{[^}]*\}|\[[^]]*\]|\b(by|without|on)\s*\([^)]*\)").unwrap());
    static NAME: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"[a-zA-Z_][a-zA-Z0-9_:]*\s*\(?").unwrap());
    const WORDS: [&str; 3] = ["and", "or", "unless"];
    let plain = QUOTED.replace_all(expression, "");
    let plain = LABELS.replace_all(&plain, " ");
    NAME.find_iter(&plain)
        .map(|found| found.as_str().trim_end())
        .filter(|name| !name.ends_with('(') && !WORDS.contains(name))
        .map(str::to_owned)
        .collect()
}

/// Every expression of the rules, by the name that it gets.
pub(crate) fn rules() -> Vec<(String, String)> {
    let mut rules: Vec<(String, String)> = Vec::new();
    let mut open = None;
    for file in ["recorded", "alerts"] {
        let path = format!("prometheus/rootfs/etc/prometheus/rules/{file}.yml");
        for line in crate::read(&path).lines() {
            let text = line.trim_start();
            let indent = line.len() - text.len();
            let item = text.trim_start_matches("- ");
            if let Some(name) = item
                .strip_prefix("record: ")
                .or(item.strip_prefix("alert: "))
            {
                rules.push((name.to_owned(), String::new()));
            }
            let rule = rules.last_mut();
            if let (Some(rule), Some(expression)) = (rule, item.strip_prefix("expr: ")) {
                rule.1 = expression.trim_start_matches('|').to_owned();
                open = Some(indent);
            } else if open.is_some_and(|expression| indent > expression) {
                let rule = rules.last_mut().unwrap();
                rule.1.push(' ');
                rule.1.push_str(text);
            } else {
                open = None;
            }
        }
    }
    rules
}

/// Whether a metric exists: `haproxy` is what HAProxy shows, the others stand in the source of a service that registers
/// them.
pub(crate) fn exists(metric: &str, haproxy: &str) -> bool {
    let recorded = rules().iter().any(|(name, _)| name == metric);
    let recorded = recorded || crate::read(WANTED).contains(&format!("record: \"{metric}\""));
    if recorded || OWN.contains(&metric) {
        return true;
    }
    if metric.starts_with("haproxy_") {
        return haproxy.lines().any(|line| {
            line.strip_prefix(metric)
                .is_some_and(|rest| rest.starts_with([' ', '{']))
        });
    }
    // What the client library adds.
    let endings = ["_total", "_bucket", "_count", "_sum"];
    let stem = endings
        .iter()
        .find_map(|ending| metric.strip_suffix(ending));
    let literal = format!("\"{}\"", stem.unwrap_or(metric));
    sources().iter().any(|text| text.contains(&literal))
}

/// The Rust sources of all services.
fn sources() -> &'static [String] {
    static SOURCES: LazyLock<Vec<String>> = LazyLock::new(|| {
        let mut texts = Vec::new();
        for service in fs::read_dir(SERVICES).unwrap().flatten() {
            collect(&service.path().join("src"), &mut texts);
        }
        assert!(texts.len() > 30, "{} sources", texts.len());
        texts
    });
    &SOURCES
}

fn collect(folder: &Path, texts: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match path.extension() {
            _ if path.is_dir() => collect(&path, texts),
            Some(extension) if extension == "rs" => texts.push(fs::read_to_string(&path).unwrap()),
            _ => {}
        }
    }
}

#[test]
fn names_are_found_in_expressions() {
    let found = named(
        r#"sum by (service, le) (rate(a_bucket{path!~"/b|/c", d="e f"}[5m])) / (x:y > 0) or 0 * z and on(q) w"#,
    );
    let found: Vec<&str> = found.iter().map(String::as_str).collect();
    assert_eq!(found, ["a_bucket", "w", "x:y", "z"]);
}

#[test]
fn rules_are_read_with_their_expressions() {
    let rules = rules();
    let expression = |name: &str| {
        let found = rules.iter().find(|(rule, _)| rule == name);
        found.map(|(_, expression)| expression.trim().to_owned())
    };
    assert_eq!(expression("PodDown").as_deref(), Some("up == 0"));
    let errors = expression("gateway:errors:ratio5m").unwrap();
    assert!(
        errors.ends_with("/ (gateway:requests:rate5m > 0)"),
        "{errors}"
    );
    assert!(rules.iter().all(|(_, expression)| !expression.is_empty()));
    assert_eq!(rules.len(), 16);
}
