//! All other kinds: by the conditions `Established`, `Ready` and `Stalled` where they have them, else ready.

use serde_json::Value;

use super::{Readiness, condition, count};

/// The conditions are those of custom resources as kstatus reads them, and of CustomResourceDefinitions.
pub(super) fn readiness(object: &Value) -> Readiness {
    // Many kinds never write `observedGeneration`; only one that is there and behind means something.
    let observed = object.pointer("/status/observedGeneration");
    if observed.is_some()
        && count(object, "/status/observedGeneration") < count(object, "/metadata/generation")
    {
        return Readiness::waiting("its controller has not seen it yet");
    }
    if let Some(stalled) = condition(object, "Stalled").filter(|stalled| stalled.holds) {
        return Readiness::failed(stalled.text());
    }
    if let Some(refused) = condition(object, "NamesAccepted").filter(|names| !names.holds) {
        return Readiness::failed(refused.text());
    }
    for kind in ["Established", "Ready"] {
        match condition(object, kind) {
            Some(unmet) if !unmet.holds => {
                return Readiness::waiting(match unmet.text() {
                    "" => "not ready",
                    text => text,
                });
            }
            _ => {}
        }
    }
    let definition = object.get("kind").and_then(Value::as_str) == Some("CustomResourceDefinition");
    if definition && condition(object, "Established").is_none() {
        return Readiness::waiting("not established");
    }
    Readiness::Ready
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(object: Value, expected: Readiness) {
        assert_eq!(crate::readiness::of(&object), expected, "{object}");
    }

    #[test]
    fn plain_objects_are_ready_when_they_exist() {
        check(
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}),
            Readiness::Ready,
        );
        check(
            json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "status": {"conditions": [
                {"type": "AbleToScale", "status": "False", "reason": "FailedGetScale"},
            ]}}),
            Readiness::Ready,
        );
    }

    #[test]
    fn definitions_must_be_established() {
        let definition = |status: Value| json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "status": status});
        check(definition(json!({})), Readiness::waiting("not established"));
        check(
            definition(json!({"conditions": [
                {"type": "NamesAccepted", "status": "True", "reason": "NoConflicts"},
                {"type": "Established", "status": "False", "reason": "Installing", "message": "the initial names have been accepted"},
            ]})),
            Readiness::waiting("the initial names have been accepted"),
        );
        check(
            definition(json!({"conditions": [
                {"type": "NamesAccepted", "status": "False", "reason": "PluralConflict", "message": "\"webs\" is already in use"},
                {"type": "Established", "status": "False", "reason": "NotAccepted"},
            ]})),
            Readiness::failed("\"webs\" is already in use"),
        );
        check(
            definition(json!({"conditions": [
                {"type": "NamesAccepted", "status": "True"}, {"type": "Established", "status": "True"},
            ]})),
            Readiness::Ready,
        );
    }

    #[test]
    fn custom_resources_tell_by_their_conditions() {
        let resource = |generation: i64, status: Value| {
            json!({
                "apiVersion": "cert-manager.io/v1", "kind": "Certificate",
                "metadata": {"generation": generation}, "status": status,
            })
        };
        let ready = json!([{"type": "Ready", "status": "True"}]);
        check(resource(1, json!({})), Readiness::Ready);
        check(resource(1, json!({"conditions": ready})), Readiness::Ready);
        check(
            resource(2, json!({"observedGeneration": 1, "conditions": ready})),
            Readiness::waiting("its controller has not seen it yet"),
        );
        check(
            resource(
                1,
                json!({"conditions": [{"type": "Ready", "status": "False", "message": "issuing"}]}),
            ),
            Readiness::waiting("issuing"),
        );
        check(
            resource(
                1,
                json!({"conditions": [{"type": "Stalled", "status": "True", "reason": "BadSpec"}]}),
            ),
            Readiness::failed("BadSpec"),
        );
    }
}
