//! Blocks, functions and partials do what they do in Handlebars.

use serde_json::json;

use super::super::testing::{CONFIG_MAP, data, images, service, stack, templates};
use crate::template::render;

const VALUES: &str = "  zero: 0\n  name: 'n'\n  nothing: null\n  list: [a, b]\n  none: []\n  map: { z: { v: 2 }, x: { v: 1 } }\n  deep: [[1, 2], [3]]\n";

fn text(template: &str) -> String {
    let fields = format!("  a: |-\n    {template}\n");
    let value =
        data(VALUES, &fields).unwrap_or_else(|problems| panic!("{template}: {problems:#?}"));
    value["a"].as_str().unwrap().to_owned()
}

/// Templates that Handlebars itself renders to the same text (checked in `as_handlebars_does`).
const SAME: &[(&str, &str)] = &[
    ("{{#if values.name}}y{{else}}n{{/if}}", "y"),
    ("{{#if values.zero}}y{{else}}n{{/if}}", "n"),
    ("{{#if values.zero includeZero=true}}y{{else}}n{{/if}}", "y"),
    ("{{#unless values.none}}y{{else}}n{{/unless}}", "y"),
    (
        "{{#if values.none}}1{{else if values.nothing}}2{{else if values.name}}3{{else}}4{{/if}}",
        "3",
    ),
    (
        "{{#if values.none}}1{{else if values.nothing}}2{{else}}4{{/if}}",
        "4",
    ),
    ("{{#eq values.name \"n\"}}y{{else}}n{{/eq}}", "y"),
    ("{{#if (and values.name (not values.none))}}y{{/if}}", "y"),
    ("{{#if (or values.none values.zero)}}y{{else}}n{{/if}}", "n"),
    (
        "{{#each values.list}}{{@index}}{{this}}{{#unless @last}},{{/unless}}{{/each}}",
        "0a,1b",
    ),
    (
        "{{#each values.map}}{{@key}}={{v}}{{#if @first}} {{/if}}{{/each}}",
        "x=1 z=2",
    ),
    ("{{#each values.none}}x{{else}}none{{/each}}", "none"),
    (
        "{{#each values.list as |item index|}}{{index}}{{item}}{{/each}}",
        "0a1b",
    ),
    (
        "{{#each values.map as |entry name|}}{{name}}{{entry.v}}{{/each}}",
        "x1z2",
    ),
    (
        "{{#each values.deep}}{{#each this}}{{@../index}}{{this}}{{/each}};{{/each}}",
        "0102;13;",
    ),
    (
        "{{#each values.list}}{{../values.name}}{{@root.values.name}}{{/each}}",
        "nnnn",
    ),
    (
        "{{#with values.map.x}}{{v}}{{../values.name}}{{/with}}",
        "1n",
    ),
    ("{{#with values.map.x as |it|}}{{it.v}}{{/with}}", "1"),
    ("{{#with values.none}}x{{else}}none{{/with}}", "none"),
    (
        "{{#each values.list}}{{#with ../values.map.x}}{{@index}}{{v}}{{/with}}{{/each}}",
        "0111",
    ),
    (
        "{{lookup values.list 1}}{{lookup values.map.x \"v\"}}",
        "b1",
    ),
    (
        "{{len values.list}}{{gt 2 1}}{{lte \"a\" \"b\"}}",
        "2truetrue",
    ),
    ("\\{{ values.name }} {{values.name}}", "{{ values.name }} n"),
    ("{{! nothing }}{{!-- {{nothing}} --}}x", "x"),
    ("a {{~ values.name ~}} b", "anb"),
    (
        "{{this.values.name}}{{./values/name}}{{values.[name]}}",
        "nnn",
    ),
    (
        "x{{#each values.deep}}\n    {{this.[0]}}\n    {{/each}}\n    y",
        "",
    ),
];

#[test]
fn blocks_and_functions_render() {
    for (template, expected) in SAME.iter().filter(|(_, expected)| !expected.is_empty()) {
        assert_eq!(text(template), *expected, "{template}");
    }
}

/// The same templates through Handlebars' own renderer: ours reads its syntax tree and must not differ.
#[test]
fn as_handlebars_does() {
    let values = service("web", &format!("values:\n{VALUES}"))
        .values
        .to_json();
    let mut handlebars = handlebars::Handlebars::new();
    handlebars.register_escape_fn(handlebars::no_escape);
    for (template, _) in SAME {
        let whole = format!("a: |-\n    {template}\n");
        let rendered = handlebars
            .render_template(&whole, &json!({ "values": values }))
            .unwrap();
        let theirs =
            crate::yaml::document(&crate::diagnostic::SourceFile::new("x", rendered)).unwrap();
        assert_eq!(json!(text(template)), theirs.to_json()["a"], "{template}");
    }
}

#[test]
fn lines_of_blocks_alone_leave_no_trace() {
    let fields = "  list:\n  {{#each values.list}}\n    - {{this}}\n    {{! done }}\n  {{/each}}\n  end: 1\n";
    assert_eq!(
        data(VALUES, fields).unwrap(),
        json!({"list": ["a", "b"], "end": 1})
    );
}

#[test]
fn our_own_functions_work() {
    for (template, expected) in [
        ("{{default values.nothing \"d\"}}", "d"),
        ("{{required values.name}}", "n"),
        ("{{urlencode \"a/b\"}}", "a%2Fb"),
        ("{{b64 values.name}}", "bg=="),
        ("{{json values.map}}", r#"{"x":{"v":1},"z":{"v":2}}"#),
        ("{{(lookup values.list 0)}}", "a"),
    ] {
        assert_eq!(text(template), expected, "{template}");
    }
}

#[test]
fn partials_are_indented_and_may_have_a_this() {
    let stack = stack(vec![service("web", "values: { map: { x: 1 } }")]);
    let fields =
        "  a:\n    {{> list}}\n  b: {{> inline}}\n  c:\n    {{> entry values.map}}\n  d: 1\n";
    let files = [
        ("t.hbs", &*format!("{CONFIG_MAP}{fields}")),
        (
            "partials/list.hbs",
            "- x: |\n    first\n\n    second\n{{#each values.map}}\n- {{this}}\n{{/each}}\n",
        ),
        ("partials/inline.hbs", "{{namespace}}"),
        ("partials/entry.hbs", "w: {{x}}\nz: {{@root.namespace}}\n"),
    ];
    let templates = templates(&stack, &files);
    let objects = render(&stack, &templates, &images(&stack)).unwrap();
    assert_eq!(
        objects[0].value["data"],
        json!({
            "a": [{"x": "first\n\nsecond\n"}, 1],
            "b": "shop-local",
            "c": {"w": 1, "z": "shop-local"},
            "d": 1,
        })
    );
}
