//! Whatever a value is, it is a value.

use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
use serde_json::json;

use super::super::source::Source;
use super::super::strict;
use super::super::testing::{CONFIG_MAP, data, objects, service};
use crate::secret;

const NASTY: &[&str] = &[
    "",
    " ",
    "~",
    "null",
    "true",
    "yes",
    "0644",
    "1.5",
    "-",
    "- a",
    "a: b",
    "a:",
    ": a",
    "#",
    "a #b",
    "'",
    "\"",
    "\\",
    "*x",
    "&x",
    "!x",
    "!!str 1",
    "%YAML 1.2",
    "---",
    "...",
    "--- a",
    "[",
    "]",
    "{",
    "}",
    "{}",
    "[]",
    "{a: b}",
    ",",
    "?",
    "? a",
    "|",
    ">",
    "|-",
    "@a",
    "`a`",
    "<<",
    "=",
    "{{x}}",
    "{{{x}}}",
    "\\{{x}}",
    "${x}",
    "$(x)",
    "\u{2028}",
    "\u{feff}",
    "é",
    "🦀",
    " a ",
    "a  b",
    "12:30",
    "0x1F",
    "1_000",
    ".inf",
    "\u{a0}",
    "\u{fffd}",
];

/// The data of a ConfigMap for a service whose `values.v` is `value`.
fn with_value(value: &str, fields: &str) -> serde_json::Value {
    let quoted = serde_json::to_string(value).unwrap();
    let web = service("web", &format!("values: {{ v: {quoted} }}"));
    let mut objects = objects(web, &format!("{CONFIG_MAP}{fields}"))
        .unwrap_or_else(|problems| panic!("{value:?}: {problems:#?}"));
    assert_eq!(objects.len(), 1, "{value:?} made another document");
    objects.remove(0).value["data"].take()
}

const EVERYWHERE: &str = "  plain: {{values.v}}
  quoted: \"<{{values.v}}>\"
  single: '{{values.v}}'
  part: x{{values.v}}y
  flow: [{{values.v}}, { k: {{values.v}} }]
  list:
    - {{values.v}}
  block: |
    {{values.v}}
  json: {{json values.v}}
  end: 1
";

fn expected(value: &str) -> serde_json::Value {
    json!({
        "plain": value,
        "quoted": format!("<{value}>"),
        "single": value,
        "part": format!("x{value}y"),
        "flow": [value, {"k": value}],
        "list": [value],
        "block": format!("{value}\n"),
        "json": json!(value).to_string(),
        "end": 1,
    })
}

#[test]
fn text_that_looks_like_yaml_stays_text() {
    for value in NASTY {
        assert_eq!(with_value(value, EVERYWHERE), expected(value), "{value:?}");
    }
}

#[test]
fn text_that_looks_like_yaml_can_be_a_key() {
    for value in NASTY {
        let data = with_value(value, "  {{values.v}}: 1\n");
        assert_eq!(data, json!({ *value: 1 }), "{value:?}");
    }
}

proptest! {
    #[test]
    fn any_text_stays_text(value in "\\PC{0,40}") {
        // Private characters of ours cannot come in: they are refused where YAML is read.
        if !value.chars().any(|c| secret::RESERVED.contains(&c) || c.is_control()) {
            prop_assert_eq!(with_value(&value, EVERYWHERE), expected(&value));
        }
    }

    #[test]
    fn any_lines_stay_text(value in "([a-z:#\\-'\"{}\\[\\]&*!|> ]{0,12}\n){0,4}[a-z: ]{0,5}") {
        let fields = "  plain: {{values.v}}\n  block: |\n    a\n    {{values.v}}\n    z\n";
        let expected = json!({"plain": value, "block": format!("a\n{value}\nz\n")});
        prop_assert_eq!(with_value(&value, fields), expected);
    }

    #[test]
    fn integers_and_booleans_stay_typed(number in any::<i64>(), flag in any::<bool>()) {
        let values = format!("  i: {number}\n  b: {flag}\n");
        let found = data(&values, "  i: {{values.i}}\n  b: {{values.b}}\n  t: '{{values.i}}'\n").unwrap();
        prop_assert_eq!(found, json!({"i": number, "b": flag, "t": number.to_string()}));
    }

    #[test]
    fn no_template_panics(text in "([a-z.\\\\\n -]|\\{\\{|\\}\\}|\\{\\{#if a\\}\\}|\\{\\{else\\}\\}|\\{\\{else if b\\}\\}|\\{\\{/if\\}\\}|\\{\\{~|~\\}\\}|\\{\\{> p\\}\\}|[(){}#/^&*>\"'=|\\[\\]@é]){0,24}") {
        let file = crate::diagnostic::SourceFile::new("t.hbs", text.clone());
        let compiled = strict::compile(Source::file(&file));
        if let Err(problems) = &compiled {
            prop_assert!(!problems.is_empty());
            prop_assert!(problems.iter().all(|problem| !problem.labels.is_empty()), "{problems:?}");
        }
        let web = service("web", "values: { a: 1 }");
        let _ = objects(web, &format!("{CONFIG_MAP}  x: |\n    {text}\n"));
    }

    #[test]
    fn literal_text_is_taken_over_unchanged(text in "[a-z\\\\ {}é]{0,10}(\n    [a-z\\\\ {}]{1,10}){0,3}") {
        // Compared with Handlebars' own output for templates without any value.
        if let Ok(theirs) = handlebars::Handlebars::new().render_template(&text, &json!({})) {
            let file = crate::diagnostic::SourceFile::new("t.hbs", text.clone());
            if let Ok(template) = strict::compile(Source::file(&file)) {
                let context = super::super::value::Value::map::<String>([]);
                let partials = std::collections::BTreeMap::new();
                if let Ok(ours) = super::super::engine::render(&template, &context, &partials) {
                    prop_assert_eq!(ours.text(), theirs.as_str());
                }
            }
        }
    }
}
