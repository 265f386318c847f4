//! Every check of rendered objects that needs no cluster.

use crate::diagnostic::{Diagnostic, Severity};

use super::object::Object;
use super::pod::Pod;
use super::{references, schema, security};

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
    problems.extend(references::check(objects));
    problems
}
