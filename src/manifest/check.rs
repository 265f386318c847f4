//! Every check of rendered objects that needs no cluster.

use crate::diagnostic::{Diagnostic, Severity};

use super::object::Object;
use super::pod::Pod;
use super::{fit, schema, security, targets};

/// What the API server would refuse, what breaks a security rule, and what does not fit together. Takes
/// the objects as `complete` makes them, in the versions that templates are written in.
#[must_use]
pub fn check(objects: &[Object]) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    for object in objects {
        let types = schema::check(object);
        let sound = types
            .iter()
            .all(|problem| problem.severity == Severity::Warning);
        problems.extend(types);
        // What has the wrong type cannot keep a rule: one problem is enough.
        if let Some(pod) = Pod::of(object).filter(|_| sound) {
            problems.extend(security::check(objects, &pod));
        }
    }
    problems.extend(fit::check(objects));
    problems.extend(targets::check(objects));
    problems
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::manifest::complete;
    use crate::manifest::sample::{object, stack};

    #[test]
    fn one_wrong_type_hides_no_other_object_and_no_reference() {
        let broken = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {
                "replicas": "two",
                "selector": {"matchLabels": {"app.kubernetes.io/name": "web"}},
                "template": {"spec": {
                    "containers": [{"name": "web", "envFrom": [{"secretRef": {"name": "gone"}}]}],
                }},
            },
        });
        let bare = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "api"},
            "spec": {"containers": [{"name": "api"}]},
        });
        let objects = complete(vec![object("web", broken), object("api", bare)], &stack()).unwrap();
        let codes: Vec<&str> = check(&objects)
            .iter()
            .map(|problem| problem.code.as_str())
            .collect();
        // Seven rules that a bare pod breaks, then the type, then the reference.
        let mut expected = vec!["S0320"; 7];
        expected.extend(["S0311", "S0330"]);
        assert_eq!(codes, expected);
    }
}
