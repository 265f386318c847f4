//! [`Outcome`] → JSON for programs: one document with `version`, raised when a field changes its meaning or goes.

use serde_json::{Value, json};

use crate::commands::Outcome;
use crate::commands::status::Status;
use crate::diagnosis::ServiceState;
use crate::diagnostic::Diagnostic;
use crate::image::BuildReport;
use crate::plan::{Action, Change, Plan};
use crate::verify;

/// Version of every document here.
const VERSION: u32 = 1;

/// The outcome as programs read it.
pub(super) fn document(outcome: &Outcome) -> String {
    let value = match outcome {
        Outcome::Smoked(report) => return verify::json(report),
        Outcome::Rendered(manifests) => json!({ "manifests": manifests }),
        Outcome::Initialised(written) => json!({
            "name": written.name.as_str(),
            "directory": written.directory,
            "files": written.files,
        }),
        Outcome::Written(files) => json!({ "files": files }),
        Outcome::Validated(found) => json!({
            "services": found.services,
            "objects": found.objects,
            "checks": found.checks,
            "problems": [],
        }),
        Outcome::Built(built) => return built.report.to_json(),
        Outcome::Planned(plan) => changes(plan),
        Outcome::Deployed(rolled_out) => changes(&rolled_out.plan),
        Outcome::Up(up) => {
            let mut value = changes(&up.rolled_out.plan);
            value["images"] = images(&up.built);
            value["smoke"] = serde_json::from_str(&verify::json(&up.smoke)).unwrap_or_default();
            value["milliseconds"] =
                json!(u64::try_from(up.elapsed.as_millis()).unwrap_or(u64::MAX));
            value
        }
        Outcome::Status(status) => services(status),
        Outcome::Deleted(report) => json!({
            "deleted": report.deleted.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "kept": report.kept.iter().map(|(object, _)| object.to_string()).collect::<Vec<_>>(),
        }),
        Outcome::Ended => return String::new(),
    };
    versioned(value)
}

/// The problems of a command that failed.
pub(super) fn problems(problems: &[Diagnostic]) -> String {
    versioned(json!({ "problems": problems.iter().map(problem).collect::<Vec<_>>() }))
}

fn versioned(mut value: Value) -> String {
    value["version"] = VERSION.into();
    format!("{value:#}\n")
}

fn problem(problem: &Diagnostic) -> Value {
    let places: Vec<Value> = problem
        .labels
        .iter()
        .map(|label| {
            let position = label.span.position();
            json!({
                "file": label.span.file().path(),
                "line": position.line,
                "column": position.column,
                "text": label.text,
            })
        })
        .collect();
    json!({
        "code": problem.code.as_str(),
        "message": problem.message,
        "places": places,
        "notes": problem.notes,
        "hints": problem.hints,
    })
}

fn changes(plan: &Plan) -> Value {
    let counts: serde_json::Map<String, Value> = plan
        .counts()
        .iter()
        .map(|(name, count)| ((*name).to_owned(), (*count).into()))
        .collect();
    json!({ "counts": counts, "changes": plan.changes.iter().map(change).collect::<Vec<_>>() })
}

fn change(change: &Change) -> Value {
    let (action, fields) = match &change.action {
        Action::Create => ("create", Vec::new()),
        Action::Delete => ("delete", Vec::new()),
        Action::Keep => ("keep", Vec::new()),
        Action::Update { fields } => {
            let fields = fields.iter().map(|field| {
                json!({
                    "path": field.path,
                    "from": field.from,
                    "to": field.to,
                    "origin": field.origin.as_ref().map(ToString::to_string),
                })
            });
            ("update", fields.collect())
        }
    };
    json!({
        "object": change.reference.to_string(),
        "namespace": change.reference.namespace,
        "apiVersion": change.reference.gvk.api_version(),
        "service": change.service.as_ref().map(ToString::to_string),
        "action": action,
        "fields": fields,
    })
}

fn images(built: &BuildReport) -> Value {
    let document: Value = serde_json::from_str(&built.to_json()).unwrap_or_default();
    document["images"].clone()
}

fn services(status: &Status) -> Value {
    let services: Vec<Value> = status
        .services
        .iter()
        .map(|service| {
            let (state, reason) = match &service.state {
                ServiceState::Ready => ("ready", None),
                ServiceState::Waiting(reason) => ("waiting", Some(reason.to_string())),
                ServiceState::Broken(cause) => ("broken", Some(cause.message())),
            };
            json!({
                "service": service.service.as_str(),
                "workload": service.workload.to_string(),
                "ready": service.ready,
                "desired": service.desired,
                "restarts": service.restarts,
                "image": service.image,
                "started": service.started.map(|started| started.to_string()),
                "state": state,
                "reason": reason,
            })
        })
        .collect();
    let absent: Vec<&str> = status
        .absent
        .iter()
        .map(|service| service.as_str())
        .collect();
    let leftover: Vec<&str> = status
        .leftover
        .iter()
        .map(|status| status.service.as_str())
        .collect();
    json!({ "services": services, "absent": absent, "leftover": leftover })
}
