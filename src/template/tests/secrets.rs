//! Secrets are known wherever they flow, and land in Secrets alone.

use serde_json::json;

use super::super::testing::{data, lines, objects, service};
use crate::secret::{Encoding, SecretRef};

fn token(encodings: &[Encoding]) -> String {
    SecretRef {
        name: "password".parse().unwrap(),
        encodings: encodings.to_vec(),
    }
    .token()
}

fn secret(fields: &str) -> String {
    format!("apiVersion: v1\nkind: Secret\nmetadata:\n  name: x\n{fields}")
}

#[test]
fn secrets_are_tokens_in_a_secret() {
    let both = [Encoding::Url, Encoding::Base64];
    for (fields, expected) in [
        (
            "stringData: { a: {{secrets.password}} }",
            json!({"a": token(&[])}),
        ),
        (
            "stringData: { a: \"x{{secrets.password}}y\" }",
            json!({"a": format!("x{}y", token(&[]))}),
        ),
        (
            "stringData: { a: 'postgres://u:{{urlencode secrets.password}}@h' }",
            json!({"a": format!("postgres://u:{}@h", token(&both[..1]))}),
        ),
        (
            "stringData: { a: {{b64 secrets.password}} }",
            json!({"a": token(&both[1..])}),
        ),
        (
            "stringData:\n  a: |\n    p={{secrets.password}}\n",
            json!({"a": format!("p={}\n", token(&[]))}),
        ),
        (
            "stringData:\n{{#with secrets.password}}{{/with}}",
            json!(null),
        ),
        (
            "stringData: {{service.secretEnv}}",
            json!({"URL": format!("u:{}", token(&both[..1]))}),
        ),
        (
            "data: { a: {{b64 secrets.password}} }",
            json!({"a": token(&both[1..])}),
        ),
        (
            "data: { a: {{b64 (urlencode secrets.password)}} }",
            json!({"a": token(&both)}),
        ),
    ] {
        let web = service(
            "web",
            "env: { URL: 'u:{{urlencode secrets.password}}', PLAIN: 'x' }",
        );
        let found = objects(web, &secret(fields));
        if expected.is_null() {
            let problems = found.unwrap_err();
            assert_eq!(
                lines(&problems),
                ["S0209 templates/t.hbs:6:9 what is rendered must not depend on a secret"]
            );
            continue;
        }
        let object = found
            .unwrap_or_else(|problems| panic!("{fields}: {problems:#?}"))
            .remove(0);
        let field = if object.value.get("data").is_some() {
            "data"
        } else {
            "stringData"
        };
        assert_eq!(object.value[field], expected, "{fields}");
    }
}

#[test]
fn secrets_land_nowhere_else() {
    for (template, place) in [
        (secret("type: {{secrets.password}}\n"), "5:7"),
        (secret("data: { a: {{secrets.password}} }\n"), "5:12"),
        (secret("data: { a: \"x{{b64 secrets.password}}\" }\n"), "5:12"),
        (secret("data: { a: {{urlencode (b64 secrets.password)}} }\n"), "5:12"),
        (secret("stringData: { a: { b: {{secrets.password}} } }\n"), "5:23"),
        (secret("metadata2: {{service.secretEnv}}\n"), "5:12"),
        (secret("stringData: {}\n").replace("v1", "v2").replace("{}", "{ a: {{secrets.password}} }"), "5:18"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\ndata:\n  a: \"{{secrets.password}}\"\n".to_owned(), "6:6"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{secrets.password}}\n".to_owned(), "4:9"),
    ] {
        let web = service("web", "env: { URL: '{{secrets.password}}' }");
        let problems = objects(web, &template).expect_err(&template);
        assert_eq!(problems.len(), 1, "{template}: {problems:#?}");
        assert_eq!(problems[0].code.as_str(), "S0218", "{template}");
        assert_eq!(problems[0].labels[0].span.to_string(), format!("templates/t.hbs:{place}"), "{template}");
        let hint = &problems[0].hints[0];
        assert!(hint.contains("secretKeyRef") || hint.contains("b64"), "{hint}");
        assert!(problems[0].message.contains("`password`"), "{}", problems[0].message);
    }
}

#[test]
fn nothing_else_can_be_done_with_a_secret() {
    for (fields, expected) in [
        (
            "  a: {{json secrets.password}}",
            "S0208 templates/t.hbs:6:8 `json` cannot take a secret",
        ),
        (
            "  a: {{len secrets.password}}",
            "S0208 templates/t.hbs:6:8 `len` cannot take a secret",
        ),
        (
            "  a: {{default secrets.password 1}}",
            "S0208 templates/t.hbs:6:8 `default` cannot take a secret",
        ),
        (
            "  a: {{json this}}",
            "S0208 templates/t.hbs:6:8 `json` cannot take a secret",
        ),
        (
            "  a: {{lookup secrets \"password\"}}",
            "S0208 templates/t.hbs:6:8 `lookup` cannot take a secret",
        ),
        (
            "  a: {{secrets}}",
            "S0209 templates/t.hbs:6:6 a template can use single secrets, not all of them",
        ),
        (
            "{{#if secrets.password}}{{/if}}",
            "S0209 templates/t.hbs:6:7 what is rendered must not depend on a secret",
        ),
        (
            "{{#unless secrets.password}}{{/unless}}",
            "S0209 templates/t.hbs:6:11 what is rendered must not depend on a secret",
        ),
        (
            "{{#each secrets}}{{/each}}",
            "S0209 templates/t.hbs:6:9 what is rendered must not depend on a secret",
        ),
        (
            "{{#if (eq secrets.password \"x\")}}{{/if}}",
            "S0208 templates/t.hbs:6:8 `eq` cannot take a secret",
        ),
        (
            "{{#if false}}{{len secrets.password}}{{/if}}",
            "S0208 templates/t.hbs:6:16 `len` cannot take a secret",
        ),
        (
            "  {{secrets.password}}: 1",
            "S0213 templates/t.hbs:6:3 a secret cannot be a key",
        ),
        (
            "  x-{{secrets.password}}: 1",
            "S0213 templates/t.hbs:6:5 a secret cannot be part of a key",
        ),
    ] {
        let problems = data("  x: 1\n", &format!("{fields}\n")).expect_err(fields);
        assert_eq!(lines(&problems), [expected], "{fields}");
    }
    for whole in ["this", "@root", "default this 1"] {
        let problems = data("  x: 1\n", &format!("  a: {{{{{whole}}}}}\n")).expect_err(whole);
        assert!(
            matches!(problems[0].code.as_str(), "S0209" | "S0208"),
            "{whole}: {problems:#?}"
        );
    }
}

#[test]
fn an_unknown_secret_says_where_to_declare_it() {
    let problems = data("  x: 1\n", "  a: {{urlencode secrets.pasword}}\n").unwrap_err();
    assert_eq!(
        lines(&problems),
        ["S0207 templates/t.hbs:6:26 there is no secret `pasword`"]
    );
    assert_eq!(problems[0].labels[0].span.text(), "pasword");
    assert_eq!(
        problems[0].hints,
        [
            "did you mean `password`?",
            "declare it under `secrets:` of environments/local.yaml"
        ]
    );
    let web = service("web", "env:\n  URL: \"x{{secrets.nope}}\"\n");
    let problems = objects(web, "").unwrap_err();
    assert_eq!(
        lines(&problems),
        ["S0207 services/web/service.yaml:2:20 there is no secret `nope`"]
    );
}

#[test]
fn a_variable_with_a_secret_is_no_plain_variable() {
    let web = service(
        "web",
        "env:\n  A: 'x'\n  B: '{{secrets.password}}'\n  C: 'y{{urlencode secrets.api-key}}'\n  D: '{{values.i}}'\nvalues: { i: 1 }\n",
    );
    let template = secret("stringData: {{service.secretEnv}}\n---\n")
        + &super::super::testing::CONFIG_MAP.replace("\ndata:\n", "\ndata: {{service.env}}\n");
    let objects = objects(web, &template).unwrap();
    let key = SecretRef {
        name: "api-key".parse().unwrap(),
        encodings: vec![Encoding::Url],
    };
    assert_eq!(
        objects[0].value["stringData"],
        json!({"B": token(&[]), "C": format!("y{}", key.token())})
    );
    assert_eq!(objects[1].value["data"], json!({"A": "x", "D": "1"}));
}
