//! The rules of templates, one table each; expectations are written by hand.

use serde_json::json;

use super::testing::{data, lines, objects, service};

#[test]
fn smoke() {
    assert_eq!(
        data("  a: 1\n", "  a: {{values.a}}\n").unwrap(),
        json!({"a": 1})
    );
    let problems = objects(service("web", "{}"), "a: {{values.x}}\n").unwrap_err();
    assert_eq!(
        lines(&problems),
        ["S0206 templates/t.hbs:1:13 there is no `x` here"]
    );
}
