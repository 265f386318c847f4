//! What is refused, and where the message points.

use crate::diagnostic::Diagnostic;

use super::super::testing::{CONFIG_MAP, data, images, lines, objects, service, stack, templates};
use crate::diagnostic::Explain;
use crate::template::render;

const VALUES: &str = "  replicas: 2\n  list: [1]\n  empty: null\n  inner: { key: v }\n";

/// The only problem of a template that starts at line 6 of `t.hbs`.
fn problem(fields: &str) -> Diagnostic {
    let mut problems = data(VALUES, fields).expect_err(fields);
    assert_eq!(problems.len(), 1, "{fields}: {problems:#?}");
    problems.remove(0)
}

/// Checks code, place, the text under the caret, and words of the message and the hints.
fn check(fields: &str, (code, place, caret): (&str, &str, &str), words: &[&str]) {
    let problem = problem(fields);
    let span = &problem.labels[0].span;
    assert_eq!(problem.code.as_str(), code, "{fields}: {problem:#?}");
    assert_eq!(
        span.to_string(),
        format!("templates/t.hbs:{place}"),
        "{fields}: {problem:#?}"
    );
    assert_eq!(span.text(), caret, "{fields}: {problem:#?}");
    let text = format!("{} {}", problem.message, problem.hints.join(" "));
    for word in words {
        assert!(text.contains(word), "{fields}: {word} is not in {text}");
    }
}

#[test]
fn every_path_must_exist() {
    for (fields, place, words) in [
        (
            "  a: {{values.replica}}\n",
            ("6:15", "replica"),
            &["no `replica`", "did you mean `replicas`?"][..],
        ),
        (
            "  a: {{values.inner.x}}\n",
            ("6:21", "x"),
            &["no `x`", "there are: key"],
        ),
        (
            "  a: {{values.replicas.x}}\n",
            ("6:24", "x"),
            &["no `x` in an integer"],
        ),
        (
            "  a: {{values.empty.x}}\n",
            ("6:21", "x"),
            &["no `x` in null", "`{{#if}}` around it"],
        ),
        (
            "  a: {{values.list.1}}\n",
            ("6:20", "1"),
            &["no `1` in a list of 1"],
        ),
        (
            "  a: {{valeus.replicas}}\n",
            ("6:8", "valeus"),
            &["did you mean `values`?"],
        ),
        (
            "  a: {{replicas}}\n",
            ("6:8", "replicas"),
            &["did you mean `values.replicas`?"],
        ),
        (
            "  a: {{service.env.X}}\n",
            ("6:20", "X"),
            &["no `X`", "there is nothing at all"],
        ),
        (
            "  a: {{json (len values.lst)}}\n",
            ("6:25", "lst"),
            &["did you mean `list`?"],
        ),
        (
            "  a: {{~ values.[in ner] ~}}\n",
            ("6:17", "[in ner]"),
            &["no `in ner`"],
        ),
        (
            "  a: {{../values}}\n",
            ("6:8", "../values"),
            &["no block that far out"],
        ),
        (
            "  a: {{@index}}\n",
            ("6:8", "@index"),
            &["no `@index`", "inside `each`"],
        ),
    ] {
        check(fields, ("S0206", place.0, place.1), words);
    }
}

#[test]
fn paths_in_blocks_must_exist_too() {
    for (fields, place, words) in [
        (
            "{{#if values.replica}}\n{{/if}}\n",
            ("6:14", "replica"),
            &["`replicas`"][..],
        ),
        (
            "{{#unless values.replica}}\n{{/unless}}\n",
            ("6:18", "replica"),
            &["`replicas`"],
        ),
        (
            "{{#each values.lists}}\n{{/each}}\n",
            ("6:16", "lists"),
            &["`list`"],
        ),
        (
            "{{#with values.iner}}\n{{/with}}\n",
            ("6:16", "iner"),
            &["`inner`"],
        ),
        (
            "{{#if (eq values.replica 1)}}\n{{/if}}\n",
            ("6:18", "replica"),
            &["`replicas`"],
        ),
        (
            "{{#each values.list}}\n  a: {{service.name}}\n{{/each}}\n",
            ("7:8", "service"),
            &["in an integer"],
        ),
        (
            "{{#with values.inner}}\n  a: {{service.name}}\n{{/with}}\n",
            ("7:8", "service"),
            &["did you mean `@root.service.name`?"],
        ),
        (
            "{{#each values.inner as |v|}}\n  a: {{v.x}}\n{{/each}}\n",
            ("7:10", "x"),
            &["in a string"],
        ),
    ] {
        check(fields, ("S0206", place.0, place.1), words);
    }
}

#[test]
fn branches_that_are_not_taken_are_checked() {
    for (fields, place) in [
        ("{{#if false}}\n  a: {{values.x}}\n{{/if}}\n", "7:15"),
        (
            "{{#if values.replicas}}\n{{else}}\n  a: {{values.x}}\n{{/if}}\n",
            "8:15",
        ),
        (
            "{{#if values.replicas}}\n{{else if values.x}}\n{{/if}}\n",
            "7:18",
        ),
        (
            "{{#if true}}{{#if true}}{{else}}{{/if}}{{else if true}}{{else if values.x}}{{/if}}\n",
            "6:73",
        ),
        ("{{#unless true}}\n  a: {{values.x}}\n{{/unless}}\n", "7:15"),
        (
            "{{#each values.list}}{{else}}{{@root.values.x}}{{/each}}\n",
            "6:45",
        ),
        (
            "{{#each values.empty}}{{@root.values.x}}{{/each}}\n",
            "6:38",
        ),
        (
            "{{#with values.empty}}{{@root.values.x}}{{/with}}\n",
            "6:38",
        ),
    ] {
        check(fields, ("S0206", place, "x"), &["no `x`"]);
    }
}

#[test]
fn what_is_inside_null_is_not_known_where_it_is_not_used() {
    for fields in [
        "{{#if values.empty}}\n  a: {{values.empty.key.more}}\n{{/if}}\n",
        "{{#with values.empty}}\n  a: {{key.more}}\n{{/with}}\n",
        "{{#each values.empty}}\n  {{@key}}: {{key}}\n{{/each}}\n",
        "{{#if values.empty}}\n  a: {{len values.empty}}\n{{/if}}\n",
    ] {
        assert!(data(VALUES, fields).unwrap().is_null(), "{fields}");
    }
}

#[test]
fn what_has_no_place_in_a_manifest_is_refused() {
    for (fields, code, place, words) in [
        (
            "  a: {{{values.x}}}\n",
            "S0203",
            ("6:6", "{{{values.x}}}"),
            &["`{{{ }}}`"][..],
        ),
        (
            "  a: {{&values.x}}\n",
            "S0203",
            ("6:6", "{{&values.x}}"),
            &["`{{& }}`"],
        ),
        (
            "  a: {{*inline}}\n",
            "S0203",
            ("6:6", "{{*inline}}"),
            &["decorators"],
        ),
        (
            "{{#*inline \"x\"}}{{/inline}}\n",
            "S0203",
            ("6:1", "{{#*inline \"x\"}}"),
            &["decorators"],
        ),
        (
            "{{#> pod}}{{/pod}}\n",
            "S0203",
            ("6:1", "{{#> pod}}"),
            &["partials take no block"],
        ),
        (
            "{{{{if true}}}} {{{{/if}}}}\n",
            "S0203",
            ("6:1", "{{{{if true}}}}"),
            &["raw blocks"],
        ),
        (
            "{{> pod a=1}}\n",
            "S0203",
            ("6:1", "{{> pod a=1}}"),
            &["no named arguments"],
        ),
        (
            "{{> pod 1 2}}\n",
            "S0205",
            ("6:1", "{{> pod 1 2}}"),
            &["1 argument, not 2"],
        ),
        (
            "{{> pod}}\n",
            "S0210",
            ("6:1", "{{> pod}}"),
            &["no partial `pod`", "templates/partials/pod.hbs"],
        ),
        (
            "  a: {{log 1}}\n",
            "S0204",
            ("6:8", "log"),
            &["no function `log`"],
        ),
        (
            "  a: {{urlencod 1}}\n",
            "S0204",
            ("6:8", "urlencod"),
            &["did you mean `urlencode`?"],
        ),
        (
            "  a: {{json (env 1)}}\n",
            "S0204",
            ("6:14", "env"),
            &["no function `env`"],
        ),
        (
            "{{#eech values.list}}{{/eech}}\n",
            "S0204",
            ("6:4", "eech"),
            &["did you mean `each`?"],
        ),
        (
            "{{#json values.list}}{{/json}}\n",
            "S0204",
            ("6:4", "json"),
            &["no function `json`", "if, unless, each, with"],
        ),
        (
            "  a: {{eq 1}}\n",
            "S0205",
            ("6:8", "eq"),
            &["2 arguments, not 1"],
        ),
        (
            "  a: {{and true}}\n",
            "S0205",
            ("6:8", "and"),
            &["at least 2 arguments"],
        ),
        (
            "  a: {{required 1 2 3}}\n",
            "S0205",
            ("6:8", "required"),
            &["1 to 2 arguments"],
        ),
        (
            "  a: {{json 1 pretty=true}}\n",
            "S0205",
            ("6:15", "pretty"),
            &["no argument called `pretty`"],
        ),
        (
            "{{#if}}{{/if}}\n",
            "S0205",
            ("6:1", "{{#if}}"),
            &["`if` takes 1 argument, not 0"],
        ),
        (
            "{{#if true includeZero=1}}{{/if}}\n",
            "S0205",
            ("6:12", "includeZero"),
            &["true or false"],
        ),
        (
            "{{#each values.inner x=1}}{{/each}}\n",
            "S0205",
            ("6:22", "x"),
            &["no argument called `x`"],
        ),
        (
            "{{#each values.replicas}}{{/each}}\n",
            "S0211",
            ("6:9", "values.replicas"),
            &["not an integer"],
        ),
        (
            "  a: {{gt values.inner 1}}\n",
            "S0208",
            ("6:8", "gt"),
            &["cannot compare a map"],
        ),
        (
            "  a: {{required values.empty \"say replicas\"}}\n",
            "S0208",
            ("6:8", "required"),
            &["say replicas"],
        ),
        (
            "  a: \u{F0012}\n",
            "S0202",
            ("6:6", "\u{F0012}"),
            &["U+F0012 is reserved"],
        ),
    ] {
        check(fields, (code, place.0, place.1), words);
    }
    let literal = problem("  a: {{json \"\\udb80\\udc12\"}}\n");
    assert_eq!(
        literal.code.as_str(),
        "S0202",
        "also where it is written with an escape"
    );
}

#[test]
fn broken_handlebars_is_pointed_at() {
    for (fields, place, words) in [
        ("{{#if values.list}}\n  a: 1\n", "6:1", "never closed"),
        (
            "{{#if values.list}}{{/each}}\n",
            "6:20",
            "`{{#if}}` cannot be closed by `{{/each}}`",
        ),
        ("  a: {{values..x}}\n", "6:15", "not valid Handlebars"),
    ] {
        let problem = problem(fields);
        assert_eq!(problem.code.as_str(), "S0201", "{fields}");
        assert_eq!(
            problem.labels[0].span.to_string(),
            format!("templates/t.hbs:{place}"),
            "{fields}"
        );
        assert!(
            problem.message.contains(words),
            "{fields}: {}",
            problem.message
        );
    }
}

#[test]
fn all_problems_are_reported_at_once_and_each_once() {
    let stack = stack(vec![
        service("a", "{}"),
        service("b", "values: { x: 1 }"),
        service("c", "env: { A: '{{nope}}' }"),
    ]);
    let files = [
        (
            "one.hbs",
            "{{values.x}}\n{{values.y}}\n{{#if namspace}}{{/if}}",
        ),
        ("two.hbs", "{{#if"),
        ("three.hbs", "a: {{service.env.A}}: {{service.name}}"),
    ];
    let templates = templates(&stack, &files);
    let problems = render(&stack, &templates, &images(&stack))
        .unwrap_err()
        .diagnostics();
    assert_eq!(
        lines(&problems),
        [
            "S0201 templates/two.hbs:1:1 this block is never closed",
            "S0206 templates/one.hbs:1:10 there is no `x` here",
            "S0206 templates/one.hbs:2:10 there is no `y` here",
            "S0206 templates/one.hbs:3:7 there is no `namspace` here",
            "S0206 templates/three.hbs:1:18 there is no `A` here",
            "S0206 templates/one.hbs:2:10 there is no `y` here",
            "S0206 services/c/service.yaml:1:14 there is no `nope` here",
        ],
        "{problems:#?}"
    );
}

#[test]
fn broken_yaml_is_reported_at_the_template() {
    for (fields, place) in [
        (
            "{{#each values.list}}\n\n{{/each}}\n{{#if true}}\n  a: [{{values.replicas}}\n{{/if}}\n",
            "10:",
        ),
        ("  a: 1\n  a: 2\n", "7:3"),
        ("  a: yes\n", "6:6"),
        ("  a: !{{values.replicas}} x\n", "6:"),
        ("{{#each values.list}}\n\ta: 1\n{{/each}}\n", "7:"),
    ] {
        let problem = problem(fields);
        let at = problem.labels[0].span.to_string();
        assert!(
            at.starts_with(&format!("templates/t.hbs:{place}")),
            "{fields}: {problem:#?}"
        );
        let texts = format!("{problem:?}");
        assert!(!texts.contains("\\u{f0"), "no token is shown: {texts}");
    }
}

#[test]
fn documents_must_be_objects() {
    for (template, expected) in [
        (
            "kind: A\nmetadata: { name: x }\n",
            &["S0216 templates/t.hbs:1:1 this object has no `apiVersion`"][..],
        ),
        (
            "apiVersion: v1\nmetadata: {}\n",
            &[
                "S0216 templates/t.hbs:1:1 this object has no `kind`",
                "S0216 templates/t.hbs:2:11 this object has no `metadata.name`",
            ],
        ),
        (
            "apiVersion: v1\nkind: A\nmetadata: { name: 1 }\n",
            &["S0216 templates/t.hbs:3:19 `metadata.name` must be a text"],
        ),
        (
            "- a\n",
            &["S0216 templates/t.hbs:1:1 this document is no Kubernetes object"],
        ),
        (
            "apiVersion: v1\nkind: List\nmetadata: { name: x }\nitems: []\n",
            &["S0217 templates/t.hbs:2:7 a List cannot be deployed as one object"],
        ),
        (
            "apiVersion: v1\nkind: PodList\nmetadata: { name: x }\nitems: []\n",
            &["S0217 templates/t.hbs:2:7 a PodList cannot be deployed as one object"],
        ),
    ] {
        let problems = objects(service("web", "{}"), template).unwrap_err();
        assert_eq!(lines(&problems), expected, "{template}");
    }
}

#[test]
fn templates_have_any_number_of_documents() {
    let object = |name: &str| {
        format!(
            "{}  a: '{name}'\n",
            CONFIG_MAP.replace("{{service.name}}", name)
        )
    };
    let text = format!(
        "# nothing\n---\n{}---\n---\n# nothing\n---\n{}",
        object("a"),
        object("b")
    );
    let found = objects(service("web", "{}"), &text).unwrap();
    let names: Vec<String> = found
        .iter()
        .map(|object| object.reference().to_string())
        .collect();
    assert_eq!(names, ["ConfigMap/a", "ConfigMap/b"]);
    assert!(
        objects(service("web", "{}"), "{{#if false}}\na: 1\n{{/if}}\n")
            .unwrap()
            .is_empty()
    );
    assert!(
        objects(service("web", "values: { a: null }"), "{{values.a}}\n")
            .unwrap()
            .is_empty()
    );
}

#[test]
fn a_partial_that_is_inside_itself_is_refused() {
    let stack = stack(vec![service("web", "{}")]);
    let files = [("t.hbs", "{{> a}}"), ("partials/a.hbs", "x\n{{> a}}")];
    let templates = templates(&stack, &files);
    let problems = render(&stack, &templates, &images(&stack))
        .unwrap_err()
        .diagnostics();
    assert_eq!(
        lines(&problems),
        ["S0210 templates/partials/a.hbs:2:1 the partial `a` never ends"]
    );
}

#[test]
fn go_templates_get_a_hint() {
    let problem = problem("  a: {{ .Values.replicas }}\n");
    assert_eq!(problem.labels[0].span.to_string(), "templates/t.hbs:6:9");
    assert!(
        problem.hints[0].contains("not a Go template"),
        "{problem:?}"
    );
}
