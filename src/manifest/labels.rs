//! The labels that stackctl puts on every object.

use k8s_model::pointer::{child, item, steps};
use serde_json::{Value, json};

use crate::diagnostic::{Code, Diagnostic};
use crate::stack::{ServiceName, Stack};

use super::object::Object;
use super::pod;

/// A template sets one of stackctl's labels or annotations to another value.
const RESERVED: Code = Code::new("S0302");

/// The label with the name of the service.
pub const NAME: &str = "app.kubernetes.io/name";
/// The label with the name of the stack.
pub const PART_OF: &str = "app.kubernetes.io/part-of";
/// The label with the name of the environment.
pub const INSTANCE: &str = "app.kubernetes.io/instance";
/// The label that says who wrote the object.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY`].
pub const MANAGER: &str = "stackctl";
/// The labels of an object of `service`, or of the stack as a whole.
#[must_use]
pub fn labels(service: Option<&ServiceName>, stack: &Stack) -> Vec<(&'static str, String)> {
    let mut labels = lasting_labels(service, stack);
    labels.push((INSTANCE, stack.environment.name.to_string()));
    labels
}

/// Those of the labels that are the same in all environments.
fn lasting_labels(service: Option<&ServiceName>, stack: &Stack) -> Vec<(&'static str, String)> {
    service
        .map(|service| (NAME, service.to_string()))
        .into_iter()
        .chain([
            (PART_OF, stack.name.to_string()),
            (MANAGED_BY, MANAGER.to_owned()),
        ])
        .collect()
}

pub(super) fn set_labels(object: &mut Object, stack: &Stack, problems: &mut Vec<Diagnostic>) {
    let gvk = object.reference().gvk;
    let service = object.service.clone();
    let all = labels(service.as_ref(), stack);
    let lasting = lasting_labels(service.as_ref(), stack);
    set_all(object, "/metadata", "labels", &all, problems);
    let template = pod::template_pointer(&gvk).filter(|pointer| !pointer.is_empty());
    if let Some(template) = template.filter(|pointer| is_map(object, pointer)) {
        let labels = if gvk.kind == "Job" { &lasting } else { &all };
        let metadata = child(template, "metadata");
        set_all(object, &metadata, "labels", labels, problems);
    }
    if gvk.kind == "CronJob" && is_map(object, "/spec/jobTemplate") {
        set_all(
            object,
            "/spec/jobTemplate/metadata",
            "labels",
            &all,
            problems,
        );
    }
    let claims = "/spec/volumeClaimTemplates";
    let count = object
        .value
        .pointer(claims)
        .and_then(Value::as_array)
        .map_or(0, Vec::len);
    for index in 0..count {
        let metadata = child(&item(claims, index), "metadata");
        set_all(object, &metadata, "labels", &lasting, problems);
    }
}

fn is_map(object: &Object, pointer: &str) -> bool {
    object.value.pointer(pointer).is_some_and(Value::is_object)
}

/// Sets labels or annotations; a template may write the same value, not another one.
pub(super) fn set_all(
    object: &mut Object,
    metadata: &str,
    field: &str,
    values: &[(&'static str, String)],
    problems: &mut Vec<Diagnostic>,
) {
    let map = child(metadata, field);
    for (key, ours) in values {
        let pointer = child(&map, key);
        match object.value.pointer(&pointer) {
            None => fill_in(object, &map, key, ours.as_str().into()),
            Some(theirs) if theirs == ours.as_str() => {}
            Some(theirs) => {
                let noun = field.trim_end_matches('s');
                let message = format!(
                    "{} sets the {noun} `{key}` to {theirs}, but stackctl sets it to \"{ours}\"",
                    object.reference()
                );
                problems.push(
                    object
                        .error(RESERVED, &pointer, message)
                        .hint(format!("leave the {noun} out: stackctl puts it in")),
                );
            }
        }
    }
}

/// Sets a field that the template left out; maps on the way to it are made. What has another shape stays
/// as it is: the check of types reports it.
pub(super) fn fill_in(object: &mut Object, parent: &str, key: &str, value: Value) {
    let mut here = &mut object.value;
    for step in steps(parent) {
        here = match here {
            Value::Array(items) => match step
                .parse()
                .ok()
                .and_then(|index: usize| items.get_mut(index))
            {
                Some(item) => item,
                None => return,
            },
            Value::Object(map) => map.entry(step).or_insert(Value::Null),
            _ => return,
        };
        if here.is_null() {
            *here = json!({});
        }
    }
    if let Value::Object(map) = here {
        map.insert(key.to_owned(), value);
        object.origins.fill_in(child(parent, key));
    }
}
