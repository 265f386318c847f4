//! What a failed answer of the API server means. Its texts are those of v1.20 to v1.33.

use k8s_model::ObjectRef;
use kube::core::Status;
use kube::core::response::StatusCause;
use serde_json::Value;

use super::error::{FieldConflict, FieldProblem, ObjectError, Reason, Verb};
use super::field;
use super::retry::CallError;

/// How the typed-patch error of server-side apply begins.
const TYPED_PATCH: &str = "failed to create typed patch object";
/// What it says of a field that the version does not have.
const NOT_DECLARED: &str = "field not declared in schema";

/// An operation and the object it is about: what an error needs to know to be understood.
pub(super) struct Operation<'a> {
    pub(super) verb: Verb,
    pub(super) target: &'a ObjectRef,
    /// What was sent, where something was.
    pub(super) sent: Option<&'a Value>,
}

impl Operation<'_> {
    /// The error of this operation.
    pub(super) fn failed(&self, error: CallError) -> ObjectError {
        let reason = match error {
            CallError::TimedOut(time) => Reason::TimedOut(time),
            CallError::Client(kube::Error::Api(status)) => self.understand(&status),
            CallError::Client(error) => Reason::Transport(Box::new(error)),
        };
        self.because(reason)
    }

    /// The error of this operation, for a reason that is known.
    pub(super) fn because(&self, reason: Reason) -> ObjectError {
        ObjectError {
            verb: self.verb,
            target: Box::new(self.target.clone()),
            reason,
        }
    }

    fn understand(&self, status: &Status) -> Reason {
        let message = status.message.as_str();
        match status.code {
            401 => Reason::Unauthorized,
            403 => self.forbidden(status),
            404 => self.not_found(status),
            409 => self.conflict(status),
            422 => self.invalid(status),
            _ if message.contains("admission webhook") => self.denied(message),
            _ if message.starts_with(TYPED_PATCH) => self.typed_patch(message),
            code => Reason::Server {
                code,
                message: self.public(message),
            },
        }
    }

    fn forbidden(&self, status: &Status) -> Reason {
        let message = status.message.as_str();
        let terminating = causes(status).any(|cause| cause.reason == "NamespaceTerminating");
        if terminating || message.contains("because it is being terminated") {
            Reason::NamespaceTerminating(self.namespace())
        } else if message.contains("exceeded quota") {
            Reason::Quota(message.to_owned())
        } else if message.contains("admission webhook") {
            self.denied(message)
        } else {
            Reason::Forbidden(message.to_owned())
        }
    }

    fn not_found(&self, status: &Status) -> Reason {
        let details = status.details.as_ref();
        let kind = details.map_or("", |details| details.kind.as_str());
        let name = details.map_or("", |details| details.name.as_str());
        if kind == "namespaces" && self.target.gvk.kind != "Namespace" {
            Reason::NamespaceMissing(name.to_owned())
        } else if name.is_empty() {
            Reason::NotServed(self.target.gvk.clone())
        } else {
            Reason::NotFound
        }
    }

    fn conflict(&self, status: &Status) -> Reason {
        let conflicts: Vec<FieldConflict> = causes(status)
            .filter(|cause| cause.reason == "FieldManagerConflict")
            .map(|cause| FieldConflict {
                manager: quoted(&cause.message).unwrap_or(&cause.message).to_owned(),
                field: cause.field.clone(),
                pointer: self.pointer(&cause.field),
            })
            .collect();
        if !conflicts.is_empty() {
            Reason::Conflict(conflicts)
        } else if status.is_already_exists() {
            Reason::AlreadyExists
        } else {
            Reason::Changed
        }
    }

    fn invalid(&self, status: &Status) -> Reason {
        let mut problems: Vec<FieldProblem> = causes(status)
            .map(|cause| self.problem(&cause.field, &cause.message))
            .collect();
        if problems.is_empty() {
            problems.push(self.problem("", &status.message));
        }
        if status.message.contains("immutable")
            || status.message.contains("updates to statefulset spec")
        {
            Reason::Immutable(problems)
        } else {
            Reason::Invalid(problems)
        }
    }

    /// `failed to create typed patch object[ (…)]: PATH: WORDS`, or `errors:` and one such line each.
    fn typed_patch(&self, message: &str) -> Reason {
        let body = message[TYPED_PATCH.len()..]
            .split_once(": ")
            .map_or("", |(_, body)| body);
        let lines = match body.strip_prefix("errors:") {
            Some(lines) => lines.lines().collect(),
            None => vec![body],
        };
        let problems: Vec<FieldProblem> = lines
            .into_iter()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(|line| match line.split_once(": ") {
                Some((path, words)) => self.problem(path, words),
                None => self.problem("", line),
            })
            .collect();
        if problems
            .iter()
            .any(|problem| problem.message.contains(NOT_DECLARED))
        {
            Reason::UnknownField(problems)
        } else {
            Reason::Invalid(problems)
        }
    }

    fn problem(&self, path: &str, message: &str) -> FieldProblem {
        let first_line = message.lines().next().unwrap_or_default();
        FieldProblem {
            field: path.to_owned(),
            pointer: self.pointer(path),
            message: self.public(first_line),
        }
    }

    /// The server's text; where the object is a Secret, only those of its words that hold no values.
    fn public(&self, message: &str) -> String {
        const HARMLESS: [&str; 8] = [
            NOT_DECLARED,
            "Duplicate value",
            "Forbidden",
            "Invalid value",
            "Required value",
            "Too long",
            "Unsupported value",
            "etcdserver",
        ];
        if self.target.gvk.kind != "Secret" {
            return message.to_owned();
        }
        let words = HARMLESS.iter().find(|words| message.starts_with(*words));
        let words = words.unwrap_or(&"the server does not accept it");
        format!("{words} (its text may hold secret values and is left out)")
    }

    fn denied(&self, message: &str) -> Reason {
        let webhook = quoted(message).unwrap_or("an admission webhook").to_owned();
        let words = message
            .split_once("denied the request: ")
            .map_or(message, |(_, words)| words);
        Reason::Denied {
            webhook,
            message: self.public(words),
        }
    }

    fn pointer(&self, path: &str) -> String {
        self.sent
            .map(|sent| field::pointer(path, sent))
            .unwrap_or_default()
    }

    fn namespace(&self) -> String {
        match &self.target.namespace {
            Some(namespace) => namespace.clone(),
            None => self.target.name.clone(),
        }
    }
}

/// A client's error without the wrappers that kube and hyper put around it, cause last.
pub(super) fn plain(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return status.message.clone();
    }
    let mut texts: Vec<String> = Vec::new();
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = next {
        let text = cause.to_string();
        // A wrapper that repeats its cause, and hyper's word for "while connecting", say nothing.
        texts.retain(|outer| !outer.contains(&text) && outer != "client error (Connect)");
        texts.push(text);
        next = cause.source();
    }
    texts.join(": ")
}

fn causes(status: &Status) -> impl Iterator<Item = &StatusCause> {
    status.details.iter().flat_map(|details| &details.causes)
}

/// What stands between the first pair of double quotes.
fn quoted(text: &str) -> Option<&str> {
    text.split('"').nth(1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn understand(status: Value, sent: &Value) -> ObjectError {
        let target = ObjectRef::of(sent).unwrap();
        let status: Status = serde_json::from_value(status).unwrap();
        Operation {
            verb: Verb::Apply,
            target: &target,
            sent: Some(sent),
        }
        .failed(CallError::Client(kube::Error::Api(status.boxed())))
    }

    fn deployment() -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "shop", "labels": {"x": "y"}},
            "spec": {"replicas": -1, "selector": {"matchLabels": {"a": "b"}}},
            "dota": {},
        })
    }

    #[test]
    fn a_conflict_names_the_manager_and_the_field() {
        let error = understand(
            json!({"code": 409, "reason": "Conflict", "message": "Apply failed with 1 conflict", "details": {
                "causes": [{"reason": "FieldManagerConflict", "field": ".metadata.labels.x",
                            "message": "conflict with \"kubectl-label\" using v1"}]}}),
            &deployment(),
        );
        assert_eq!(
            error.to_string(),
            "cannot apply Deployment/web: `.metadata.labels.x` is owned by `kubectl-label`"
        );
        assert_eq!(error.pointers(), ["/metadata/labels/x"]);
        assert_eq!(
            crate::diagnostic::Explain::exit(&error),
            crate::diagnostic::Exit::Conflict
        );
    }

    #[test]
    fn invalid_fields_keep_their_places() {
        let error = understand(
            json!({"code": 422, "reason": "Invalid", "message": "Deployment.apps \"web\" is invalid", "details": {
                "name": "web", "kind": "Deployment", "causes": [
                    {"reason": "FieldValueInvalid", "field": "spec.replicas",
                     "message": "Invalid value: -1: must be greater than or equal to 0"},
                    {"reason": "FieldValueRequired", "field": "spec.template.spec.containers",
                     "message": "Required value"}]}}),
            &deployment(),
        );
        assert!(matches!(error.reason, Reason::Invalid(_)), "{error:?}");
        assert_eq!(error.pointers(), ["/spec/replicas", "/spec"]);
    }

    #[test]
    fn an_immutable_field_is_told_from_an_invalid_one() {
        let message = "Deployment.apps \"web\" is invalid: spec.selector: Invalid value: …: field is immutable";
        let error = understand(
            json!({"code": 422, "reason": "Invalid", "message": message, "details": {"causes": [
                {"reason": "FieldValueInvalid", "field": "spec.selector", "message": "field is immutable"}]}}),
            &deployment(),
        );
        assert!(matches!(error.reason, Reason::Immutable(_)), "{error:?}");
        assert_eq!(error.pointers(), ["/spec/selector"]);
    }

    #[test]
    fn unknown_fields_are_found_in_old_and_new_wordings() {
        for message in [
            "failed to create typed patch object: .dota: field not declared in schema",
            "failed to create typed patch object (shop/web; apps/v1, Kind=Deployment): .dota: field not declared in schema",
            "failed to create typed patch object: errors:\n  .dota: field not declared in schema\n",
        ] {
            let error = understand(json!({"code": 500, "message": message}), &deployment());
            assert!(matches!(error.reason, Reason::UnknownField(_)), "{error:?}");
            assert_eq!(error.pointers(), ["/dota"], "{message}");
        }
    }

    #[test]
    fn forbidden_has_three_meanings() {
        let forbidden = |message: &str, causes: Value| {
            understand(
                json!({"code": 403, "reason": "Forbidden", "message": message, "details": {"causes": causes}}),
                &deployment(),
            )
            .reason
        };
        assert!(matches!(
            forbidden(
                "User \"bob\" cannot patch resource \"deployments\"",
                json!([])
            ),
            Reason::Forbidden(_)
        ));
        assert!(matches!(
            forbidden("web is forbidden: exceeded quota: small", json!([])),
            Reason::Quota(_)
        ));
        let terminating = forbidden(
            "",
            json!([{"reason": "NamespaceTerminating", "message": ""}]),
        );
        assert!(matches!(terminating, Reason::NamespaceTerminating(name) if name == "shop"));
    }

    #[test]
    fn a_webhook_is_named() {
        let error = understand(
            json!({"code": 400, "message": "admission webhook \"policy.example.com\" denied the request: no root"}),
            &deployment(),
        );
        assert_eq!(
            error.to_string(),
            "cannot apply Deployment/web: `policy.example.com` denied it: no root"
        );
    }

    #[test]
    fn what_is_missing_is_told_apart() {
        let missing = |details: Value| {
            understand(
                json!({"code": 404, "reason": "NotFound", "details": details}),
                &deployment(),
            )
            .reason
        };
        assert!(matches!(missing(json!({})), Reason::NotServed(_)));
        assert!(matches!(
            missing(json!({"name": "web", "kind": "deployments"})),
            Reason::NotFound
        ));
        assert!(matches!(
            missing(json!({"name": "shop", "kind": "namespaces"})),
            Reason::NamespaceMissing(name) if name == "shop"
        ));
    }

    #[test]
    fn a_secrets_values_do_not_come_back_in_errors() {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "web"}, "data": {"k": "aHVudGVyMg=="}});
        let error = understand(
            json!({"code": 422, "message": "Secret \"web\" is invalid: data[k]: Invalid value: \"hunter2\": no",
                   "details": {"causes": [{"field": "data[k]", "message": "Invalid value: \"hunter2\": no"}]}}),
            &secret,
        );
        let everything = format!(
            "{error} {error:?} {:?}",
            crate::diagnostic::Explain::diagnostics(&error)
        );
        assert!(!everything.contains("hunter2"), "{everything}");
        assert_eq!(error.pointers(), ["/data/k"]);
        assert_eq!(
            error.to_string(),
            "cannot apply Secret/web: `data[k]`: Invalid value (its text may hold secret values and is left out)"
        );
        for message in [
            "failed to create typed patch object: .data.k: expected string, got hunter2",
            "admission webhook \"w\" does not like hunter2",
            "hunter2",
        ] {
            let error = understand(json!({"code": 500, "message": message}), &secret);
            let everything = format!("{error} {error:?}");
            assert!(!everything.contains("hunter2"), "{everything}");
        }
    }
}
