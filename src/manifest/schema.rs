//! The types of Kubernetes, checked without a cluster: unknown fields, wrong types, missing fields,
//! quantities, API versions that are gone.
//!
//! A walk of our own over the schemas that schemars makes of k8s-openapi's types: they use five keywords
//! only, and a general validator neither finds unknown fields in them nor words its findings for people.

use k8s_model::pointer::{child, item, path};
use k8s_model::{Gvk, Quantity};
use serde_json::{Map, Value, json};

use crate::diagnostic::{Code, Diagnostic, did_you_mean};
use crate::secret;

use super::kinds::{self, Kind};
use super::object::Object;

/// A field that the kind does not have.
const UNKNOWN_FIELD: Code = Code::new("S0310");
/// A value of a type that the field does not take.
const WRONG_TYPE: Code = Code::new("S0311");
/// A required field is not there.
const MISSING_FIELD: Code = Code::new("S0312");
/// A text that is not of the form that the field takes.
const WRONG_FORM: Code = Code::new("S0313");
/// An API version that Kubernetes removed or never had.
const WRONG_VERSION: Code = Code::new("S0314");
/// A kind that Kubernetes does not have.
const UNKNOWN_KIND: Code = Code::new("S0315");
/// A kind whose types are not known here: a custom resource.
const UNCHECKED: Code = Code::new("S0316");

/// Everything in `object` that the API server would refuse for its type.
pub(crate) fn check(object: &Object) -> Vec<Diagnostic> {
    let gvk = object.reference().gvk;
    let Some(kind) = kinds::find(&gvk) else {
        return vec![unknown_kind(object, &gvk)];
    };
    let schema = kind.schema();
    let mut walk = Walk {
        object,
        definitions: schema.get("$defs").and_then(Value::as_object),
        found: Vec::new(),
    };
    walk.value(schema, "", &object.value);
    walk.found
}

fn unknown_kind(object: &Object, gvk: &Gvk) -> Diagnostic {
    if let Some(newest) = kinds::newest(&gvk.group, &gvk.kind) {
        return wrong_version(object, gvk, newest);
    }
    let built_in = kinds::is_built_in(&gvk.group);
    // A kind may have moved: extensions/v1beta1 Ingress.
    if let Some(moved) = kinds::named(&gvk.kind).next().filter(|_| built_in) {
        return wrong_version(object, gvk, moved);
    }
    if let Some(kind) = did_you_mean(&gvk.kind, kinds::names_in(&gvk.group)) {
        let message = format!("`{}` has no kind `{}`", gvk.api_version(), gvk.kind);
        return object
            .error(UNKNOWN_KIND, "/kind", message)
            .hint(format!("did you mean `{kind}`?"));
    }
    if built_in && gvk.kind.ends_with("List") && object.value.get("items").is_some() {
        return object
            .error(
                UNKNOWN_KIND,
                "/kind",
                format!("{gvk} holds objects and is none itself"),
            )
            .hint("write each of its items as a document of its own, with `---` between them");
    }
    let message = format!(
        "the fields of {} are not checked: {gvk} is not known here",
        object.reference()
    );
    object.place(Diagnostic::warning(UNCHECKED, message), "/apiVersion")
}

fn wrong_version(object: &Object, gvk: &Gvk, newest: &Kind) -> Diagnostic {
    let message = match kinds::removed_in(gvk) {
        Some(minor) => format!("Kubernetes 1.{minor} removed {gvk}"),
        None => format!("Kubernetes has no {gvk}"),
    };
    object
        .error(WRONG_VERSION, "/apiVersion", message)
        .note("templates are written for the newest Kubernetes; for an older cluster stackctl maps them")
        .hint(format!("write `apiVersion: {}`", newest.api_version()))
}

/// One object on its way through its schema.
struct Walk<'a> {
    object: &'a Object,
    definitions: Option<&'a Map<String, Value>>,
    found: Vec<Diagnostic>,
}

impl<'a> Walk<'a> {
    fn value(&mut self, schema: &'a Value, pointer: &str, value: &Value) {
        let (name, schema) = self.resolve(schema);
        match (name.rsplit('.').next(), schema["type"].as_str()) {
            (Some("Quantity"), _) => self.quantity(pointer, value),
            (Some("IntOrString"), _) => self.int_or_string(pointer, value),
            (_, Some("object")) => self.object(schema, pointer, value),
            (_, Some("array")) => match value {
                Value::Array(items) => {
                    for (index, value) in items.iter().enumerate() {
                        self.value(&schema["items"], &item(pointer, index), value);
                    }
                }
                _ => self.wrong_type(pointer, value, "a list"),
            },
            (_, Some("string")) => match value {
                Value::String(text) => self.string(schema, pointer, text),
                _ => self.wrong_type(pointer, value, "a string"),
            },
            (_, Some("integer")) => self.integer(schema, pointer, value),
            (_, Some("number")) if !value.is_number() => {
                self.wrong_type(pointer, value, "a number")
            }
            (_, Some("boolean")) if !value.is_boolean() => {
                self.wrong_type(pointer, value, "true or false")
            }
            // Any JSON, such as defaults in a CustomResourceDefinition.
            _ => {}
        }
    }

    /// The schema behind a `$ref` and its name.
    fn resolve(&self, schema: &'a Value) -> (&'a str, &'a Value) {
        schema["$ref"]
            .as_str()
            .and_then(|reference| reference.strip_prefix("#/$defs/"))
            .and_then(|name| Some((name, self.definitions?.get(name)?)))
            .unwrap_or(("", schema))
    }

    fn object(&mut self, schema: &'a Value, pointer: &str, value: &Value) {
        let Value::Object(map) = value else {
            return self.wrong_type(pointer, value, "a map");
        };
        if let Some(values) = schema
            .get("additionalProperties")
            .filter(|values| values.is_object())
        {
            for (key, value) in map {
                self.value(values, &child(pointer, key), value);
            }
            return;
        }
        let Some(fields) = schema.get("properties").and_then(Value::as_object) else {
            return;
        };
        // The API server takes null for "not there".
        for (key, value) in map.iter().filter(|(_, value)| !value.is_null()) {
            match fields.get(key) {
                Some(schema) => self.value(schema, &child(pointer, key), value),
                None => self.unknown_field(fields, pointer, key),
            }
        }
        let required = schema["required"].as_array().into_iter().flatten();
        for field in required.filter_map(Value::as_str) {
            if map.get(field).is_none_or(Value::is_null) {
                let missing = path(&child(pointer, field), &self.object.value);
                let message = format!("{} lacks the field `{missing}`", self.object.reference());
                self.found
                    .push(self.object.error(MISSING_FIELD, pointer, message));
            }
        }
    }

    fn unknown_field(&mut self, fields: &Map<String, Value>, parent: &str, key: &str) {
        let pointer = child(parent, key);
        let message = format!(
            "{} has an unknown field `{}`",
            self.object.reference(),
            path(&pointer, &self.object.value)
        );
        let mut problem = self.object.error(UNKNOWN_FIELD, &pointer, message);
        let same = fields.keys().find(|field| field.eq_ignore_ascii_case(key));
        let near = did_you_mean(key, fields.keys().map(String::as_str));
        if let Some(field) = same.map(String::as_str).or(near) {
            problem = problem.hint(format!("did you mean `{field}`?"));
        } else if fields.len() <= 12 {
            let names: Vec<&str> = fields.keys().map(String::as_str).collect();
            problem = problem.hint(format!("the fields here are {}", names.join(", ")));
        }
        self.found.push(problem);
    }

    fn string(&mut self, schema: &Value, pointer: &str, text: &str) {
        if schema["format"] == "byte" && !secret::is_secret(text) && !is_base64(text) {
            self.wrong_form(
                pointer,
                "is not base64",
                "write it in plain text under `stringData`",
            );
        }
    }

    fn integer(&mut self, schema: &Value, pointer: &str, value: &Value) {
        let Some(number) = value.as_i64() else {
            return self.wrong_type(pointer, value, "an integer");
        };
        if schema["format"] == "int32" && i32::try_from(number).is_err() {
            self.wrong_form(pointer, "does not fit into 32 bits", "");
        } else if is_port(pointer) && !(1..=65535).contains(&number) {
            self.wrong_form(pointer, "is no port: those go from 1 to 65535", "");
        }
    }

    fn quantity(&mut self, pointer: &str, value: &Value) {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return self.wrong_type(pointer, value, "a quantity such as 500m or 128Mi"),
        };
        if let Err(error) = text.parse::<Quantity>() {
            let remedy = quantity_remedy(&text);
            self.wrong_form(pointer, &format!("is no quantity: {error}"), remedy);
        }
    }

    fn int_or_string(&mut self, pointer: &str, value: &Value) {
        let Value::String(text) = value else {
            return if value.is_i64() {
                self.integer(&json!({"format": "int32"}), pointer, value);
            } else {
                self.wrong_type(pointer, value, "an integer, a percentage or a name");
            };
        };
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if digits(text) {
            self.wrong_form(pointer, "is a number in quotes", "leave the quotes out");
        } else if !text.strip_suffix('%').is_some_and(digits) && !is_port_name(text) {
            self.wrong_form(
                pointer,
                "is neither a number, a percentage nor the name of a port",
                "",
            );
        }
    }

    fn wrong_type(&mut self, pointer: &str, value: &Value, wanted: &str) {
        let message = format!(
            "{}: `{}` takes {wanted}, but this is {}",
            self.object.reference(),
            path(pointer, &self.object.value),
            type_name(value)
        );
        let mut problem = self.object.error(WRONG_TYPE, pointer, message);
        if wanted == "a string" && (value.is_number() || value.is_boolean()) {
            problem = problem.hint(format!("put it in quotes: \"{value}\""));
        }
        self.found.push(problem);
    }

    fn wrong_form(&mut self, pointer: &str, what: &str, remedy: &str) {
        let message = format!(
            "{}: `{}` {what}",
            self.object.reference(),
            path(pointer, &self.object.value)
        );
        let problem = self.object.error(WRONG_FORM, pointer, message);
        self.found.push(if remedy.is_empty() {
            problem
        } else {
            problem.hint(remedy)
        });
    }
}

fn is_port(pointer: &str) -> bool {
    let field = pointer.rsplit('/').next();
    matches!(
        field,
        Some("containerPort" | "nodePort" | "port" | "targetPort")
    )
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a number with a fraction",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

/// The slips that are made most.
fn quantity_remedy(text: &str) -> &'static str {
    match text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.') {
        "MB" | "mb" | "Mb" | "mi" | "MI" | "MiB" => "write Mi (1024 × 1024) or M (1000 × 1000)",
        "GB" | "gb" | "Gb" | "gi" | "GI" | "GiB" | "g" => "write Gi (1024 × 1024 × 1024) or G",
        "KB" | "kb" | "Kb" | "ki" | "KI" | "KiB" | "K" => "write Ki (1024) or k (1000)",
        _ => "",
    }
}

/// With padding (RFC 4648, section 4); line breaks are skipped, as Go does.
fn is_base64(text: &str) -> bool {
    let bytes: Vec<u8> = text
        .bytes()
        .filter(|byte| !matches!(byte, b'\n' | b'\r'))
        .collect();
    let padding = bytes.iter().rev().take_while(|byte| **byte == b'=').count();
    let body = &bytes[..bytes.len() - padding];
    bytes.len().is_multiple_of(4)
        && padding <= 2
        && body
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}

/// Kubernetes' IANA_SVC_NAME: at most 15 of a-z, 0-9 and -, with a letter, no - at the ends or twice.
fn is_port_name(text: &str) -> bool {
    text.len() <= 15
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && text.bytes().any(|b| b.is_ascii_lowercase())
        && !text.starts_with('-')
        && !text.ends_with('-')
        && !text.contains("--")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::{Severity, SourceFile, Span};
    use crate::manifest::object::{Origin, Origins};
    use crate::manifest::sample::object;

    fn problems(value: Value) -> Vec<Diagnostic> {
        check(&object("web", value))
    }

    /// The only problem, as `CODE message | hint`.
    fn problem(value: Value) -> String {
        let found = problems(value);
        assert_eq!(found.len(), 1, "{found:#?}");
        let Diagnostic {
            code,
            message,
            hints,
            ..
        } = &found[0];
        format!("{code} {message} | {}", hints.join("; "))
    }

    fn deployment(change: impl FnOnce(&mut Value)) -> Value {
        let mut value = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "labels": {"a": "b"}, "annotations": null},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": {"a": "b"}},
                "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
                "template": {
                    "metadata": {"labels": {"a": "b"}},
                    "spec": {"containers": [{
                        "name": "web",
                        "image": "web:1",
                        "env": [{"name": "A", "value": "1"}],
                        "ports": [{"containerPort": 80, "name": "http"}],
                        "livenessProbe": {"httpGet": {"path": "/", "port": "http"}},
                        "resources": {"limits": {"cpu": 1, "memory": "128Mi"}},
                    }]},
                },
            },
        });
        change(&mut value);
        value
    }

    fn container(change: impl FnOnce(&mut Value)) -> Value {
        deployment(|value| change(&mut value["spec"]["template"]["spec"]["containers"][0]))
    }

    #[test]
    fn a_good_object_has_no_problems() {
        assert_eq!(problems(deployment(|_| {})), []);
    }

    #[test]
    fn what_the_api_server_would_refuse() {
        let at = "spec.template.spec.containers[web]";
        for (value, expected) in [
            (
                deployment(|v| v["spec"]["replica"] = json!(1)),
                "S0310 Deployment/web has an unknown field `spec.replica` | did you mean `replicas`?".to_owned(),
            ),
            (
                container(|c| c["imagepullpolicy"] = json!("Always")),
                format!("S0310 Deployment/web has an unknown field `{at}.imagepullpolicy` | did you mean `imagePullPolicy`?"),
            ),
            (
                deployment(|v| v["spec"]["replicas"] = json!("2")),
                "S0311 Deployment/web: `spec.replicas` takes an integer, but this is a string | ".into(),
            ),
            (
                deployment(|v| v["spec"]["replicas"] = json!(2.5)),
                "S0311 Deployment/web: `spec.replicas` takes an integer, but this is a number with a fraction | ".into(),
            ),
            (
                deployment(|v| v["spec"]["replicas"] = json!(5_000_000_000_i64)),
                "S0313 Deployment/web: `spec.replicas` does not fit into 32 bits | ".into(),
            ),
            (
                container(|c| c["env"][0]["value"] = json!(1)),
                format!("S0311 Deployment/web: `{at}.env[A].value` takes a string, but this is an integer | put it in quotes: \"1\""),
            ),
            (
                container(|c| c["args"] = json!("--help")),
                format!("S0311 Deployment/web: `{at}.args` takes a list, but this is a string | "),
            ),
            (
                deployment(|v| v["metadata"]["labels"] = json!({"a/b": null})),
                "S0311 Deployment/web: `metadata.labels[a/b]` takes a string, but this is null | ".into(),
            ),
            (
                deployment(|v| v["spec"]["selector"] = json!(null)),
                "S0312 Deployment/web lacks the field `spec.selector` | ".into(),
            ),
            (
                container(|c| c["resources"]["limits"]["memory"] = json!("128MB")),
                format!("S0313 Deployment/web: `{at}.resources.limits.memory` is no quantity: the suffix must be one of n u m k M G T P E Ki Mi Gi Ti Pi Ei or an exponent such as e3 | write Mi (1024 × 1024) or M (1000 × 1000)"),
            ),
            (
                container(|c| c["resources"]["limits"]["memory"] = json!(true)),
                format!("S0311 Deployment/web: `{at}.resources.limits.memory` takes a quantity such as 500m or 128Mi, but this is a boolean | "),
            ),
            (
                container(|c| c["livenessProbe"]["httpGet"]["port"] = json!("8080")),
                format!("S0313 Deployment/web: `{at}.livenessProbe.httpGet.port` is a number in quotes | leave the quotes out"),
            ),
            (
                container(|c| c["livenessProbe"]["httpGet"]["port"] = json!(80_800)),
                format!("S0313 Deployment/web: `{at}.livenessProbe.httpGet.port` is no port: those go from 1 to 65535 | "),
            ),
            (
                container(|c| c["ports"][0]["containerPort"] = json!(0)),
                format!("S0313 Deployment/web: `{at}.ports[http].containerPort` is no port: those go from 1 to 65535 | "),
            ),
            (
                deployment(|v| v["spec"]["strategy"]["rollingUpdate"]["maxSurge"] = json!("a quarter")),
                "S0313 Deployment/web: `spec.strategy.rollingUpdate.maxSurge` is neither a number, a percentage nor the name of a port | ".into(),
            ),
        ] {
            assert_eq!(problem(value), expected);
        }
    }

    #[test]
    fn secrets_hold_base64() {
        let secret = |data: &str| {
            json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "web"}, "data": {"key": data},
            })
        };
        for good in [
            "",
            "YQ==",
            "YWI=",
            "YWJj",
            "YW\nJj",
            "\u{F0010}x\u{F0011}b\u{F0012}",
        ] {
            assert_eq!(problems(secret(good)), [], "{good:?}");
        }
        for bad in ["a", "YQ=", "a b c d ", "Y===", "=YQ="] {
            assert_eq!(
                problem(secret(bad)),
                "S0313 Secret/web: `data.key` is not base64 | write it in plain text under `stringData`",
                "{bad:?}"
            );
        }
    }

    #[test]
    fn versions_and_kinds_that_do_not_exist() {
        let of = |api_version: &str, kind: &str| {
            problem(json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "x"}}))
        };
        for (api_version, kind, expected) in [
            (
                "policy/v1beta1",
                "PodDisruptionBudget",
                "S0314 Kubernetes 1.25 removed policy/v1beta1 PodDisruptionBudget | write `apiVersion: policy/v1`",
            ),
            (
                "extensions/v1beta1",
                "Ingress",
                "S0314 Kubernetes 1.22 removed extensions/v1beta1 Ingress | write `apiVersion: networking.k8s.io/v1`",
            ),
            (
                "autoscaling/v2beta2",
                "HorizontalPodAutoscaler",
                "S0314 Kubernetes 1.26 removed autoscaling/v2beta2 HorizontalPodAutoscaler | write `apiVersion: autoscaling/v2`",
            ),
            (
                "apps/v2",
                "Deployment",
                "S0314 Kubernetes has no apps/v2 Deployment | write `apiVersion: apps/v1`",
            ),
            (
                "v1",
                "Deployment",
                "S0314 Kubernetes has no v1 Deployment | write `apiVersion: apps/v1`",
            ),
            (
                "apps/v1",
                "Deploymet",
                "S0315 `apps/v1` has no kind `Deploymet` | did you mean `Deployment`?",
            ),
            (
                "example.com/v1",
                "Service",
                "S0316 the fields of Service/x are not checked: example.com/v1 Service is not known here | ",
            ),
        ] {
            assert_eq!(of(api_version, kind), expected);
        }
        let custom =
            problems(json!({"apiVersion": "a.b/v1", "kind": "C", "metadata": {"name": "x"}}));
        assert_eq!(custom[0].severity, Severity::Warning);
    }

    #[test]
    fn a_problem_points_at_the_value_and_at_the_template() {
        let template = SourceFile::new("d.yaml.hbs", "a\nreplicas: {{values.replicas}}\n");
        let values = SourceFile::new("service.yaml", "values:\n  replicas: two\n");
        let mut object = object("web", deployment(|v| v["spec"]["replicas"] = json!("two")));
        object.origins = Origins::default();
        object.origins.insert(
            "/spec/replicas".into(),
            Origin {
                template: Span::new(&template, 12..31),
                values: vec![Span::new(&values, 20..23)],
            },
        );
        let labels = check(&object).remove(0).labels;
        let places: Vec<String> = labels.iter().map(|label| label.span.to_string()).collect();
        assert_eq!(places, ["service.yaml:2:13", "d.yaml.hbs:2:11"]);
    }

    #[test]
    fn resources_that_define_others_are_checked() {
        let crd = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "zones.example.com"},
            "spec": {
                "group": "example.com", "scope": "Cluster",
                "names": {"kind": "Zone", "plural": "zones"},
                "versions": [{
                    "name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {
                        "type": "object",
                        "properties": {"spec": {"type": "array", "items": {"type": "string", "default": "x"}}},
                        "x-kubernetes-preserve-unknown-fields": true,
                    }},
                }],
            },
        });
        assert_eq!(problems(crd), []);
    }
}
