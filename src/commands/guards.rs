//! What a rollout refuses to touch: objects of others, and fields that only a new object could have.

use std::collections::BTreeSet;

use k8s_model::ObjectRef;
use serde_json::Value;

use crate::cluster;
use crate::diagnostic::{Code, Diagnostic, Exit, Span};
use crate::manifest::{INSTANCE, MANAGED_BY, MANAGER, Object, PART_OF};
use crate::plan;
use crate::stack::Stack;

use super::CommandError;

/// A field that only a new object could have.
const IMMUTABLE: Code = Code::new("S0720");
/// An object of that name belongs to somebody else.
const FOREIGN: Code = Code::new("S0724");
/// The namespace is on its way out.
const TERMINATING: Code = Code::new("S0725");

/// Fields of a StatefulSet that can change once it exists.
const STATEFUL_SET_CHANGES: &[&str] = &[
    "/spec/replicas",
    "/spec/template",
    "/spec/updateStrategy",
    "/spec/minReadySeconds",
];

/// Objects of the same name that this stack did not make: applying would mix the two, and `down` would
/// delete what is not ours.
pub(super) fn refuse_foreign(
    observed: &[cluster::Observed],
    desired: &[Object],
    stack: &Stack,
) -> Result<(), CommandError> {
    let foreign = observed.iter().zip(desired).filter_map(|(found, object)| {
        let whose = whose(found.live.as_ref()?, stack)?;
        Some(foreign(&found.reference, object, &whose, stack))
    });
    fail(Exit::Conflict, foreign.collect())
}

/// Who an object belongs to, where that is not this stack in this environment.
fn whose(live: &Value, stack: &Stack) -> Option<String> {
    let label = |name: &str| live["metadata"]["labels"][name].as_str();
    if label(MANAGED_BY) != Some(MANAGER) {
        return Some("was not made by stackctl".to_owned());
    }
    match label(PART_OF) {
        Some(part_of) if part_of == stack.name.as_str() => {}
        Some(other) => return Some(format!("belongs to the stack {other}")),
        None => return Some("belongs to no stack".to_owned()),
    }
    match label(INSTANCE) {
        Some(other) if other != stack.environment.name.as_str() => {
            Some(format!("belongs to the environment {other}"))
        }
        _ => None,
    }
}

fn foreign(reference: &ObjectRef, object: &Object, whose: &str, stack: &Stack) -> Diagnostic {
    let namespace = &stack.environment.namespace;
    let mut problem = Diagnostic::error(FOREIGN, format!("{reference} exists already and {whose}"));
    if let Some(origin) = object.origins.get("/metadata/name") {
        problem = problem.at(&origin.template, "rendered here");
    }
    problem
        .note(format!("nothing was applied to the namespace {namespace}"))
        .hint("give this environment a namespace of its own, or rename one of the two")
        .hint("`--take-over` makes it part of this stack")
}

/// The user is to decide: making the object anew costs its pods, or its data.
pub(super) fn refuse_immutable(
    observed: &[cluster::Observed],
    desired: &[Object],
) -> Result<(), CommandError> {
    let refused = observed
        .iter()
        .zip(desired)
        .filter(|(found, _)| !found.immutable.is_empty())
        .map(|(found, object)| immutable(found, object));
    fail(Exit::Conflict, refused.collect())
}

fn immutable(found: &cluster::Observed, object: &Object) -> Diagnostic {
    let reference = &found.reference;
    let message = format!("{reference} exists, and a field of it that changes cannot be changed");
    let mut problem = Diagnostic::error(IMMUTABLE, message);
    for (path, place) in changed_for_good(found, object) {
        problem = match place {
            Some(span) => problem.at(&span, path),
            None => problem.note(path),
        };
    }
    for field in found
        .immutable
        .iter()
        .map(ToString::to_string)
        .collect::<BTreeSet<_>>()
    {
        problem = problem.note(field);
    }
    let namespace = reference.namespace.as_deref().unwrap_or_default();
    let (kind, name) = (reference.gvk.kind.to_lowercase(), &reference.name);
    let problem = problem.hint("take the change back");
    if kind == "statefulset" {
        problem
            .hint(format!(
                "or `kubectl delete {kind} {name} -n {namespace} --cascade=orphan` and deploy again: the pods stay until they are rolled"
            ))
            .note("volumes that exist keep their size: change the claims by themselves where the storage class allows it")
    } else {
        problem.hint(format!(
            "or `kubectl delete {kind} {name} -n {namespace}` and deploy again"
        ))
    }
}

/// The fields that differ and may not, each with the place a user would change. The server often names only
/// the object around them.
fn changed_for_good(found: &cluster::Observed, object: &Object) -> Vec<(String, Option<Span>)> {
    let Some(live) = &found.live else {
        return Vec::new();
    };
    let may_change = |pointer: &str| {
        let stateful = found.reference.gvk.kind == "StatefulSet";
        !pointer.starts_with("/spec")
            || (stateful
                && STATEFUL_SET_CHANGES
                    .iter()
                    .any(|free| pointer.starts_with(free)))
    };
    plan::diff(live, &object.value, Some(object))
        .into_iter()
        .filter(|field| field.to.is_some() && field.from.is_some() && !may_change(&field.pointer))
        .map(|field| (field.path, field.origin))
        .collect()
}

/// Nothing can be made in a namespace that is being deleted.
pub(super) fn refuse_terminating(namespace: &Value) -> Result<(), CommandError> {
    if namespace["metadata"]["deletionTimestamp"].is_null() {
        return Ok(());
    }
    let name = namespace["metadata"]["name"].as_str().unwrap_or_default();
    let problem = Diagnostic::error(
        TERMINATING,
        format!("the namespace {name} is being deleted"),
    )
    .hint(format!(
        "wait until it is gone: `kubectl wait --for=delete namespace/{name}`"
    ));
    fail(Exit::Failed, vec![problem])
}

fn fail(exit: Exit, diagnostics: Vec<Diagnostic>) -> Result<(), CommandError> {
    if diagnostics.is_empty() {
        Ok(())
    } else {
        Err(CommandError { exit, diagnostics })
    }
}
