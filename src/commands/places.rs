//! What a cluster says about a field, shown at the line of the template or value that the field comes from.

use k8s_model::ObjectRef;

use crate::cluster::{ObjectError, ObjectErrors};
use crate::diagnostic::{Diagnostic, Explain, Span};
use crate::execute::apply::{ApplyError, Failure};
use crate::manifest::Object;
use crate::plan::Plan;

use super::CommandError;

/// The errors of operations on `objects`, with places.
pub(super) fn of_objects(errors: &ObjectErrors, objects: &[Object]) -> CommandError {
    let diagnostics = errors
        .0
        .iter()
        .flat_map(|error| located(error, objects))
        .collect();
    CommandError {
        exit: errors.exit(),
        diagnostics,
    }
}

/// The errors of applying a plan, with places.
pub(super) fn of_apply(error: &ApplyError, plan: &Plan) -> CommandError {
    let objects: Vec<Object> = plan
        .changes
        .iter()
        .filter_map(|change| change.desired.clone())
        .collect();
    let mut diagnostics = error.diagnostics();
    if error.interrupted {
        // Everything else that failed did so because of that.
        diagnostics.truncate(1);
        return CommandError {
            exit: error.exit(),
            diagnostics,
        };
    }
    for failure in &error.failures {
        if let Failure::Object { error, .. } = failure {
            let bare = error.diagnostics();
            diagnostics.retain(|diagnostic| !bare.contains(diagnostic));
            diagnostics.extend(located(error, &objects));
        }
    }
    CommandError {
        exit: error.exit(),
        diagnostics,
    }
}

/// Where a field of an object comes from.
pub(super) fn place(objects: &[Object], reference: &ObjectRef, pointer: &str) -> Option<Span> {
    let origin = find(objects, reference)?.origins.get(pointer)?;
    Some(origin.place().clone())
}

/// The object as it was rendered; its version may be another one in the cluster.
fn find<'a>(objects: &'a [Object], reference: &ObjectRef) -> Option<&'a Object> {
    objects.iter().find(|object| {
        let own = object.reference();
        own.gvk.kind == reference.gvk.kind
            && own.name == reference.name
            && own.namespace == reference.namespace
    })
}

fn located(error: &ObjectError, objects: &[Object]) -> Vec<Diagnostic> {
    match find(objects, &error.target) {
        Some(object) => error.diagnostics_at(&object.origins),
        None => error.diagnostics(),
    }
}
