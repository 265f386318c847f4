//! How values get into YAML: typed, as text, as keys, or not at all.

use serde_json::{Value as Json, json};

use super::super::testing::data;

const VALUES: &str = r#"  text: "a: b # c"
  number: 7
  big: 18446744073709551615
  float: 1.5
  flag: true
  nothing: null
  list: [1, "2", { three: [4] }]
  map: { b: "yes", a: 0 }
  lines: "one\ntwo: 2\n"
  bell: "\u0007"
  tab: "a\tb"
  merge: "<<"
  key: dynamic
  inner: { x: 1 }
"#;

fn field(fields: &str) -> Json {
    data(VALUES, fields).unwrap_or_else(|problems| panic!("{fields}: {problems:#?}"))
}

fn refused(fields: &str) -> (String, String, Vec<String>) {
    let mut problems = data(VALUES, fields).expect_err(fields);
    assert_eq!(problems.len(), 1, "{fields}: {problems:#?}");
    let problem = problems.remove(0);
    (problem.code.to_string(), problem.message, problem.hints)
}

#[test]
fn a_plain_scalar_that_is_one_value_keeps_its_type() {
    for (expression, expected) in [
        ("values.text", json!("a: b # c")),
        ("values.number", json!(7)),
        ("values.big", json!(u64::MAX)),
        ("values.float", json!(1.5)),
        ("values.flag", json!(true)),
        ("values.nothing", json!(null)),
        ("values.list", json!([1, "2", {"three": [4]}])),
        ("values.map", json!({"a": 0, "b": "yes"})),
        ("values.lines", json!("one\ntwo: 2\n")),
        ("values.bell", json!("\u{7}")),
        ("json values.map", json!(r#"{"a":0,"b":"yes"}"#)),
        ("len values.list", json!(3)),
        ("gt values.number 6", json!(true)),
    ] {
        assert_eq!(
            field(&format!("  a: {{{{{expression}}}}}\n")),
            json!({"a": expected}),
            "{expression}"
        );
        assert_eq!(
            field(&format!("  a: [{{{{{expression}}}}}] # x\n")),
            json!({"a": [expected]}),
            "{expression}"
        );
        assert_eq!(
            field(&format!("  - {{{{{expression}}}}}\n")),
            json!([expected]),
            "{expression}"
        );
    }
}

#[test]
fn anywhere_else_a_value_becomes_text() {
    for (yaml, expected) in [
        ("\"{{values.number}}\"", "7"),
        ("'{{values.flag}}'", "true"),
        ("x{{values.number}}", "x7"),
        ("0{{values.number}}", "07"),
        ("{{values.number}}{{values.number}}", "77"),
        ("{{values.text}}: {{values.number}}x", ""),
        ("\"\\\"{{values.text}}\\\"\"", "\"a: b # c\""),
        ("'it''s {{values.text}}'", "it's a: b # c"),
        ("|\n    {{values.lines}}\n    end", "one\ntwo: 2\n\nend\n"),
        ("|-\n    {{values.number}}", "7"),
        (">\n    a\n    {{values.text}}", "a a: b # c\n"),
        (
            "http://{{values.text}}/{{urlencode values.text}}",
            "http://a: b # c/a%3A%20b%20%23%20c",
        ),
    ] {
        if expected.is_empty() {
            assert_eq!(
                refused(&format!("  a: {yaml}\n")).0,
                "S0101",
                "a mapping inside a value"
            );
            continue;
        }
        assert_eq!(
            field(&format!("  a: {yaml}\n")),
            json!({"a": expected}),
            "{yaml}"
        );
    }
}

#[test]
fn what_has_no_text_is_refused_with_the_remedy() {
    for (yaml, message, remedy) in [
        (
            "\"{{values.list}}\"",
            "a list cannot stand inside text",
            "`{{json values.list}}`",
        ),
        (
            "x{{values.map}}",
            "a map cannot stand inside text",
            "`{{json values.map}}`",
        ),
        (
            "\"{{values.nothing}}\"",
            "null cannot stand inside text",
            "`{{json values.nothing}}`",
        ),
        (
            "\"{{values.float}}\"",
            "a float cannot stand inside text",
            "`{{json values.float}}`",
        ),
        (
            "\"{{values.bell}}\"",
            "text with control characters cannot",
            "`{{json values.bell}}`",
        ),
        (
            "|\n    {{values.bell}}",
            "text with control characters cannot",
            "`{{json values.bell}}`",
        ),
        (
            "|\n    {{values.tab}}",
            "text with control characters cannot",
            "`{{json values.tab}}`",
        ),
        (
            "\"{{values.lines}}\"",
            "text of several lines cannot",
            "`{{json values.lines}}`",
        ),
        (
            "x {{values.lines}}",
            "text of several lines cannot",
            "`{{json values.lines}}`",
        ),
        (
            "\"{{default values.nothing values.list}}\"",
            "a list cannot stand",
            "`{{json (default values.nothing values.list)}}`",
        ),
    ] {
        let (code, text, hints) = refused(&format!("  a: {yaml}\n"));
        assert_eq!(code, "S0212", "{yaml}");
        assert!(text.starts_with(message), "{yaml}: {text}");
        assert!(hints[0].starts_with(remedy), "{yaml}: {hints:?}");
    }
    let quoted = refused("  a: \"{{values.list}}\"\n").2;
    assert!(quoted[1].contains("without quotes"), "{quoted:?}");
    assert_eq!(
        field("  a: \"{{json values.list}}\"\n"),
        json!({"a": "[1,\"2\",{\"three\":[4]}]"})
    );
    assert_eq!(
        field("  a: \"{{json values.float}}\"\n"),
        json!({"a": "1.5"})
    );
}

#[test]
fn keys_take_text_integers_and_booleans() {
    for (yaml, expected) in [
        ("{{values.key}}: 1", json!({"dynamic": 1})),
        ("{{values.text}}: 1", json!({"a: b # c": 1})),
        ("{{values.number}}: 1", json!({"7": 1})),
        ("{{values.flag}}: 1", json!({"true": 1})),
        ("\"{{values.key}}/x\": 1", json!({"dynamic/x": 1})),
        ("x-{{values.number}}: 1", json!({"x-7": 1})),
        ("{{values.merge}}: { x: 1 }", json!({"<<": {"x": 1}})),
        (
            "{{values.merge}}: {{values.inner}}",
            json!({"<<": {"x": 1}}),
        ),
        ("1: 2", json!({"1": 2})),
    ] {
        assert_eq!(field(&format!("  {yaml}\n")), expected, "{yaml}");
    }
    for (yaml, code, words) in [
        ("{{values.list}}: 1", "S0213", "a list cannot be a key"),
        ("{{values.nothing}}: 1", "S0213", "null cannot be a key"),
        ("{{values.float}}: 1", "S0213", "a float cannot be a key"),
        ("\"{{values.lines}}\": 1", "S0212", "several lines"),
        (
            "dynamic: 1\n  {{values.key}}: 2",
            "S0214",
            "`dynamic` is there twice",
        ),
        (
            "{{values.key}}: 1\n  {{values.key}}: 2",
            "S0214",
            "`dynamic` is there twice",
        ),
        (
            "\"7\": 1\n  {{values.number}}: 2",
            "S0214",
            "`7` is there twice",
        ),
    ] {
        let (found, message, _) = refused(&format!("  {yaml}\n"));
        assert_eq!(found, code, "{yaml}");
        assert!(message.contains(words), "{yaml}: {message}");
    }
}

#[test]
fn values_cannot_name_anchors() {
    for yaml in [
        "a: &{{values.key}} 1",
        "a: &x-{{values.key}} [1]",
        "a: [1, &{{values.key}} 2]",
    ] {
        let problems = data(VALUES, &format!("  {yaml}\n")).unwrap_err();
        assert!(
            problems
                .iter()
                .all(|problem| problem.code.as_str() == "S0215"),
            "{yaml}: {problems:#?}"
        );
    }
    for fine in [
        "a: 1 # &{{values.key}}",
        "# {{values.list}}\n  a: 1",
        "b: &x { a: 1 }\n  <<: *x",
    ] {
        assert_eq!(field(&format!("  {fine}\n"))["a"], 1, "{fine}");
    }
}

#[test]
fn values_are_shared_through_anchors() {
    assert_eq!(
        field("  a: &x { v: {{values.number}} }\n  b: *x\n  c: { <<: *x, w: '{{values.key}}' }\n"),
        json!({"a": {"v": 7}, "b": {"v": 7}, "c": {"v": 7, "w": "dynamic"}})
    );
}
