//! Every field knows the line of its template and the places of its values.

use crate::diagnostic::Span;
use crate::manifest::Object;
use crate::template::render;

use super::super::testing::{images, objects, service, stack, templates};

/// `pointer template-place value-places…` of each field of interest.
fn origin(object: &Object, pointer: &str) -> String {
    let origin = object.origins.get(pointer).unwrap();
    let values: Vec<String> = origin.values.iter().map(Span::to_string).collect();
    format!("{} <- {}", origin.template, values.join(" "))
}

const SERVICE: &str = "\
ports: { http: 8080 }
env:
  LEVEL: \"{{stack.values.log_level}}\"
values:
  replicas: 3
  list: [x, z]
  resources:
    limits: { memory: 1Gi }
";

const TEMPLATE: &str = "\
apiVersion: v1
{{#if true}}
kind: Thing
{{/if}}
metadata:
  name: {{service.name}}
spec:
  replicas: {{values.replicas}}

{{#each values.list}}
  # comment

  {{this}}-key: {{this}}
  {{this}}-host: {{this}}.{{@root.env.values.domain}}
{{/each}}
  resources: {{values.resources}}
{{! a comment
of two lines }}
  text: |
    a
    {{values.replicas}}
  sum: {{default values.replicas stack.values.log_level}}
  picked: {{lookup values.list 1}}
  level: {{service.env.LEVEL}}
  port: {{service.ports.http}}
  \"\\{{x}}\": a \\{{literal}} z
  last: end
";

#[test]
fn fields_know_their_lines() {
    let object = objects(service("web", SERVICE), TEMPLATE)
        .unwrap()
        .remove(0);
    let own = "services/web/service.yaml";
    for (pointer, expected) in [
        ("/apiVersion", "templates/t.hbs:1:13 <- ".to_owned()),
        ("/kind", "templates/t.hbs:3:7 <- ".to_owned()),
        ("/metadata/name", "templates/t.hbs:6:9 <- ".to_owned()),
        (
            "/spec/replicas",
            format!("templates/t.hbs:8:13 <- {own}:5:13"),
        ),
        (
            "/spec/x-key",
            format!("templates/t.hbs:13:17 <- {own}:6:10"),
        ),
        (
            "/spec/z-key",
            format!("templates/t.hbs:13:17 <- {own}:6:13"),
        ),
        (
            "/spec/x-host",
            format!("templates/t.hbs:14:18 <- {own}:6:10 environments/local.yaml:1:19"),
        ),
        (
            "/spec/z-host",
            format!("templates/t.hbs:14:18 <- {own}:6:13 environments/local.yaml:1:19"),
        ),
        (
            "/spec/resources/limits/memory",
            format!("templates/t.hbs:16:14 <- {own}:8:23"),
        ),
        ("/spec/text", format!("templates/t.hbs:20:5 <- {own}:5:13")),
        (
            "/spec/sum",
            format!("templates/t.hbs:22:8 <- stack.yaml:1:12 {own}:5:13"),
        ),
        (
            "/spec/picked",
            format!("templates/t.hbs:23:11 <- {own}:6:13"),
        ),
        (
            "/spec/level",
            format!("templates/t.hbs:24:10 <- {own}:3:10 stack.yaml:1:12"),
        ),
        ("/spec/port", format!("templates/t.hbs:25:9 <- {own}:1:16")),
        ("/spec/{{x}}", "templates/t.hbs:26:13 <- ".to_owned()),
        ("/spec/last", "templates/t.hbs:27:9 <- ".to_owned()),
        ("/spec/nothing/at/all", "templates/t.hbs:8:3 <- ".to_owned()),
    ] {
        assert_eq!(origin(&object, pointer), expected, "{pointer}");
    }
    assert_eq!(
        object
            .origins
            .get("/spec/replicas")
            .unwrap()
            .place()
            .to_string(),
        format!("{own}:5:13")
    );
}

#[test]
fn every_field_of_every_document_has_an_origin_of_its_own() {
    let text = format!("{TEMPLATE}---\n{TEMPLATE}");
    let objects = objects(service("web", SERVICE), &text).unwrap();
    for object in &objects {
        let noted: Vec<&str> = object.origins.iter().map(|(pointer, _)| pointer).collect();
        for pointer in pointers(&object.value, String::new()) {
            assert!(
                noted.contains(&pointer.as_str()),
                "{pointer} is not in {noted:?}"
            );
        }
    }
    let kind = objects[1].origins.get("/kind").unwrap();
    assert_eq!(kind.template.to_string(), "templates/t.hbs:31:7");
}

fn pointers(value: &serde_json::Value, at: String) -> Vec<String> {
    let step = |key: &str| format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
    let inside: Vec<String> = match value {
        serde_json::Value::Object(entries) => entries
            .iter()
            .flat_map(|(key, value)| pointers(value, step(key)))
            .collect(),
        serde_json::Value::Array(items) => items
            .iter()
            .enumerate()
            .flat_map(|(index, value)| pointers(value, step(&index.to_string())))
            .collect(),
        _ => Vec::new(),
    };
    std::iter::once(at.clone()).chain(inside).collect()
}

#[test]
fn fields_of_a_partial_point_into_it() {
    let stack = stack(vec![service("web", "values: { a: 1 }")]);
    let files = [
        (
            "t.hbs",
            "apiVersion: v1\nkind: A\nmetadata:\n  name: x\nspec:\n  {{> part}}\nlast: 1\n",
        ),
        (
            "partials/part.hbs",
            "one: 1\n\n{{#if true}}\ntwo: {{values.a}}\n{{/if}}\n",
        ),
    ];
    let object = render(&stack, &templates(&stack, &files), &images(&stack))
        .unwrap()
        .remove(0);
    assert_eq!(
        origin(&object, "/spec/one"),
        "templates/partials/part.hbs:1:6 <- "
    );
    assert_eq!(
        origin(&object, "/spec/two"),
        "templates/partials/part.hbs:4:6 <- services/web/service.yaml:1:14"
    );
    assert_eq!(origin(&object, "/last"), "templates/t.hbs:7:7 <- ");
}

#[test]
fn problems_in_env_point_into_service_yaml() {
    for (env, expected) in [
        (
            "  A: \"x {{values.nope}}\"\n",
            "S0206 services/web/service.yaml:2:18 there is no `nope` here",
        ),
        (
            "  A: |\n    x\n    {{values.nope}}\n",
            "S0206 services/web/service.yaml:4:14 there is no `nope` here",
        ),
        (
            "  A: '{{#if x'\n",
            "S0201 services/web/service.yaml:2:7 this block is never closed",
        ),
        (
            "  A: '{{stack.values.empty}}'\n",
            "S0212 services/web/service.yaml:2:7 null cannot stand inside text",
        ),
        (
            "  A: 'x{{service.env.B}}'\n",
            "S0206 services/web/service.yaml:2:18 there is no `env` here",
        ),
        (
            "  A: 'x{{values}}'\n",
            "S0212 services/web/service.yaml:2:8 a map cannot stand inside text",
        ),
    ] {
        let web = service("web", &format!("env:\n{env}"));
        let problems = objects(web, "").expect_err(env);
        assert_eq!(
            super::super::testing::lines(&problems),
            [expected],
            "{env}: {problems:#?}"
        );
    }
}

#[test]
fn lines_may_stand_in_blocks_of_env_only() {
    let values = "values: { v: \"x\\ny\" }\n";
    for (env, taken) in [
        ("  A: |\n    a\n    {{values.v}}\n", true),
        ("  A: >- # folded\n    {{values.v}}\n", true),
        ("  A: '{{values.v}}'\n", false),
        ("  A: \"a\n    {{values.v}}\"\n", false),
        ("  A:\n    a {{values.v}}\n", false),
    ] {
        let web = service("web", &format!("env:\n{env}{values}"));
        assert_eq!(objects(web, "").is_ok(), taken, "{env}");
    }
}
